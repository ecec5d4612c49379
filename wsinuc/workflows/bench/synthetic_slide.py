"""A slide of any size made of one real image: what to measure with where no gigapixel slide is at hand.

A square of the image is mirrored and turned in eight ways and stained in ``STAINS`` ways. The slide is a lattice of
cells, each of which shows one of these stamps; glass surrounds the tissue, whose outline is a sum of waves. Every pixel
is a function of its position and the seed, so nothing is held but the stamps, and a pyramid level is the same formula
over stamps that are averaged. Tiles that lie in one cell recur; they are encoded once.

The file is a tiled JPEG pyramid with the description that Aperio's scanners write, which OpenSlide and tiffslide take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from wsinuc.config import MPP_RANGE
from wsinuc.datasets.augmentation.augment import jitter_stain
from wsinuc.errors import ConfigError
from wsinuc.exports.atomic import replacing
from wsinuc.grid import Box, ceil_div
from wsinuc.orientation import dihedral
from wsinuc.slides.isolation.isolated import open_isolated

TILE = 256
CELL = 1024
"""Side of a cell in level-0 pixels: a multiple of the tile at every level but the last ones."""
STEP = 4
"""Between two levels of the pyramid."""
STAINS = 3
QUALITY = 80
WAVES = 6
LARGEST_SOURCE = 4096
"""Pixels of a side that are read of the source image, at most, from its middle."""
LARGEST_SIDE = 1_000_000
"""Pixels of a side of the slide, at most: several times what scanners make."""
SHIPPED_MPP = 0.5
"""um per pixel of the image that comes with scikit-image, about."""

RGB = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSlideConfig:
    """What slide to make; equal configs make equal files."""

    width: int
    height: int
    mpp: float = 0.25
    """um per pixel."""
    tissue: float = 0.6
    """Share of the slide that is tissue, about; 1 leaves no glass."""
    seed: int = 0
    image: Path | None = None
    """Slide or ordinary image to make it of; None is the immunohistochemistry that comes with scikit-image."""
    image_mpp: float | None = None
    """um per pixel of the image, where its file does not say."""

    def __post_init__(self) -> None:
        if min(self.width, self.height) < TILE:
            raise ConfigError(f"a slide needs at least {TILE} pixels on each side, got {self.width} x {self.height}")
        if max(self.width, self.height) > LARGEST_SIDE:
            raise ConfigError(
                f"a slide has at most {LARGEST_SIDE:,} pixels on each side, got {self.width} x {self.height}"
            )
        if not MPP_RANGE[0] <= self.mpp <= MPP_RANGE[1]:
            raise ConfigError(f"mpp must lie between {MPP_RANGE[0]} and {MPP_RANGE[1]} um per pixel, got {self.mpp}")
        if not 0.0 < self.tissue <= 1.0:
            raise ConfigError(f"tissue is a share above 0 and at most 1, got {self.tissue}")


def write_synthetic_slide(path: Path, config: SyntheticSlideConfig) -> Path:
    """Write the slide to ``path`` (``.svs`` or ``.tiff``), replacing it at once when it is complete.

    Takes the memory of the stamps (80 MB) and of some hundred encoded tiles, whatever the size.

    Raises
    ------
    SlideError, MppError
        The source image cannot be read, or has no known resolution.
    OutputError
        The file cannot be written.
    """
    levels = _levels(config, source_square(config))
    with replacing(Path(path)) as stream, tifffile.TiffWriter(stream, bigtiff=True) as tiff:
        for number, level in enumerate(levels):
            # The first image describes the slide; the others are its pyramid.
            about = _description(config) if number == 0 else None
            _write_level(tiff, level, about, reduced=number > 0)
            if number == 0:
                _write_thumbnail(tiff, levels[-1])
    return Path(path)


def source_square(config: SyntheticSlideConfig) -> RGB:
    """The real tissue, ``(CELL, CELL, 3)`` at the slide's resolution: the darkest square of the image."""
    if config.image is None:
        pixels = data.immunohistochemistry()
        mpp = SHIPPED_MPP
    else:
        with open_isolated(config.image, mpp=config.image_mpp) as slide:
            height, width = slide.level_shapes[0]
            y0 = max(0, (height - LARGEST_SOURCE) // 2)
            x0 = max(0, (width - LARGEST_SOURCE) // 2)
            box = Box(y0, x0, min(height, y0 + LARGEST_SOURCE), min(width, x0 + LARGEST_SOURCE))
            pixels = slide.read(box)
            mpp = slide.mpp
    scale = mpp / config.mpp
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    image = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    # Mirrored where the image is smaller than a cell: a constant border would be no tissue.
    missing = [(0, max(0, CELL - side)) for side in image.shape[:2]]
    return _darkest(np.pad(image, [*missing, (0, 0)], mode="symmetric"))


def _darkest(image: RGB) -> RGB:
    corners = [
        (y, x) for y in range(0, image.shape[0] - CELL + 1, TILE) for x in range(0, image.shape[1] - CELL + 1, TILE)
    ]
    y, x = min(
        corners, key=lambda corner: float(image[corner[0] : corner[0] + CELL, corner[1] : corner[1] + CELL].mean())
    )
    return image[y : y + CELL, x : x + CELL]


@dataclass(frozen=True)
class _Level:
    """One level of the pyramid as a function of position."""

    shape: tuple[int, int]
    step: int
    """Level-0 pixels per pixel, a power of ``STEP``."""
    stamps: NDArray[np.uint8]
    """(kinds, side, side, 3), the last one glass."""
    cells: NDArray[np.uint8]
    """Which stamp each cell shows."""
    waves: NDArray[np.float64]
    """(WAVES, 4): amplitude, radians per level-0 pixel along y and x, phase."""
    threshold: float

    @cached_property
    def glass(self) -> int:
        return len(self.stamps) - 1

    def pixels(self, y0: int, x0: int) -> RGB:
        """A tile of pixels; what lies beyond the slide's edge is continued."""
        rows = np.arange(y0, y0 + TILE)
        columns = np.arange(x0, x0 + TILE)
        side = self.stamps.shape[1]
        kinds = self.cells[np.ix_(_last(rows // side, self.cells, 0), _last(columns // side, self.cells, 1))]
        kinds = np.where(self.is_tissue(rows, columns), kinds, self.glass)
        pixels: RGB = self.stamps[kinds, (rows % side)[:, None], columns % side]
        return pixels

    def is_tissue(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where the sum of waves is above the threshold, at rows and columns of this level."""
        heights = np.zeros((len(rows), len(columns)))
        for amplitude, along_y, along_x, phase in self.waves:
            angle_y = rows * self.step * along_y + phase
            angle_x = columns * self.step * along_x
            heights += amplitude * (
                np.outer(np.cos(angle_y), np.cos(angle_x)) - np.outer(np.sin(angle_y), np.sin(angle_x))
            )
        return heights > self.threshold

    def recurring(self, y0: int, x0: int) -> tuple[int, int, int] | None:
        """What names the tile's content when it lies in one cell and the tissue's outline does not cross it."""
        side = self.stamps.shape[1]
        if side % TILE:
            return None
        # Every 32nd pixel is enough: the waves are as long as a quarter of the slide.
        tissue = self.is_tissue(np.arange(y0, y0 + TILE + 1, 32), np.arange(x0, x0 + TILE + 1, 32))
        if tissue.any() != tissue.all():
            return None
        if tissue.all():
            kind = int(self.cells[y0 // side, x0 // side])
        else:
            kind = self.glass
        return kind, y0 % side, x0 % side


def _last(indices: NDArray[np.int64], cells: NDArray[np.uint8], axis: int) -> NDArray[np.int64]:
    # Tiles reach beyond the slide's edge, where the last cell goes on.
    last: NDArray[np.int64] = np.minimum(indices, cells.shape[axis] - 1)
    return last


def _levels(config: SyntheticSlideConfig, square: RGB) -> list[_Level]:
    """All levels, until one fits four tiles or a cell has shrunk to nothing."""
    rng = np.random.default_rng(config.seed)
    stained = [square, *(jitter_stain(square, rng, 0.2) for _ in range(STAINS - 1))]
    glass = rng.normal(243, 1.5, square.shape).round().clip(0, 255).astype(np.uint8)
    stamps = np.stack([*(dihedral(image, k) for image in stained for k in range(8)), glass])
    cells = rng.integers(0, len(stamps) - 1, (ceil_div(config.height, CELL), ceil_div(config.width, CELL)), np.uint8)
    waves = _waves(rng, max(config.width, config.height))
    threshold = _threshold(waves, config)
    levels = []
    step = 1
    while True:
        shape = (ceil_div(config.height, step), ceil_div(config.width, step))
        levels.append(_Level(shape, step, stamps, cells, waves, threshold))
        if max(shape) <= 4 * TILE or step * STEP > CELL:
            return levels
        kinds = stamps.shape[0]
        side = stamps.shape[1] // STEP
        stamps = stamps.reshape(kinds, side, STEP, side, STEP, 3).mean((2, 4)).round().astype(np.uint8)
        step *= STEP


def _waves(rng: np.random.Generator, extent: int) -> NDArray[np.float64]:
    """Waves of one to four periods over the slide's longer side, in random directions."""
    periods = rng.uniform(1, 4, WAVES)
    direction = rng.uniform(0, 2 * np.pi, WAVES)
    frequency = 2 * np.pi * periods / extent
    along = (frequency * np.sin(direction), frequency * np.cos(direction))
    return np.stack([1 / periods, *along, rng.uniform(0, 2 * np.pi, WAVES)], axis=1)


def _threshold(waves: NDArray[np.float64], config: SyntheticSlideConfig) -> float:
    """The height above which the wanted share of the slide lies."""
    if config.tissue == 1.0:
        return -np.inf
    y, x = np.mgrid[0 : config.height : 200j, 0 : config.width : 200j]
    heights = sum(a * np.cos(y * along_y + x * along_x + phase) for a, along_y, along_x, phase in waves)
    return float(np.quantile(heights, 1 - config.tissue))


def _write_level(tiff: tifffile.TiffWriter, level: _Level, description: str | None, *, reduced: bool) -> None:
    tiff.write(
        _encoded_tiles(level),
        shape=(*level.shape, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        compression="jpeg",
        photometric="ycbcr",  # of the encoded tiles; of arrays it would have to be rgb
        subsampling=(2, 2),
        subfiletype=0,
        description=description,
        software=False,
        metadata=None,
    )


def _encoded_tiles(level: _Level) -> Iterator[bytes]:
    """JPEG tiles in the order of the file; those that recur are encoded once."""

    @lru_cache(maxsize=4096)
    def recurring(kind: int, y: int, x: int) -> bytes:
        return _encode(level.stamps[kind, y : y + TILE, x : x + TILE])

    for y0 in range(0, level.shape[0], TILE):
        for x0 in range(0, level.shape[1], TILE):
            name = level.recurring(y0, x0)
            yield recurring(*name) if name else _encode(level.pixels(y0, x0))


def _encode(tile: RGB) -> bytes:
    tile = np.ascontiguousarray(tile)
    return bytes(
        imagecodecs.jpeg8_encode(tile, level=QUALITY, colorspace="RGB", outcolorspace="YCBCR", subsampling="420")
    )


def _write_thumbnail(tiff: tifffile.TiffWriter, level: _Level) -> None:
    """The second page of Aperio's files: the whole slide, small, in one strip."""
    rows = range(0, level.shape[0], TILE)
    whole = np.vstack([np.hstack([level.pixels(y, x) for x in range(0, level.shape[1], TILE)]) for y in rows])
    thumbnail = whole[: level.shape[0] : 2, : level.shape[1] : 2]
    tiff.write(
        thumbnail, photometric="rgb", compression="jpeg", rowsperstrip=len(thumbnail), software=False, metadata=None
    )


def _description(config: SyntheticSlideConfig) -> str:
    return (
        f"Aperio Image Library wsinuc synthetic\n{config.width}x{config.height} "
        f"({TILE}x{TILE}) JPEG/RGB Q={QUALITY}|AppMag = {10 / config.mpp:g}|MPP = {config.mpp:.4f}"
    )
