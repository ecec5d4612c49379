"""How long it takes to say which slide a file is, and which incomplete copies are noticed.

    PYTHONPATH=. python tests/benchmarks/which_slide.py --folder /fast/disk [--megabytes 1024]

A file of random bytes stands for the slide: no directory helps, only size, ends and samples.
Incomplete copies of it are preallocated and have holes of zeros: one at the end (rsync --inplace,
cp), or pieces missing here and there (torrents). What counts is whether the copy and the slide have
different fingerprints.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
from pathlib import Path

import numpy as np

from wsinuc.slides.identity.fingerprint import fingerprint, hole_share, sha256_of, stamp

MIB = 2**20


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where two files of the slide's size have room")
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--copies", type=int, default=100, help="incomplete copies of each kind")
    options = parser.parse_args()
    slide = options.folder / "slide.bin"
    copy = options.folder / "copy.bin"
    try:
        _write(slide, options.megabytes)
        _time(slide)
        shutil.copyfile(slide, copy)
        _holes(slide, copy, options.copies)
    finally:
        slide.unlink(missing_ok=True)
        copy.unlink(missing_ok=True)


def _write(path: Path, megabytes: int) -> None:
    rng = np.random.default_rng(1)
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(rng.bytes(MIB))
        file.flush()
        os.fsync(file.fileno())


def _time(slide: Path) -> None:
    print("| | file in memory, ms | file on disk, ms |\n|---|---|---|")
    for name, look in (
        ("stamp", stamp),
        ("holes", hole_share),
        ("fingerprint", fingerprint),
        ("all of it", sha256_of),
    ):
        look(slide)
        warm = statistics.median(_ms(look, slide) for _ in range(3))
        cold = statistics.median(_ms(look, slide, forget=True) for _ in range(3))
        print(f"| {name} | {warm:.1f} | {cold:.1f} |")


def _ms(look: object, path: Path, *, forget: bool = False) -> float:
    if forget:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begin = time.perf_counter()
    look(path)  # type: ignore[operator]
    return (time.perf_counter() - begin) * 1000


def _holes(slide: Path, copy: Path, copies: int) -> None:
    rng = np.random.default_rng(2)
    size = slide.stat().st_size
    wanted = fingerprint(slide)
    print("\n| missing | of copies | noticed |\n|---|---|---|")
    kinds = {
        "the last 64 KiB": lambda: [(size - 2**16, size)],
        "the last 5 %": lambda: [(size - size // 20, size)],
        "one stretch of 4 MiB anywhere": lambda: _pieces(rng, size, 4 * MIB, 1),
        "one stretch of 1 MiB anywhere": lambda: _pieces(rng, size, MIB, 1),
        "1 % in pieces of 256 KiB": lambda: _pieces(rng, size, MIB // 4, size // 100 // (MIB // 4)),
        "10 % in pieces of 16 KiB": lambda: _pieces(rng, size, 2**14, size // 10 // 2**14),
    }
    for name, choose in kinds.items():
        noticed = sum(_is_noticed(slide, copy, choose(), wanted) for _ in range(copies))
        print(f"| {name} | {copies} | {noticed} |")


def _pieces(rng: np.random.Generator, size: int, length: int, count: int) -> list[tuple[int, int]]:
    starts = rng.integers(0, size - length, count)
    return [(int(start), int(start) + length) for start in starts]


def _is_noticed(slide: Path, copy: Path, holes: list[tuple[int, int]], wanted: str) -> bool:
    """Whether the copy with zeros in these places is another slide; it is made whole again."""
    with copy.open("r+b") as file:
        for start, stop in holes:
            file.seek(start)
            file.write(bytes(stop - start))
    try:
        return fingerprint(copy) != wanted
    finally:
        with slide.open("rb") as source, copy.open("r+b") as file:
            for start, stop in holes:
                source.seek(start)
                file.seek(start)
                file.write(source.read(stop - start))


if __name__ == "__main__":
    main()
