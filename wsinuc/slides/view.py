"""A slide seen at one resolution: the only thing that the rest of wsinuc reads pixels from.

A view is a level as it is (scale 1) or a level resampled. A view pixel's value depends on its position alone, so
overlapping boxes agree to the bit wherever they overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ReadError
from wsinuc.grid import Box
from wsinuc.nuclei import Frame
from wsinuc.slides.scaled import cells_of, read_scaled

if TYPE_CHECKING:
    from wsinuc.slides.base import Slide

WHITE = 255


@dataclass(frozen=True, slots=True)
class SlideView:
    """A slide at one resolution; get one from ``Slide.at``."""

    slide: Slide
    level: int
    """The level that pixels are read from."""
    scale: float
    """Level pixels per view pixel; exactly 1 when the level is read as it is."""
    mpp: float
    """um per view pixel, as really read."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in view pixels."""
        height, width = self.slide.level_shapes[self.level]
        return max(1, round(height / self.scale)), max(1, round(width / self.scale))

    @property
    def downsample(self) -> tuple[float, float]:
        """Level-0 pixels per view pixel, (y, x)."""
        y, x = self.slide.level_downsamples[self.level]
        return y * self.scale, x * self.scale

    @property
    def frame(self) -> Frame:
        """How view pixels relate to um and to level-0 pixels."""
        return Frame(mpp=self.mpp, downsample=self.downsample)

    def read(self, box: Box) -> NDArray[np.uint8]:
        """RGB ``(h, w, 3)`` of a box in view pixels, white outside of the slide.

        Raises
        ------
        ReadError
            A part of the box cannot be decoded.
        """
        if self.scale == 1.0:
            return self.slide.read(box, self.level)
        extent = Box.of_shape(self.shape)
        pixels = np.full((*box.shape, 3), WHITE, np.uint8)
        if box.overlaps(extent):
            inside = box.clip(extent)
            pixels[inside.relative_to(box).slices] = read_scaled(self.slide, self.level, self.scale, inside)
        return pixels


def read_resilient(view: SlideView, box: Box, piece: int = 256) -> tuple[NDArray[np.uint8], list[Box]]:
    """RGB ``(h, w, 3)`` of a box, and which parts of it could not be decoded and are white.

    A failed read is repeated on a handle of its own (a shared one may have been spoilt by another thread's bad region),
    then piece by piece, each with one retry. What is reported therefore depends on the file and never on timing.

    Parameters
    ----------
    piece
        Side in view pixels of the cells, anchored to the view's origin, that are given up one by one.

    Raises
    ------
    SlideError
        The file cannot be opened any more.
    """
    try:
        return view.read(box), []
    except ReadError:
        pass
    with view.slide.duplicate() as own:
        return _read_retrying(SlideView(own, view.level, view.scale, view.mpp), box, piece)


def _read_retrying(view: SlideView, box: Box, piece: int) -> tuple[NDArray[np.uint8], list[Box]]:
    pixels = _read_or_none(view, box, attempts=1)
    if pixels is not None:
        return pixels, []
    pixels = np.full((*box.shape, 3), WHITE, np.uint8)
    unreadable = []
    for cell in cells_of(box, piece):
        part = cell.clip(box)
        # The whole cell: two boxes that share it agree on it.
        whole = _read_or_none(view, cell, attempts=2)
        if whole is None:
            unreadable.append(part)
        else:
            pixels[part.relative_to(box).slices] = whole[part.relative_to(cell).slices]
    return pixels, unreadable


def _read_or_none(view: SlideView, box: Box, attempts: int) -> NDArray[np.uint8] | None:
    # The handle of a failed read is thrown away, so each attempt has a fresh one.
    for _ in range(attempts):
        try:
            return view.read(box)
        except ReadError:
            continue
    return None
