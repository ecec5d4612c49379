"""Where a run looked for nuclei and what it left out, as pictures over the whole slide.

The tissue that was searched is outlined. What was left out for what it is (pen, padding, grey, blurred) is hatched as
the preview shows it, and what could not be decoded is hatched in red.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsinuc.config import SegmentConfig
from wsinuc.exports.pictures.left_out import LegendEntry, left_out_overlay
from wsinuc.pipeline.selection import TissueSelection, select
from wsinuc.slides.base import Slide
from wsinuc.tissue import TissueMask

SIDE = 2048
"""Pixels of the pictures' longer side."""
MPP = 0.5
"""um per pixel of the view in which tissue is looked for, where no result says it."""
TISSUE = (0, 102, 68)
"""Colour of the line around what was searched."""
DAMAGED = (200, 30, 30)
_LINE = 3
_PERIOD = 12
_FILL_ALPHA = 70
_LINE_ALPHA = 230


@dataclass(frozen=True, slots=True)
class SearchedAreas:
    """Pictures that cover the whole slide, RGBA ``(h, w, 4)``."""

    tissue: NDArray[np.uint8]
    """A line around what was searched."""
    left_out: NDArray[np.uint8]
    """Hatched by kind."""
    mm2: float
    """Area that was searched."""
    entries: list[LegendEntry]
    """Kinds that were left out, with their areas."""


def searched_areas(slide: Slide, summary: dict[str, Any]) -> SearchedAreas:
    """Look for tissue in a slide again, as the run of a summary did.

    Raises
    ------
    SlideError, MppError
        The slide cannot be read, or has no resolution.
    DataError
        The file that said where the tissue is cannot be read any more.
    """
    height, width = slide.level_shapes[0]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    mm2 = height * width * (slide.mpp / 1000) ** 2
    selection = _selection(slide, summary)
    left_out, entries = left_out_overlay(size, selection.tissue, mm2)
    damaged = _damaged(size, summary.get("unreadable", ()), scale)
    if damaged.any():
        _hatch(left_out, damaged)
        entries = [*entries, LegendEntry(f"damaged {damaged.mean() * mm2:.2g} mm²", DAMAGED)]
    searched = selection.wanted
    return SearchedAreas(_outlined(size, searched), left_out, float(searched.mask.mean()) * mm2, entries)


def _selection(slide: Slide, summary: dict[str, Any]) -> TissueSelection:
    config = summary.get("config", {})
    roi = config.get("roi")
    asked = SegmentConfig(tissue=config.get("tissue", "auto"), roi=None if roi is None else Path(roi))
    return select(slide.at(float(summary.get("settings", {}).get("mpp", MPP))), asked, reach=0)


def _outlined(size: tuple[int, int], tissue: TissueMask) -> NDArray[np.uint8]:
    inside = np.asarray(Image.fromarray(tissue.mask).resize(size, Image.Resampling.NEAREST))
    picture = np.zeros((*inside.shape, 4), np.uint8)
    # The edge of the slide is one of the tissue, too.
    picture[inside & ~ndimage.binary_erosion(inside, iterations=_LINE)] = (*TISSUE, _LINE_ALPHA)
    return picture


def _damaged(size: tuple[int, int], boxes: Any, scale: float) -> NDArray[np.bool_]:
    """(h, w) where the file could not be decoded, from boxes (y0, x0, y1, x1) in level-0 pixels."""
    damaged = np.zeros((size[1], size[0]), np.bool_)
    for box in boxes:
        y0, x0 = (int(edge * scale) for edge in box[:2])
        y1, x1 = (int(np.ceil(edge * scale)) for edge in box[2:])
        damaged[y0:y1, x0:x1] = True
    return damaged


def _hatch(picture: NDArray[np.uint8], inside: NDArray[np.bool_]) -> None:
    rows, columns = np.ogrid[: inside.shape[0], : inside.shape[1]]
    lines = ((rows + columns) % _PERIOD < 2) | ((rows - columns) % _PERIOD < 2)
    picture[inside] = (*DAMAGED, _FILL_ALPHA)
    picture[inside & lines] = (*DAMAGED, _LINE_ALPHA)
