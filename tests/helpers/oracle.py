"""A segmenter that knows the answer, and slides of known nuclei to go with it.

The slide's channels *are* the scores: red is 255 minus the foreground probability, green 255 minus the distance score
(1 at a nucleus' centre, 0 at its rim), blue 255 minus the probability of the second class. White is background. So the
whole pipeline runs in seconds without torch, and every pixel that it should find is known.

The nuclei are ellipses on a jittered lattice, drawn on a torus whose period (1,000 px) is no multiple of any block: a
slide of any size is the same stamp repeated, and seams and the slide's border cut the nuclei everywhere, each in
another place. Half of them have a partner that touches.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.base import usual_mpp_range
from wsinuc.segmenters.cutoffs import Cutoffs
from wsinuc.separation.watershed import WatershedSettings, instances_from_distance

MPP = 0.5
PERIOD = 1000
CLASSES = (NucleusClass("round", (200, 40, 40)), NucleusClass("long", (40, 90, 200)))


@dataclass(frozen=True)
class OracleSegmenter:
    """Scores are read off the pixels. ``batches`` collects the sizes of batches; ``delay`` (s) makes them slow."""

    mpp: float = MPP
    tile: int = 128
    margin: int = 16
    classes: tuple[NucleusClass, ...] = CLASSES
    delay: float = 0.0
    settings: WatershedSettings = field(default_factory=lambda: WatershedSettings(mpp=MPP))
    own: WatershedSettings = field(default_factory=lambda: WatershedSettings(mpp=MPP))
    batches: list[int] = field(default_factory=list, compare=False)
    lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        return OracleSegmenter, (self.mpp, self.tile, self.margin, self.classes, self.delay, self.settings, self.own)

    @property
    def mpp_range(self) -> tuple[float, float]:
        return usual_mpp_range(self.mpp)

    @property
    def min_halo(self) -> int:
        return self.settings.min_halo

    @property
    def channels(self) -> int:
        return 2 + len(self.classes) + 1

    @property
    def batch_size(self) -> int:
        return 4

    @property
    def cutoffs(self) -> Cutoffs:
        return Cutoffs.of(self.settings)

    @property
    def own_cutoffs(self) -> Cutoffs:
        return Cutoffs.of(self.own)

    def with_cutoffs(self, cutoffs: Cutoffs) -> OracleSegmenter:
        return replace(self, settings=cutoffs.within(self.settings), batches=self.batches, lock=self.lock)

    def calibrate(self, samples: NDArray[np.uint8]) -> OracleSegmenter:
        return self

    @property
    def identity(self) -> str:
        return f"oracle {self.tile} {self.margin} {self.settings}"

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        assert pixels.shape[1:] == (self.tile, self.tile, 3)
        assert pixels.dtype == np.uint8
        assert not self.lock.locked(), "two blocks use the network at once"
        with self.lock:
            time.sleep(self.delay)
            self.batches.append(len(pixels))
            inner = slice(self.margin, self.tile - self.margin)
            return np.stack([scores_of(image[inner, inner]) for image in pixels])

    def separate(self, scores: NDArray[np.uint8]) -> NDArray[np.int32]:
        return instances_from_distance(scores[0], scores[-1], self.settings)


def scores_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scores (5, h, w) that an image (h, w, 3) stands for."""
    foreground, distance, second = np.moveaxis(255 - pixels, 2, 0)
    return np.stack([foreground, 255 - foreground, 255 - second, second, distance])


@functools.lru_cache(maxsize=4)
def stamp(seed: int = 0, spacing: int = 40) -> NDArray[np.uint8]:
    """One period of the plane of nuclei, RGB (PERIOD, PERIOD, 3); continues at its opposite sides; to be read only."""
    rng = np.random.default_rng(seed)
    closeness = np.zeros((PERIOD, PERIOD))
    second = np.zeros((PERIOD, PERIOD), bool)
    for row in range(PERIOD // spacing):
        for column in range(PERIOD // spacing):
            center = (np.array([row, column]) + 0.5) * spacing + rng.uniform(-6, 6, 2)
            radii, angle = rng.uniform((5, 8), (8, 12)), rng.uniform(0, np.pi)
            is_second = rng.random() < 0.4
            _draw(closeness, second, center, radii, angle, is_second)
            if rng.random() < 0.5:  # a partner that touches along the short side
                step = 1.8 * radii[0] * np.array([np.cos(angle), -np.sin(angle)])
                _draw(closeness, second, center + step, radii, angle, is_second)
    inside = closeness > 0
    image = np.full((PERIOD, PERIOD, 3), 255, np.uint8)
    image[..., 0][inside] = 20
    image[..., 1][inside] = 255 - np.round(254 * closeness[inside]).astype(np.uint8)
    image[..., 2][inside & second] = 60
    image.flags.writeable = False
    return image


def _draw(
    closeness: NDArray[np.float64],
    second: NDArray[np.bool_],
    center: NDArray[np.float64],
    radii: NDArray[np.float64],
    angle: float,
    is_second: bool,
) -> None:
    """Add an ellipse to a torus; a pixel goes to the ellipse whose centre is nearest in its own measure."""
    reach = int(radii.max()) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] + np.floor(center).astype(int)[:, None, None]
    dy, dx = y + 0.5 - center[0], x + 0.5 - center[1]
    across = (dy * np.cos(angle) - dx * np.sin(angle)) / radii[0]
    along = (dy * np.sin(angle) + dx * np.cos(angle)) / radii[1]
    close = 1 - np.hypot(across, along)
    rows, columns = y % PERIOD, x % PERIOD
    wins = close > closeness[rows, columns]
    closeness[rows[wins], columns[wins]] = close[wins]
    second[rows[wins], columns[wins]] = is_second


def plane(shape: tuple[int, int], origin: tuple[int, int] = (0, 0), seed: int = 0) -> NDArray[np.uint8]:
    """The pixels (h, w, 3) of the plane of nuclei from ``origin`` on."""
    rows = (np.arange(shape[0]) + origin[0]) % PERIOD
    columns = (np.arange(shape[1]) + origin[1]) % PERIOD
    return stamp(seed)[rows[:, None], columns]


def write_slide(
    path: Path, shape: tuple[int, int], *, levels: int = 3, seed: int = 0, origin: tuple[int, int] = (0, 0)
) -> Path:
    """Write a tiled, lossless pyramid TIFF of the plane, a row of tiles at a time, whatever its size."""
    one = stamp(seed)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in range(levels):
            step = 4**level
            height, width = -(-shape[0] // step), -(-shape[1] // step)
            tiff.write(
                _tiles(one, (height, width), origin, step),
                shape=(height, width, 3),
                dtype=np.uint8,
                photometric="rgb",
                tile=(256, 256),
                compression="deflate",
                compressionargs={"level": 1},
                resolution=(1e4 / (MPP * step), 1e4 / (MPP * step)),
                resolutionunit="CENTIMETER",
                subfiletype=1 if level else 0,
                metadata=None,
            )
    return path


def _tiles(
    one: NDArray[np.uint8], shape: tuple[int, int], origin: tuple[int, int], step: int
) -> Iterator[NDArray[np.uint8]]:
    for y in range(0, shape[0], 256):
        rows = (np.arange(y, y + 256) * step + origin[0]) % PERIOD
        for x in range(0, shape[1], 256):
            yield one[rows[:, None], (np.arange(x, x + 256) * step + origin[1]) % PERIOD]
