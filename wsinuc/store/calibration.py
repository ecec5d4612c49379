"""The statistics that a segmenter was fitted to a slide with, as a file: the same bytes for the same statistics.

They are found once per slide; workers, and runs that continue an interrupted one, read them here.
The file begins with the hash of what follows, so that a damaged one counts as none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from wsinuc import durable, own_files

_HASH = 64


def write_calibration(statistics: Mapping[str, NDArray[np.float32]], path: Path) -> None:
    """Write the statistics, by name, so that ``path`` is either absent or whole; empty ones are a file, too."""
    # Sorted by name, because safetensors keeps the order that it is given.
    content = save({name: np.ascontiguousarray(statistics[name]) for name in sorted(statistics)})
    with durable.replacing(path, own_files.beside(path)) as file:
        file.write(hashlib.sha256(content).hexdigest().encode() + content)


def read_calibration(path: Path) -> dict[str, NDArray[np.float32]] | None:
    """The statistics by name; None when there is no such file, or it is damaged."""
    try:
        content = path.read_bytes()
        is_whole = hashlib.sha256(content[_HASH:]).hexdigest().encode() == content[:_HASH]
        if is_whole:
            return load(content[_HASH:])
        return None
    except (OSError, SafetensorError):
        return None
