"""What was left out of the search for nuclei, hatched over a picture of the whole slide, and its legend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsinuc.tissue.kinds import Kind
from wsinuc.tissue.mask import TissueMask

SMALLEST_MM2 = 0.01
"""Kinds that cover less of the slide are not drawn: single specks."""

_COLORS = {Kind.BLACK: (214, 51, 132), Kind.PEN: (230, 110, 0), Kind.GREY: (0, 150, 136), Kind.BLURRED: (190, 150, 0)}
_SLOPES = {Kind.BLACK: (1, 1), Kind.PEN: (1, -1), Kind.GREY: (0, 1), Kind.BLURRED: (1, 0)}  # each its own direction
_PERIOD = 12  # px of the picture from line to line
_LINE = 2
_FILL_ALPHA = 45
_LINE_ALPHA = 215


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One kind in the legend."""

    label: str
    """Its name and area."""
    color: tuple[int, int, int]


def hatch_left_out(picture: Image.Image, tissue: TissueMask, mm2: float) -> tuple[Image.Image, list[LegendEntry]]:
    """The picture with what was left out hatched and outlined by kind, and what its legend says.

    Glass and blank areas are not drawn: everybody sees that they are empty.

    Parameters
    ----------
    picture
        RGB of the whole slide at any size.
    tissue
        Which cells were left out as what.
    mm2
        Area of the slide.
    """
    overlay, entries = left_out_overlay(picture.size, tissue, mm2)
    if not entries:
        return picture, []
    drawn = picture.convert("RGBA")
    drawn.alpha_composite(Image.fromarray(overlay))
    return drawn.convert("RGB"), entries


def left_out_overlay(
    size: tuple[int, int], tissue: TissueMask, mm2: float
) -> tuple[NDArray[np.uint8], list[LegendEntry]]:
    """What was left out as a transparent picture ``(h, w, 4)`` of a size (width, height), and its legend."""
    shares = tissue.left_out()
    entries = []
    overlay = np.zeros((size[1], size[0], 4), np.uint8)
    for kind, color in _COLORS.items():
        area = shares.get(kind.name.lower(), 0.0) * mm2
        if tissue.kinds is None or area < SMALLEST_MM2:
            continue
        cells = Image.fromarray(tissue.kinds == kind).resize(size, Image.Resampling.NEAREST)
        alpha = _hatched(np.asarray(cells), _SLOPES[kind])
        # Cells have one kind each, so opacities never add up beyond one kind's.
        overlay[alpha > 0] = (*color, 0)
        overlay[..., 3] += alpha
        entries.append(LegendEntry(f"{kind.name.lower()} {area:.2g} mm²", color))
    return overlay, entries


def _hatched(inside: NDArray[np.bool_], slope: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w) opacity: a light fill, lines across it, and its outline."""
    height, width = inside.shape
    rows, columns = np.ogrid[:height, :width]
    lines = (slope[0] * rows + slope[1] * columns) % _PERIOD < _LINE
    rim = inside & ~ndimage.binary_erosion(inside, iterations=_LINE, border_value=1)
    alpha = np.where(inside, np.uint8(_FILL_ALPHA), np.uint8(0))
    alpha[inside & (lines | rim)] = _LINE_ALPHA
    return alpha
