"""The slide's own pixels as tiles, from the level that a run would read at that resolution."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.grid import Box
from wsinuc.slides.base import Slide
from wsinuc.slides.levels import shrunk_alike
from wsinuc.slides.view import SlideView, read_resilient

QUALITY = 85
_WHOLE = 8.0
"""How many times smaller a level is made in one piece; more is done piece by piece, within a bound of memory."""
_SAME = 1e-3
"""Relative difference up to which a level is as fine as a zoom."""


def read_slide(slide: Slide, box: Box, down: float) -> tuple[NDArray[np.uint8], list[Box]]:
    """RGB ``(h, w, 3)`` of a box, and which parts of it cannot be decoded and are white.

    Parameters
    ----------
    box
        In pixels of the picture.
    down
        Level-0 pixels per pixel of the picture.

    Raises
    ------
    SlideError
        The file cannot be opened any more.
    """
    sizes = {i: math.sqrt(y * x) for i, (y, x) in enumerate(slide.level_downsamples) if shrunk_alike(y, x)}
    fine_enough = [level for level, size in sizes.items() if size <= down * (1 + _SAME)]
    level = max(fine_enough, key=lambda each: sizes[each], default=0)
    scale = down / sizes[level]
    # The resolution in um plays no part in reading.
    if abs(scale - 1) <= _SAME:
        return read_resilient(SlideView(slide, level, 1.0, down), box)
    if scale > _WHOLE:
        return read_resilient(SlideView(slide, level, scale, down), box)
    return _shrunk(slide, level, scale, box)


def _shrunk(slide: Slide, level: int, scale: float, box: Box) -> tuple[NDArray[np.uint8], list[Box]]:
    """A box of a level made smaller by Pillow: for the eye, and without waiting for a compiler."""
    edges = np.array((box.y0, box.x0, box.y1, box.x1)) * scale
    source = Box(*np.floor(edges[:2]).astype(int).tolist(), *np.ceil(edges[2:]).astype(int).tolist())
    pixels, unreadable = read_resilient(SlideView(slide, level, 1.0, scale), source)
    # Where the picture's pixels begin and end among those that were read, x first.
    y0, x0, y1, x1 = (edges - (source.y0, source.x0, source.y0, source.x0)).tolist()
    size = (box.shape[1], box.shape[0])
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BOX, box=(x0, y0, x1, y1))
    return np.asarray(image), [_scaled(part, scale) for part in unreadable]


def _scaled(box: Box, scale: float) -> Box:
    y0, x0 = int(box.y0 / scale), int(box.x0 / scale)
    return Box(y0, x0, max(y0 + 1, math.ceil(box.y1 / scale)), max(x0 + 1, math.ceil(box.x1 / scale)))


def encode_slide(pixels: NDArray[np.uint8], inside: tuple[int, int]) -> tuple[bytes, str]:
    """A tile as JPEG, or as PNG that is transparent beyond the slide; and its media type.

    Parameters
    ----------
    inside
        (height, width) of the tile's upper left corner that lies on the slide.
    """
    height, width = inside
    if (height, width) == pixels.shape[:2]:
        return _encoded(Image.fromarray(pixels), "JPEG", quality=QUALITY, subsampling=0), "image/jpeg"
    alpha = np.zeros(pixels.shape[:2], np.uint8)
    alpha[: max(0, height), : max(0, width)] = 255
    return encode_png(np.dstack([pixels, alpha])), "image/png"


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """RGB or RGBA pixels as PNG, quickly."""
    return _encoded(Image.fromarray(pixels), "PNG", compress_level=1)


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
