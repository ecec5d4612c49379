"""Tissue so far out of focus that nuclei cannot be seen: stripes and patches of a quarter of a millimetre or more.

Blur takes away fine structure and leaves coarse structure. Sharp tissue has at a scale of 8 um at
least a third of the structure that it has at 16 um; a blur of 5 um (the standard deviation of its
kernel), in which a nucleus is as wide as the blur, leaves less. Some scanners' coarse levels are as
soft on their own, so a window that looks blurred there is looked at once more at 2 um per pixel,
and only what is blurred there as well is left out. On most slides that is nowhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box, ceil_div
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.tissue.kinds import Colour, densities
from wsinuc.tissue.mask import CELL_UM

WINDOW_UM = 256.0
"""Side of the windows that are judged as wholes."""

FINE_UM = 2.0
"""um per pixel of the fine look."""
_FINE_SIDE = 64  # pixels of the fine look: 128 um, a dozen nuclei
# Structure at 8 um over that at 16 um: sharp tissue has 0.6 and more, behind a blur of 5 um it has 0.2 to 0.4.
_SUSPECT = 0.35
# 2 um over 4 um, 4 over 8, or 8 over 16: sharp tissue has 0.24 and more, behind a blur of 5 um it has 0.08 to 0.16.
BLURRED = 0.17
"""Below which structure at 2 um over that at 4 um means that tissue is out of focus."""
SHARP = 0.24
"""From which it means that tissue is in focus."""
_FLAT = 5.0**2  # squared thousandths of density: less structure than this at 16 um says nothing about focus


def blurred(tissue: NDArray[np.bool_], density: NDArray[np.int16], low: SlideView, glass: Colour) -> NDArray[np.bool_]:
    """(h, w) tissue cells in windows that are out of focus.

    Parameters
    ----------
    tissue
        (h, w) cells of tissue; windows with less tissue than half are not judged.
    density
        (h, w, 3) their optical density in thousandths.
    low
        The view that they were read from.
    glass
        Its colour of glass.
    """
    soft = np.zeros_like(tissue)
    for window in _suspects(tissue, density[..., 1], round(WINDOW_UM / CELL_UM)):
        if _looks_blurred(low, window, glass):
            soft[window.slices] = tissue[window.slices]
    return soft


def _suspects(tissue: NDArray[np.bool_], green: NDArray[np.int16], side: int) -> list[Box]:
    """Windows of ``side`` cells whose structure looks blurred; slides narrower than that have none."""
    boxes = [
        Box(y, x, y + side, x + side) for y in _starts(tissue.shape[0], side) for x in _starts(tissue.shape[1], side)
    ]
    # The edge of the tissue is structure at every scale, so a window needs tissue to be judged by.
    full = (box for box in boxes if 2 * np.count_nonzero(tissue[box.slices]) >= side * side)
    return [box for box in full if _fades(green[box.slices].astype(np.float64), _SUSPECT)]


def _starts(length: int, side: int) -> list[int]:
    """Where windows begin: one every half window, from edge to edge; none where there is no room for one."""
    if length < side:
        return []
    # Overlapping by half, so that a blurred stripe does not hide on the line between two windows.
    steps = ceil_div(2 * (length - side), side)
    return [i * (length - side) // max(1, steps) for i in range(steps + 1)]


def _looks_blurred(low: SlideView, window: Box, glass: Colour) -> bool:
    fine = low.slide.at(FINE_UM)
    middle_y, middle_x = (
        (start + stop) * length // (2 * cells)
        for start, stop, length, cells in zip(
            (window.y0, window.x0), (window.y1, window.x1), fine.shape, low.shape, strict=True
        )
    )
    half = _FINE_SIDE // 2
    box = Box(middle_y - half, middle_x - half, middle_y + half, middle_x + half)
    pixels, unreadable = read_resilient(fine, box)
    if unreadable:  # looked at as tissue, so that it gets reported
        return False
    green = densities(pixels, glass)[..., 1].astype(np.float64)
    # Behind a strong blur the finest scales hold nothing but noise; the next coarser ones show it.
    scales = (green, _halved(green), _halved(_halved(green)))
    return any(_fades(density, BLURRED) for density in scales)


def _fades(density: NDArray[np.float64], limit: float) -> bool:
    """Whether the structure at the finest scale is less than ``limit`` of that at the next."""
    fine = _structure(density)
    coarse = _structure(_halved(density))
    return coarse > _FLAT and fine < limit * coarse


def sharpness(density: NDArray[np.float64]) -> float | None:
    """Structure at the finest scale over that at the next; None where tissue has too little to judge by.

    Parameters
    ----------
    density
        (h, w) optical density of green light in thousandths, at ``FINE_UM`` per pixel to be compared with ``SHARP``
        and ``BLURRED``; at least 6 x 6 pixels.

    Examples
    --------
    >>> dots = np.zeros((16, 16))
    >>> dots[::4, ::4] = 1000.0
    >>> sharpness(dots) > SHARP
    True
    """
    if min(density.shape) < 6:
        return None
    coarse = _structure(_halved(density))
    if coarse <= _FLAT:
        return None
    return _structure(density) / coarse


def _structure(density: NDArray[np.float64]) -> float:
    """Mean squared Laplacian."""
    inner = density[1:-1, 1:-1]
    neighbours = density[:-2, 1:-1] + density[2:, 1:-1] + density[1:-1, :-2] + density[1:-1, 2:]
    return float(np.mean((4 * inner - neighbours) ** 2))


def _halved(density: NDArray[np.float64]) -> NDArray[np.float64]:
    height = density.shape[0] // 2 * 2
    width = density.shape[1] // 2 * 2
    cells = density[:height, :width].reshape(height // 2, 2, width // 2, 2)
    means: NDArray[np.float64] = cells.mean(axis=(1, 3))
    return means
