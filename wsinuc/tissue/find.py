"""Tissue by its darkness against the slide's own glass, at 8 um per pixel, and what is dark but no tissue.

Missing tissue is worse than reading some glass, so the limit is set by what glass can be and not by what tissue usually
is: Otsu's threshold between glass and deeply stained tissue throws pale stroma away, and on a crop without glass it
throws half of the tissue away. Here a pixel is tissue when it absorbs at least 0.02 (optical density, 4.5 % of the
light) more than glass does in some channel; glass at this resolution varies by about 0.005. What is dark for another
reason is taken out by what it is: see ``wsinuc.tissue.kinds``, ``pen`` and ``focus``.
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.grid import BlockGrid, Box
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.tissue.focus import blurred
from wsinuc.tissue.kinds import Colour, Kind, black, blank, densities, flat, grey
from wsinuc.tissue.mask import CELL_UM, TissueMask, check_extent
from wsinuc.tissue.pen import pen

ABSORBANCE = 0.02
"""Optical density above glass from which a pixel is tissue."""
SPECK_UM2 = 50.0**2
"""Smaller pieces are dust, unless the whole image is small."""
HOLE_UM2 = 200.0**2
"""Smaller gaps (vessels, fat, glands) are read along."""
MARGIN_UM = 40.0
"""Nuclei at the border of the tissue belong to it."""

_USUAL_GLASS: Colour = (240.0, 240.0, 240.0)
_DARKEST_GLASS = 210
_GLASS_TINT = 8  # grey levels between the channels of the brightest pixels; more is pale tissue, no glass
_PADDING = 254  # brighter pixels lie outside the scan
_STEP = 512  # low-resolution pixels a side that are read at once
_PIECE = 32  # and that are given up at once


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
    glass = _glass_colour(pixels)
    density = densities(pixels, glass or _USUAL_GLASS)
    padding = black(pixels, low.mpp)
    # Flat areas as bright as glass stay glass: behind strong compression glass itself is flat.
    grey_padding = flat(pixels, low.mpp) & _is_dark(density) & ~padding
    density = _without(padding | grey_padding, density)
    kinds = classify(density, low.mpp, glass_seen=glass is not None)
    kinds[(kinds == Kind.GLASS) & blank(pixels)] = Kind.BLANK
    kinds[(kinds == Kind.GLASS) & padding] = Kind.BLACK
    kinds[(kinds == Kind.GLASS) & grey_padding] = Kind.GREY
    kinds[blurred(kinds == Kind.TISSUE, density, low, glass or _USUAL_GLASS)] = Kind.BLURRED
    for box in unreadable:  # whatever their white pixels were taken for
        kinds[box.slices] = Kind.TISSUE
    return TissueMask(kinds == Kind.TISSUE, view.shape, kinds, _beside(padding) if padding.any() else None)


def classify(density: NDArray[np.int16], mpp: float, *, glass_seen: bool) -> NDArray[np.uint8]:
    """(h, w) the ``Kind`` of each cell as far as its density and its neighbours tell: tissue, glass, pen or grey.

    Parameters
    ----------
    density
        (h, w, 3) optical density against glass in thousandths.
    mpp
        um per cell.
    glass_seen
        Whether the glass's colour is known rather than assumed; without it grey may be tissue under a tinted lamp.
    """
    ink = pen(density, mpp, glass_seen=glass_seen)
    dark = _is_dark(density) & ~ink
    if glass_seen:
        shadow = grey(dark, density)
    else:
        shadow = np.zeros_like(dark)
    tissue = clean_mask(dark & ~shadow, mpp)
    kinds = np.where(tissue, np.uint8(Kind.TISSUE), np.uint8(Kind.GLASS))
    kinds[~tissue & shadow] = Kind.GREY
    kinds[ink] = Kind.PEN
    return kinds


def _is_dark(density: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Cells that absorb more than glass does."""
    dark: NDArray[np.bool_] = density.max(axis=2) > round(1000 * ABSORBANCE)
    return dark


def _without(padding: NDArray[np.bool_], density: NDArray[np.int16]) -> NDArray[np.int16]:
    """The densities as if padding were glass; cells beside it, mixtures with it, take what lies beyond them."""
    if not padding.any():
        return density
    beside = _beside(padding)
    if beside.all():
        return np.zeros_like(density)
    rows, columns = ndimage.distance_transform_edt(beside, return_distances=False, return_indices=True)
    filled: NDArray[np.int16] = density[rows, columns]
    filled[padding] = 0
    return filled


def _beside(padding: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Padding and the cells that resampling mixes with it."""
    beside: NDArray[np.bool_] = ndimage.binary_dilation(padding, np.ones((3, 3), np.bool_), iterations=2)
    return beside


def clean_mask(mask: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """The mask without specks and small gaps, and with a margin; ``mpp`` in um per pixel of the mask."""
    # On a small image, a crop around one nucleus say, no piece is as large as what is dust on a slide.
    speck = min(SPECK_UM2 / mpp**2, mask.size / 100)
    pieces = cc3d.dust(mask, threshold=max(1, round(speck)), connectivity=8)
    if not pieces.any():
        return np.zeros(mask.shape, np.bool_)
    gaps = cc3d.dust(~pieces, threshold=max(1, round(HOLE_UM2 / mpp**2)), connectivity=4)
    near: NDArray[np.bool_] = ndimage.distance_transform_edt(gaps) <= MARGIN_UM / mpp
    return near


def _glass_colour(pixels: NDArray[np.uint8]) -> Colour | None:
    """The slide's bright, neutral colour; None when it shows none."""
    scanned = pixels[pixels.min(axis=2) < _PADDING]
    if not len(scanned):
        return None
    # Not the maximum: a few pixels are overexposed, or sharpened beyond the glass at edges.
    red, green, blue = np.percentile(scanned, 99, axis=0).tolist()
    if min(red, green, blue) < _DARKEST_GLASS or max(red, green, blue) - min(red, green, blue) > _GLASS_TINT:
        return None
    return red, green, blue


def _read_whole(low: SlideView) -> tuple[NDArray[np.uint8], list[Box]]:
    pixels = np.empty((*low.shape, 3), np.uint8)
    unreadable: list[Box] = []
    for block in BlockGrid(low.shape, block=_STEP, halo=0):
        pixels[block.core.slices], failed = read_resilient(low, block.core, _PIECE)
        unreadable += failed
    return pixels, unreadable
