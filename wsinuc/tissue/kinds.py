"""What a low-resolution cell of a slide shows: tissue, or one of the things that are no tissue.

Colours are judged as optical density against the slide's own glass, in thousandths and as integers, so that every
machine decides alike. Haematoxylin absorbs red and green, eosin green; blue is absorbed least by both. So in stained
tissue green is absorbed at least about as much as red, and clearly more than blue. What lies outside this wedge is ink,
padding, or an edge that only scatters light.
"""

from __future__ import annotations

from enum import IntEnum

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Colour = tuple[float, float, float]
"""Grey levels of red, green and blue."""


class Kind(IntEnum):
    """What a cell shows; the names, in small letters, are the keys of ``left_out`` in ``summary.json``."""

    TISSUE = 0
    GLASS = 1
    """Clear, or with single specks of dust."""
    BLANK = 2
    """Pure white: not scanned, transparent, or overexposed glass."""
    BLACK = 3
    """Pure black: padding around the scan."""
    PEN = 4
    """Strokes of a marker, over glass or tissue."""
    GREY = 5
    """Casts a shadow but is not stained: edges of a coverslip, bubbles, lines of the scanner; and flat grey padding."""
    BLURRED = 6
    """So far out of focus that nuclei cannot be seen."""


LEFT_OUT = tuple(kind for kind in Kind if kind is not Kind.TISSUE)
"""All kinds but tissue, in the order in which they are reported."""

BLACKEST = 10
"""Grey level up to which a cell is padding in all channels; a cell of the darkest stain is above 25."""
_WHITEST = 254
_SPECK_UM2 = 50.0**2
_FLAT_UM2 = 100.0**2  # of one grey to the last bit: no tissue has a dozen cells a side alike
_FLAT_TINT = 2  # grey levels between the channels of grey that went through JPEG
_STAIN_SHARE = 4  # a stained cell's densities differ between channels by at least a fourth of the largest
_FAINTEST_STAIN = 8  # and by this much: less is the noise of compression
_STAINED_OF_PIECE = 10  # one cell in 10 of a piece must be stained, else it is an edge or a bubble


def densities(pixels: NDArray[np.uint8], glass: Colour) -> NDArray[np.int16]:
    """(h, w, 3) optical density against glass in thousandths, from -100 (brighter than glass) to 2,400."""
    levels = np.maximum(np.arange(256), 1)  # black absorbs without end
    # 256 logarithms a channel instead of one for each pixel, and integers that are the same on every machine.
    tables = np.rint(1000 * np.log10(np.asarray(glass, np.float64)[:, None] / levels)).astype(np.int16)
    return np.stack([tables[channel][pixels[..., channel]] for channel in range(3)], axis=-1)


def black(pixels: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """(h, w) cells of black padding; single ones are pigment or dust and do not count."""
    return pieces(pixels.max(axis=2) <= BLACKEST, _SPECK_UM2, mpp)


def blank(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(h, w) cells of pure white."""
    white: NDArray[np.bool_] = pixels.min(axis=2) >= _WHITEST
    return white


def flat(pixels: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """(h, w) cells of exactly constant grey in large pieces, whatever its level: converters pad with it.

    Nuclei and fibres give tissue texture even in means over 8 um, so flatness tells what was filled in from what was
    seen, where darkness cannot.
    """
    inner = _equals_neighbours(pixels)
    if not inner.any():  # as on most slides
        return inner
    inner &= pixels.max(axis=2) - pixels.min(axis=2) <= _FLAT_TINT
    # All neighbours of an inner cell equal it, so growing back by one cell stays within the same grey.
    whole = ndimage.binary_dilation(inner, np.ones((3, 3), np.bool_))
    return pieces(whole, _FLAT_UM2, mpp)


def _equals_neighbours(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(h, w) cells whose eight neighbours, as far as there are any, have the same colour."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    # One number for each colour, so that neighbours compare at once: filters over three channels take far longer.
    colours = np.pad((red << 16) | (green << 8) | blue, 1, mode="edge")
    across = colours[:, 1:] == colours[:, :-1]
    rows = across[:, 1:] & across[:, :-1]
    down = colours[1:, 1:-1] == colours[:-1, 1:-1]
    equal: NDArray[np.bool_] = rows[:-2] & rows[1:-1] & rows[2:] & down[1:] & down[:-1]
    return equal


def grey(dark: NDArray[np.bool_], density: NDArray[np.int16]) -> NDArray[np.bool_]:
    """(h, w) those of the dark cells that belong to a piece with next to no stain in it.

    Pieces are judged as wholes, since a single cell of pigment or calcification in the tissue is grey as well.
    """
    labels = cc3d.connected_components(dark, connectivity=8)
    sizes = np.bincount(labels.ravel())
    stained = np.bincount(labels.ravel(), weights=_stained(dark, density).ravel(), minlength=len(sizes))
    unstained = stained * _STAINED_OF_PIECE < sizes
    unstained[0] = False  # what is not dark
    return unstained[labels]


def pieces(mask: NDArray[np.bool_], smallest_um2: float, mpp: float) -> NDArray[np.bool_]:
    """(h, w) the mask without small pieces.

    Parameters
    ----------
    smallest_um2
        Area of the smallest piece that stays; cells that meet at a corner are connected.
    mpp
        um per cell.
    """
    return cc3d.dust(mask, threshold=max(1, round(smallest_um2 / mpp**2)), connectivity=8).astype(np.bool_)


def _stained(dark: NDArray[np.bool_], density: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Dark cells whose channels differ, with their dark neighbours: compression makes colour noisy in single cells."""
    count = _sum_of_nine(dark)
    red, green, blue = (_sum_of_nine(np.where(dark, density[..., i], 0)) for i in range(3))
    darkest = np.maximum(np.maximum(red, green), blue)
    colour = darkest - np.minimum(np.minimum(red, green), blue)
    return dark & (colour * _STAIN_SHARE >= darkest) & (colour >= _FAINTEST_STAIN * count)


def _sum_of_nine(values: NDArray[np.generic]) -> NDArray[np.int32]:
    """(h, w) sums over 3 x 3 cells."""
    rows = ndimage.correlate1d(values.astype(np.int32), [1, 1, 1], axis=0, mode="constant")
    sums: NDArray[np.int32] = ndimage.correlate1d(rows, [1, 1, 1], axis=1, mode="constant")
    return sums
