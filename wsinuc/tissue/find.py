"""Tissue by its darkness against the slide's own glass, at 8 um per pixel.

Missing tissue is worse than reading some glass, so the limit is set by what glass can be and not by what tissue usually
is: Otsu's threshold between glass and deeply stained tissue throws pale stroma away, and on a crop without glass it
throws half of the tissue away. Here a pixel is tissue when it absorbs at least 0.02 (optical density, 4.5 % of the
light) more than glass does in some channel; glass at this resolution varies by about 0.005.
"""

from __future__ import annotations

import math

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.grid import BlockGrid, Box
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.tissue.mask import CELL_UM, TissueMask, check_extent

ABSORBANCE = 0.02
"""Optical density above glass from which a pixel is tissue."""
SPECK_UM2 = 50.0**2
"""Smaller pieces are dust, unless the whole image is small."""
HOLE_UM2 = 200.0**2
"""Smaller gaps (vessels, fat, glands) are read along."""
MARGIN_UM = 40.0
"""Nuclei at the border of the tissue belong to it."""

_USUAL_GLASS = 240
_DARKEST_GLASS = 210
_GLASS_TINT = 8  # grey levels between the channels of the brightest pixels; more is pale tissue, no glass
_PADDING = 254  # brighter pixels lie outside the scan
_STEP, _PIECE = 512, 32  # low-resolution pixels a side that are read at once, and given up at once


def find_tissue(view: SlideView) -> TissueMask:
    """Where the slide of this view holds tissue; what cannot be decoded counts as tissue, so that it gets reported.

    Raises
    ------
    MppError
        The slide has no resolution.
    SlideError
        The file cannot be opened any more.
    """
    low = view.slide.at(CELL_UM)
    check_extent(low.shape, low.mpp, view.slide.name)
    pixels, unreadable = _read_whole(low)
    mask = clean_mask(darker_than_glass(pixels), low.mpp)
    for box in unreadable:
        mask[box.slices] = True
    return TissueMask(mask, view.shape)


def darker_than_glass(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(h, w) which pixels of a low-resolution RGB image absorb more light than its glass."""
    limit = _glass_colour(pixels) * 10**-ABSORBANCE
    dark: NDArray[np.bool_] = pixels < limit
    return np.logical_or.reduce(dark, axis=2)


def clean_mask(mask: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """The mask without specks and small gaps, and with a margin; ``mpp`` in um per pixel of the mask."""
    speck = min(SPECK_UM2 / mpp**2, mask.size / 100)
    kept = cc3d.dust(mask, threshold=max(1, round(speck)), connectivity=8)
    gaps = cc3d.dust(~kept, threshold=max(1, round(HOLE_UM2 / mpp**2)), connectivity=4)
    kept = ~gaps if kept.any() else kept
    distance = ndimage.distance_transform_edt(~kept) if kept.any() else np.full(mask.shape, math.inf)
    return distance <= MARGIN_UM / mpp


def _glass_colour(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(3,) the slide's bright, neutral colour; the usual one when it shows none."""
    scanned = pixels[pixels.min(axis=2) < _PADDING]
    brightest = np.percentile(scanned, 99, axis=0) if len(scanned) else np.full(3, float(_USUAL_GLASS))
    if brightest.min() < _DARKEST_GLASS or np.ptp(brightest) > _GLASS_TINT:
        return np.full(3, float(_USUAL_GLASS))
    return brightest


def _read_whole(low: SlideView) -> tuple[NDArray[np.uint8], list[Box]]:
    pixels = np.empty((*low.shape, 3), np.uint8)
    unreadable: list[Box] = []
    for block in BlockGrid(low.shape, block=_STEP, halo=0):
        pixels[block.core.slices], failed = read_resilient(low, block.core, _PIECE)
        unreadable += failed
    return pixels, unreadable
