"""Strokes of markers: colours that stained tissue cannot have, in pieces too large for anything else.

A stroke has a core, whose colour leaves no doubt, and a fringe, since it lies on the coverslip, out
of focus, and thins out over the tissue. The fringe has the colour that the core's ink has when it
is thin, which alone would not be proof, and lies near the core.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.tissue.kinds import pieces

_CORE_UM2 = 100.0**2  # a stroke is about a millimetre wide; this much of it must be in view
_SURE_CORE_UM2 = 20.0**2  # and this much of green and blue, which only the ink of a cut margin has as well
_SURE_FRINGE_UM = 40.0  # around so little ink, so that a margin's tissue is not taken along
_HOLE_UM2 = 50.0**2  # smaller gaps in a stroke are what lies under it
_FRINGE_UM = 300.0  # the blur of something that lies a coverslip's thickness above the focus
_ROUGH = 60  # thousandths by which a cell of tissue differs from the mean of its neighbours at most, in ink
_EVEN_CELLS = 3
_EVERYWHERE = np.ones((3, 3), np.bool_)

Channels = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


def pen(density: NDArray[np.int16], mpp: float, *, glass_seen: bool) -> NDArray[np.bool_]:
    """(h, w) cells that a marker covers.

    Parameters
    ----------
    density
        (h, w, 3) optical density against glass in thousandths.
    mpp
        um per cell.
    glass_seen
        Whether the glass's colour is known. Where it is only assumed, a yellowish lamp makes blood red as ink and dense
        tissue grey as ink, and only green and blue ink are looked for.
    """
    # A stroke is even; the mean over a few cells takes out the nuclei under it.
    red, green, blue = (ndimage.uniform_filter(density[..., i].astype(np.int32), _EVEN_CELLS) for i in range(3))
    channels = (red, green, blue)
    sure = _green_or_blue(channels)
    pale = _green_or_blue_fringe(channels)
    ink = _strokes(pieces(sure, _CORE_UM2, mpp), pale, _FRINGE_UM, mpp)
    ink |= _strokes(pieces(sure, _SURE_CORE_UM2, mpp), pale, _SURE_FRINGE_UM, mpp)
    if glass_seen:
        ink |= _strokes(pieces(_red(channels), _CORE_UM2, mpp), _red_fringe(channels), _FRINGE_UM, mpp)
        ink |= _strokes(pieces(_black(channels), _CORE_UM2, mpp), _black_fringe(channels), _FRINGE_UM, mpp)
    return ink


def _strokes(cores: NDArray[np.bool_], fringe: NDArray[np.bool_], reach_um: float, mpp: float) -> NDArray[np.bool_]:
    """(h, w) cores of strokes, the fringe that reaches them within ``reach_um``, and small gaps in both."""
    if not cores.any():  # as on nearly every slide
        return cores
    steps = math.ceil(reach_um / mpp)
    stroke = ndimage.binary_dilation(cores, _EVERYWHERE, iterations=steps, mask=fringe | cores)
    return ~pieces(~stroke, _HOLE_UM2, mpp)


def _green_or_blue(channels: Channels) -> NDArray[np.bool_]:
    """Red is absorbed far more than green; haematoxylin absorbs both about alike."""
    red, green, _ = channels
    # In integers, as all rules here, so that every machine decides alike: red is 1.6 times green.
    return (red >= 60) & (10 * red >= 16 * green)


def _green_or_blue_fringe(channels: Channels) -> NDArray[np.bool_]:
    red, green, _ = channels
    return (red >= 20) & (100 * red >= 115 * green)


def _red(channels: Channels) -> NDArray[np.bool_]:
    """Green and blue are absorbed alike and red hardly; blood absorbs blue two thirds as much as green."""
    red, green, blue = channels
    return (green >= 250) & (4 * red <= green) & (100 * blue >= 75 * green)


def _red_fringe(channels: Channels) -> NDArray[np.bool_]:
    red, green, blue = channels
    return (green >= 20) & (10 * red <= 4 * green) & (100 * blue >= 65 * green)


def _black(channels: Channels) -> NDArray[np.bool_]:
    """All channels are absorbed about alike, and evenly: pigment and crowded nuclei change from cell to cell."""
    lightest = np.minimum(np.minimum(*channels[:2]), channels[2])
    darkest = np.maximum(np.maximum(*channels[:2]), channels[2])
    smooth = np.abs(9 * lightest - 9 * ndimage.uniform_filter(lightest, 3)) <= 9 * _ROUGH
    black: NDArray[np.bool_] = (lightest >= 400) & (10 * (darkest - lightest) <= 3 * darkest) & smooth
    return black


def _black_fringe(channels: Channels) -> NDArray[np.bool_]:
    lightest = np.minimum(np.minimum(*channels[:2]), channels[2])
    darkest = np.maximum(np.maximum(*channels[:2]), channels[2])
    fringe: NDArray[np.bool_] = (lightest >= 20) & (10 * (darkest - lightest) <= 3 * darkest)
    return fringe
