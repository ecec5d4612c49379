"""Pixels to cut patches from: images and slides behind one small protocol, read when they are asked for.

Nothing is extracted beforehand. Images and the regions of slides that patches touch go through one
cache with a budget: what fits into it is read once and stays in memory, what does not is read
again. The cache changes speed alone, never a pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.grid import Box
from wsinuc.recent import Recent
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.tissue import TissueMask, find_tissue
from wsinuc.urls import Place

REGION = 256
"""Side of the regions in which a slide is read, in pixels of the view: about what scanners store as one tile."""

Window = tuple[slice, slice]


class Pixels(Protocol):
    """What patches are cut from: an RGB array ``(h, w, 3)``, or anything that reads like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(h, w, 3)``."""

    def __getitem__(self, window: Window) -> NDArray[np.uint8]:
        """RGB of rows and columns ``start:stop`` inside the image (a stop beyond the edge ends at it)."""


@runtime_checkable
class CornerSampler(Protocol):
    """Pixels that choose where patches lie; patches of others may lie anywhere."""

    @property
    def area(self) -> float:
        """Pixels worth cutting from: its weight among other sources."""

    def sample_corner(self, rng: np.random.Generator, height: float, width: float) -> tuple[float, float]:
        """(y, x) of the corner of a patch of that size, inside the image."""


class PixelCache(Recent[NDArray[np.uint8]]):
    """The arrays used last."""

    def __init__(self, budget: int = 1 << 30) -> None:
        super().__init__(budget)

    def read(self, key: Hashable, read: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The array of ``key``, read now unless it is held."""
        array = self.get(key)
        if array is None:
            # Not under the lock: two threads may read the same twice, but none waits for another's slide.
            array = read()
            self.keep(key, array, array.nbytes)
        return array


@dataclass(frozen=True, eq=False)
class LazyImage:
    """A whole image that is read when it is needed; every reading gives the same pixels."""

    read: Callable[[], NDArray[np.uint8]]
    cache: PixelCache
    shape: tuple[int, ...]
    file: Place | None = None
    """The file that it shows, where it is known."""

    @classmethod
    def of(cls, read: Callable[[], NDArray[np.uint8]], cache: PixelCache) -> LazyImage:
        """An image whose shape is learned by reading it once, which also shows damage early."""
        return cls(read, cache, cache.read(read, read).shape)

    def __getitem__(self, window: Window) -> NDArray[np.uint8]:
        return self.cache.read(self.read, self.read)[window]


@dataclass(frozen=True, eq=False)
class SlidePixels:
    """A slide at one resolution, read region by region; patches are centred on its tissue."""

    view: SlideView
    tissue: TissueMask
    cache: PixelCache
    _cells: NDArray[np.intp] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cells", np.flatnonzero(self.tissue.mask))
        if not len(self._cells):
            raise DataError(f"{self.view.slide.name}: no tissue was found on it; leave it out")

    @classmethod
    def of(cls, view: SlideView, cache: PixelCache) -> SlidePixels:
        """A view with the tissue that is found on it.

        Raises
        ------
        DataError
            There is none.
        """
        return cls(view, find_tissue(view), cache)

    @property
    def file(self) -> Place | None:
        """The file of the slide; None for one in memory."""
        return self.view.slide.path

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(h, w, 3)`` in pixels of the view."""
        return (*self.view.shape, 3)

    @property
    def area(self) -> float:
        """Pixels of tissue."""
        return self.tissue.area_px()

    def sample_corner(self, rng: np.random.Generator, height: float, width: float) -> tuple[float, float]:
        """(y, x) of the corner of a patch whose centre lies in a random cell of tissue, moved inside the slide."""
        cell = np.array(divmod(int(self._cells[rng.integers(len(self._cells))]), self.tissue.mask.shape[1]))
        extent = np.array(self.view.shape)
        # Anywhere in the cell: corners on a grid would show the network the same pixels again and again.
        centre = (cell + rng.random(2)) / self.tissue.mask.shape * extent
        size = np.array((height, width))
        y, x = np.clip(centre - size / 2, 0, extent - size)
        return float(y), float(x)

    def __getitem__(self, window: Window) -> NDArray[np.uint8]:
        rows, columns = window
        box = Box(rows.start, columns.start, rows.stop, columns.stop).clip(Box.of_shape(self.view.shape))
        pixels = np.empty((*box.shape, 3), np.uint8)
        for y in range(box.y0 // REGION * REGION, box.y1, REGION):
            for x in range(box.x0 // REGION * REGION, box.x1, REGION):
                region = Box(y, x, y + REGION, x + REGION).clip(Box.of_shape(self.view.shape))
                part = region.clip(box)
                pixels[part.relative_to(box).slices] = self._region(region)[part.relative_to(region).slices]
        return pixels

    def _region(self, region: Box) -> NDArray[np.uint8]:
        return self.cache.read((id(self), region.y0, region.x0), lambda: read_resilient(self.view, region)[0])
