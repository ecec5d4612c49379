"""Upright images from ones stored mirrored or turned: orientation tags of TIFF and EXIF, values 1 to 8."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from wsinuc.grid import Box

Sample = TypeVar("Sample", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Turn:
    """How an image must be turned to stand upright: first transposed, then flipped."""

    transposed: bool
    flips_rows: bool
    flips_columns: bool

    def shape(self, stored: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the upright image."""
        if self.transposed:
            return (stored[1], stored[0])
        return stored

    def stored_box(self, box: Box, stored: tuple[int, int]) -> Box:
        """Where the pixels of an upright box lie in the stored image of the given (height, width)."""
        # Undone in reverse: an upright image was transposed first and flipped then.
        height, width = self.shape(stored)
        if self.flips_rows:
            rows = (height - box.y1, height - box.y0)
        else:
            rows = (box.y0, box.y1)
        if self.flips_columns:
            columns = (width - box.x1, width - box.x0)
        else:
            columns = (box.x0, box.x1)
        if self.transposed:
            return Box(columns[0], rows[0], columns[1], rows[1])
        return Box(rows[0], columns[0], rows[1], columns[1])

    def apply(self, pixels: NDArray[Sample]) -> NDArray[Sample]:
        """Upright pixels ``(h, w)`` or ``(h, w, samples)`` of stored ones; a view of them.

        Examples
        --------
        >>> stored = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
        >>> TURNS[6].apply(stored)[..., 0].tolist()
        [[2, 0], [3, 1]]
        """
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        if self.flips_rows:
            pixels = pixels[::-1]
        if self.flips_columns:
            pixels = pixels[:, ::-1]
        return pixels


TURNS = {
    1: Turn(False, False, False),
    2: Turn(False, False, True),
    3: Turn(False, True, True),
    4: Turn(False, True, False),
    5: Turn(True, False, False),
    6: Turn(True, False, True),
    7: Turn(True, True, True),
    8: Turn(True, True, False),
}
"""The turn for each value of the orientation tag; 1 is upright."""


def exif_orientation(exif: bytes | None) -> int:
    """The orientation that an image's EXIF data name; 1, upright, when they name none or are damaged."""
    parsed = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed.load(exif or b"")
            value = parsed.get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises struct, syntax and index errors
        return 1
    return value if value in TURNS else 1
