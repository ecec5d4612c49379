"""Endless random patches of unlabelled images, for pre-training.

Patch ``k`` is a function of the seed and ``k`` alone: a resumed training sees what an uninterrupted
one would have seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.datasets.augmentation.augment import jitter_stain
from wsinuc.datasets.sampling.pixels import CornerSampler, Pixels
from wsinuc.errors import DataError
from wsinuc.orientation import dihedral

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSource:
    """Images to cut from, and how.

    Images are drawn in proportion to their area (a slide's: of its tissue), or to ``weights`` if given.
    """

    images: Sequence[Pixels]
    """RGB arrays ``(h, w, 3)`` or what reads like them, all at the resolution to train at."""
    size: int
    """Side of a patch in pixels."""
    seed: int
    weights: Sequence[float] | None = None
    zoom: float = 1.3
    """A patch shows between ``1 / zoom`` and ``zoom`` of its nominal field; smaller images are mirrored to that."""
    stain: float = 0.25
    """Strength of the stain jitter; see :func:`wsinuc.datasets.augmentation.augment.jitter_stain`."""

    def __post_init__(self) -> None:
        if not self.images:
            raise DataError("no images to train on: the sources hold no readable image")

    def patch(self, index: int) -> NDArray[np.uint8]:
        """Patch ``(size, size, 3)`` number ``index``."""
        rng = np.random.default_rng((self.seed, index))
        areas = np.asarray(self.weights or [area(image) for image in self.images], np.float64)
        image = self.images[rng.choice(len(self.images), p=areas / areas.sum())]
        drawn = self.size * float(np.exp(rng.uniform(-1, 1) * np.log(self.zoom)))
        # Less of a small image, in both directions alike, so that nuclei keep their form and about their size.
        field = max(min(drawn, *image.shape[:2]), self.size / self.zoom)
        height, width = (min(field, side) for side in image.shape[:2])
        y, x = corner(image, rng, height, width)
        y0 = int(y)
        x0 = int(x)
        # Two pixels more than the field, since it begins and ends between pixels.
        cut = Image.fromarray(image[y0 : int(y + height) + 2, x0 : int(x + width) + 2])
        box = (x - x0, y - y0, min(x - x0 + width, cut.width), min(y - y0 + height, cut.height))
        rows, columns = (max(1, round(self.size * side / field)) for side in (height, width))
        patch = np.asarray(cut.resize((columns, rows), Image.Resampling.BILINEAR, box=box))
        missing = [(0, self.size - rows), (0, self.size - columns), (0, 0)]
        patch = np.pad(patch, missing, mode="symmetric")
        return dihedral(jitter_stain(patch, rng, self.stain), int(rng.integers(8)))

    def batch(self, index: int, count: int) -> NDArray[np.uint8]:
        """Patches ``index * count`` to ``(index + 1) * count``: ``(count, size, size, 3)``."""
        return np.stack([self.patch(index * count + i) for i in range(count)])


def corner(image: Pixels, rng: np.random.Generator, height: float, width: float) -> tuple[float, float]:
    """(y, x) of the corner of a random patch of that size, on tissue where the image knows its tissue."""
    if isinstance(image, CornerSampler):
        return image.sample_corner(rng, height, width)
    return rng.uniform(0, image.shape[0] - height), rng.uniform(0, image.shape[1] - width)


def area(image: Pixels) -> float:
    """Pixels worth cutting from: a slide's tissue, all of an image."""
    if isinstance(image, CornerSampler):
        return image.area
    return float(image.shape[0] * image.shape[1])


def source_identity(images: Sequence[Pixels], weights: Sequence[float] | None) -> str:
    """Names the sources by the sizes of their images and how often each is drawn; no pixel is read for it."""
    facts = [[list(image.shape) for image in images], None if weights is None else [float(w) for w in weights]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


class Prefetcher(Generic[Value]):
    """The values of a function of 0, 1, 2 ..., computed by threads a few numbers ahead of who asks for them.

    Asking in any order gives the same values; asking in ascending order gives them sooner.
    """

    def __init__(self, function: Callable[[int], Value], *, threads: int, stride: int = 1) -> None:
        self._function = function
        self._stride = stride
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._coming: dict[int, Future[Value]] = {}

    def __call__(self, index: int) -> Value:
        """The value of ``index``; those of the next few multiples of the stride are begun."""
        wanted = [index + i * self._stride for i in range(self._threads + 1)]
        for number in [number for number in self._coming if number not in wanted]:
            self._coming.pop(number).cancel()
        for number in wanted:
            if number not in self._coming:
                self._coming[number] = self._pool.submit(self._function, number)
        return self._coming.pop(index).result()

    def close(self) -> None:
        """Stop the threads; values that are under way are lost."""
        self._pool.shutdown(cancel_futures=True)
