"""The smallest nuclei of some fields, enlarged: each without its outline above, and with it below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.exports.pictures.slide_pictures import ZOOM, FieldPictures

COUNT = 12
"""Nuclei that are shown, at most."""
SIDE = 24
"""View pixels on each side of a nucleus' centre."""

_ENLARGED = 2  # of the field's pixels, which are twice as large as the view's
_GAP = 4


def smallest_nuclei(fields: Sequence[FieldPictures]) -> Image.Image | None:
    """A row of the smallest nuclei whose surroundings lie in a field, the smallest first; None without any."""
    candidates = [each for number, field in enumerate(fields) for each in _candidates(field, number)]
    chosen = sorted(candidates)[:COUNT]
    if not chosen:
        return None
    side = 2 * SIDE * ZOOM * _ENLARGED
    sheet = Image.new("RGB", (len(chosen) * (side + _GAP) - _GAP, 2 * side + _GAP), (255, 255, 255))
    for place, (_, _, number, y, x) in enumerate(chosen):
        field = fields[number]
        for row, picture in enumerate((field.plain, field.outlined)):
            sheet.paste(_cut(picture, y, x, side), (place * (side + _GAP), row * (side + _GAP)))
    return sheet


def _candidates(field: FieldPictures, number: int) -> list[tuple[int, int, int, float, float]]:
    """Area in pixels, id, number of the field, and centroid in the field of each nucleus far enough from its border."""
    inner: list[tuple[int, int, int, float, float]] = []
    for part in field.nuclei:
        places = part.centroids - (field.box.y0, field.box.x0)
        is_inside: NDArray[np.bool_] = ((places >= SIDE) & (places <= np.array(field.box.shape) - SIDE)).all(axis=1)
        for row in np.flatnonzero(is_inside):
            y, x = places[row].tolist()
            inner.append((int(part.areas_px[row]), int(part.ids[row]), number, y, x))
    return inner


def _cut(picture: Image.Image, y: float, x: float, side: int) -> Image.Image:
    """The surroundings of a place in view pixels of the field, enlarged to ``side`` pixels."""
    box = ((x - SIDE) * ZOOM, (y - SIDE) * ZOOM, (x + SIDE) * ZOOM, (y + SIDE) * ZOOM)
    return picture.resize((side, side), Image.Resampling.BICUBIC, box=box)
