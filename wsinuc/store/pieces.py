"""Files of a finished block: the shard of its nuclei, and the classes of its pixels where they are asked for.

The block's ledger entry names the hashes of both and is written after them, so a block whose files
are not what it says counts as not done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc import durable, own_files
from wsinuc.errors import OutputError
from wsinuc.store.ledger import Entry, read_entry
from wsinuc.store.upload import digest

BLOCKS = "blocks"
"""Folder of the files in the working area."""
DONE = "done"
"""Folder of the ledger."""


def shard_path(work: Path, block: int) -> Path:
    """The file of a block's nuclei before they are numbered."""
    return work / BLOCKS / f"{block:06d}.parquet"


def map_path(work: Path, block: int) -> Path:
    """The file of the classes of a block's pixels."""
    return work / BLOCKS / f"{block:06d}.npz"


def entry_path(work: Path, block: int) -> Path:
    """The file of a block's ledger entry."""
    return work / DONE / f"{block:06d}.json"


def is_whole(work: Path, entry: Entry) -> bool:
    """Whether the files of a block are what its entry says; reads them."""
    if entry.nuclei and not _has(shard_path(work, entry.block), entry.shard_sha256):
        return False
    return entry.semantic_sha256 is None or _has(map_path(work, entry.block), entry.semantic_sha256)


def write_class_map(pixels: NDArray[np.uint8], path: Path) -> str | None:
    """Store classes ``(h, w)`` of a block's pixels and return the file's SHA-256; None, and no file, without any."""
    if not pixels.any():
        return None
    # Two workers may make one block, on two machines: each has a partial file of its own.
    with durable.replacing(path, own_files.beside(path)) as file:
        np.savez_compressed(file, pixels=pixels)
    return digest(path).sha256


@dataclass(frozen=True, slots=True)
class ClassMaps:
    """Classes of the pixels of finished blocks, in whatever process they are asked for."""

    work: Path
    """The working area, absolute where other processes read."""
    run_id: str

    def __call__(self, block: int) -> NDArray[np.uint8] | None:
        """The classes ``(h, w)`` of a block's core; None where there are none, or the block was not worked on.

        Raises
        ------
        OutputError
            The file is not what the ledger says: damaged on disk since. The block then counts as not done.
        """
        line = entry_path(self.work, block)
        entry = read_entry(line, self.run_id)
        if entry is None or entry.semantic_sha256 is None:
            return None
        path = map_path(self.work, block)
        if not _has(path, entry.semantic_sha256):
            line.unlink(missing_ok=True)
            raise OutputError(
                f"{path} was damaged on disk after it was written: check the disk and run the same command again, "
                "this block alone is done anew"
            )
        with np.load(path, allow_pickle=False) as content:
            pixels: NDArray[np.uint8] = content["pixels"]
        return pixels


def _has(path: Path, sha256: str | None) -> bool:
    return path.is_file() and digest(path).sha256 == sha256
