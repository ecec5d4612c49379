"""What a run left out of its search, hatched over the whole slide, as its preview shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.exports.pictures.left_out import left_out_overlay
from wsinuc.slides.base import Slide
from wsinuc.tissue import find_tissue

SIDE = 2048
"""Pixels of the picture's longer side."""
MPP = 0.5
"""um per pixel of the view in which tissue is looked for, where no result says it."""


def left_out_picture(slide: Slide, summary: dict[str, Any]) -> NDArray[np.uint8]:
    """RGBA ``(h, w, 4)`` that covers the whole slide; all transparent where tissue was not looked for.

    Raises
    ------
    SlideError, MppError
        The slide cannot be read, or has no resolution.
    """
    height, width = slide.level_shapes[0]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Where somebody drew the tissue, or all of the slide was searched, nothing was left out as something else.
    if summary.get("config", {}).get("tissue", "auto") != "auto":
        return np.zeros((size[1], size[0], 4), np.uint8)
    view = slide.at(float(summary.get("settings", {}).get("mpp", MPP)))
    mm2 = height * width * (slide.mpp / 1000) ** 2
    return left_out_overlay(size, find_tissue(view), mm2)[0]
