"""Which file is this? A few bytes tell slides apart without reading gigabytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

END = 2**20


def fingerprint(path: Path) -> str:
    """Hash of the size and of the first and last MiB of a file; raises OSError when it cannot be read."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(END))
        file.seek(max(0, size - END))
        digest.update(file.read(END))
    return digest.hexdigest()[:32]
