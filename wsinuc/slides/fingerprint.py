"""Which file is this? A few bytes tell slides apart without reading gigabytes."""

from __future__ import annotations

import hashlib

from wsinuc.urls import Place, Url

END = 2**20


def fingerprint(path: Place) -> str:
    """Hash of the size and of the first and last MiB of a file; raises OSError when it cannot be read."""
    if isinstance(path, Url):
        size = path.size()
        ends = path.read(0, min(size, END)) + path.read(max(0, size - END), size)
        return hashlib.sha256(str(size).encode() + ends).hexdigest()[:32]
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(END))
        file.seek(max(0, size - END))
        digest.update(file.read(END))
    return digest.hexdigest()[:32]
