"""Slide files for tests: made ones, and the real one with damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

SHARED_SLIDES = Path(__file__).parents[4] / "shared" / "data" / "slides"
needs_shared = pytest.mark.skipif(not SHARED_SLIDES.is_dir(), reason="the shared slides are not here")

HEIGHT, WIDTH = 401, 523  # no multiple of a tile or of a level's downsample


def random_pixels(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pyramid(factors: tuple[int, ...] = (1, 2, 4)) -> list[np.ndarray]:
    """Levels of independent noise, so that a pixel from the wrong place or level cannot go unnoticed."""
    return [random_pixels(HEIGHT // f, WIDTH // f, seed=f) for f in factors]


def write_pyramid(
    path: Path, levels: list[np.ndarray], *, per_cm: float | None = 40_000, text: str | None = None
) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for i, level in enumerate(levels):
            tiff.write(
                level,
                tile=(128, 128),
                photometric="rgb",
                compression="deflate",
                subfiletype=min(i, 1),
                resolution=(per_cm, per_cm) if per_cm and i == 0 else None,
                resolutionunit="CENTIMETER" if per_cm and i == 0 else None,
                description=text if i == 0 else None,
                metadata=None,
            )
    return path


def spoil(path: Path, where: float = 0.5, length: int = 20_000) -> Path:
    """A copy of the real slide with a stretch of its tiles overwritten."""
    shutil.copyfile(SHARED_SLIDES / "CMU-1-Small-Region.svs", path)
    path.chmod(0o644)
    with tifffile.TiffFile(path) as tiff:
        offsets = tiff.pages.first.dataoffsets
    with path.open("r+b") as file:
        file.seek(offsets[int(len(offsets) * where)])
        file.write(b"\xff\x00\x13\x37" * (length // 4))
    return path


def truncate(path: Path, share: float) -> Path:
    """The first part of the real slide, as a broken download leaves it."""
    data = (SHARED_SLIDES / "CMU-1-Small-Region.svs").read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
