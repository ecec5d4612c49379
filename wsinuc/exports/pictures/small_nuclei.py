"""The smallest nuclei of some fields, enlarged: each without its outline above, and with it below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from wsinuc.exports.pictures.slide_pictures import FieldPictures

COUNT = 12
"""Nuclei that are shown, at most."""
SIDE_UM = 16.0
"""Side of what is shown of each: about two nuclei."""

_SIDE = 192  # pixels of the picture
_GAP = 4


def smallest_nuclei(fields: Sequence[FieldPictures]) -> Image.Image | None:
    """A row of the smallest nuclei whose surroundings lie in a field, the smallest first; None without any."""
    candidates = [each for number, field in enumerate(fields) for each in _candidates(field, number)]
    chosen = sorted(candidates)[:COUNT]
    if not chosen:
        return None
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (len(chosen) * step - _GAP, 2 * step - _GAP), (255, 255, 255))
    for place, (_, _, number, y, x) in enumerate(chosen):
        field = fields[number]
        for row, picture in enumerate((field.plain, field.outlined)):
            sheet.paste(_cut(picture, y, x, SIDE_UM / field.mpp / 2), (place * step, row * step))
    return sheet


def _candidates(field: FieldPictures, number: int) -> list[tuple[int, int, int, float, float]]:
    """Area in pixels, id, number of the field, and place in its picture of each nucleus far enough from the border."""
    scale = field.plain.width / field.box.shape[1]
    reach = SIDE_UM / field.mpp / 2
    limits = np.array([field.plain.height, field.plain.width])
    inner: list[tuple[int, int, int, float, float]] = []
    for part in field.nuclei:
        places = (part.centroids - (field.box.y0, field.box.x0)) * scale
        is_inside = (places >= reach) & (places <= limits - reach)
        for row in np.flatnonzero(is_inside.all(axis=1)):
            y, x = places[row].tolist()
            inner.append((int(part.areas_px[row]), int(part.ids[row]), number, y, x))
    return inner


def _cut(picture: Image.Image, y: float, x: float, reach: float) -> Image.Image:
    """The surroundings of a place in a picture, ``reach`` of its pixels to every side, enlarged."""
    return picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, box=(x - reach, y - reach, x + reach, y + reach))
