"""How dark haematoxylin and eosin are in a nucleus, in its rim, and in the ring of tissue around it.

The *rim* is what of the nucleus lies within `RIM_UM` of its border, where chromatin clumps at the membrane. The *ring*
is what lies within `RING_UM` around the nucleus and is no nucleus by the network's probability (less than 0.5). That is
asked, and not the labels, because it does not depend on which nuclei a block sees whole.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel
from wsinuc.nuclei.discs import grown, half_widths
from wsinuc.nuclei.measured_names import PARTS, QUANTILES, STAINS, STATISTICS
from wsinuc.nuclei.stains import PER_OD, density_level

RIM_UM = 1.0
"""Depth of the rim, but at least one pixel."""
RING_UM = 3.0
"""Width of the ring, but at least one pixel."""

_PER_CENT = np.array(QUANTILES)


def stain_densities(
    labels: NDArray[np.int32],
    ids: NDArray[np.int64],
    boxes: NDArray[np.int64],
    foreground: NDArray[np.uint8],
    pixels: NDArray[np.uint8],
    tables: NDArray[np.int32],
    mpp: float,
) -> NDArray[np.float64]:
    """Optical densities of nuclei, float64 ``(n, 30)`` in the order of `wsinuc.nuclei.measured_names.STAIN`.

    Quantiles are values that occur: the smallest that at least this share does not exceed (NumPy's ``inverted_cdf``).
    NaN of a ring that is empty, because other nuclei lie all around.

    Parameters
    ----------
    labels, foreground, pixels
        int32 and uint8 ``(h, w)``, uint8 ``(h, w, 3)``.
    ids, boxes
        Labels ``(n,)`` and their bounding boxes ``(n, 4)``, (y0, x0, y1, x1) in the arrays.
    tables
        See `wsinuc.nuclei.stains.density_tables`.
    mpp
        um per pixel.
    """
    rim = half_widths(max(1.0, RIM_UM / mpp))
    ring = half_widths(max(1.0, RING_UM / mpp))
    values = _densities(labels, ids, boxes, foreground, pixels, tables, rim, ring)
    return values.reshape(len(ids), len(STAINS) * len(PARTS) * len(STATISTICS))


def cytoplasm_densities(
    labels: NDArray[np.int32],
    cells: NDArray[np.int32],
    boxes: NDArray[np.int64],
    pixels: NDArray[np.uint8],
    tables: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Optical densities of cells without their nuclei, float64 ``(n, 10)``, in the order of ``CYTOPLASM``.

    Parameters
    ----------
    labels, cells, pixels
        int32 ``(h, w)``, nuclei and cells 1 to n; uint8 ``(h, w, 3)``.
    boxes
        Bounding boxes of the cells, int64 ``(n, 4)``, (y0, x0, y1, x1) in the arrays.
    tables
        See `wsinuc.nuclei.stains.density_tables`.
    """
    values = _cytoplasm(labels, cells, boxes, pixels, tables)
    return values.reshape(len(boxes), len(STAINS) * len(STATISTICS))


@kernel
def _cytoplasm(
    labels: NDArray[np.int32],
    cells: NDArray[np.int32],
    boxes: NDArray[np.int64],
    pixels: NDArray[np.uint8],
    tables: NDArray[np.int32],
) -> NDArray[np.float64]:
    out = np.full((len(boxes), 2, 2 + len(_PER_CENT)), np.nan)
    lowest, highest = _extremes(tables)
    counts = np.zeros(highest - lowest + 1, np.int64)
    for i in range(len(boxes)):
        y0, x0, y1, x1 = boxes[i]
        part = np.full((y1 - y0, x1 - x0), 3, np.uint8)
        for y in range(y0, y1):
            for x in range(x0, x1):
                if cells[y, x] == i + 1 and labels[y, x] == 0:
                    part[y - y0, x - x0] = 0
        levels, ends = _levels(part, pixels[y0:y1, x0:x1], tables)
        for stain in range(2):
            _statistics(levels[stain][: ends[0]], counts, lowest, out[i, stain])
    return out


@kernel
def _densities(
    labels: NDArray[np.int32],
    ids: NDArray[np.int64],
    boxes: NDArray[np.int64],
    foreground: NDArray[np.uint8],
    pixels: NDArray[np.uint8],
    tables: NDArray[np.int32],
    rim: NDArray[np.int64],
    ring: NDArray[np.int64],
) -> NDArray[np.float64]:
    out = np.full((len(ids), 2, 3, 2 + len(_PER_CENT)), np.nan)
    # Wide enough for every level that the tables can give; cleared after each use.
    lowest, highest = _extremes(tables)
    counts = np.zeros(highest - lowest + 1, np.int64)
    height, width = labels.shape
    reach = len(ring) // 2
    for i in range(len(ids)):
        top = max(0, boxes[i, 0] - reach)
        left = max(0, boxes[i, 1] - reach)
        bottom = min(height, boxes[i, 2] + reach)
        right = min(width, boxes[i, 3] + reach)
        own = labels[top:bottom, left:right] == ids[i]
        part = _parts(own, foreground[top:bottom, left:right], rim, ring)
        levels, ends = _levels(part, pixels[top:bottom, left:right], tables)
        for stain in range(2):
            values = levels[stain]
            for which, (first, last) in enumerate(((0, ends[1]), (ends[0], ends[1]), (ends[1], ends[2]))):
                _statistics(values[first:last], counts, lowest, out[i, stain, which])
    return out


@kernel
def _extremes(tables: NDArray[np.int32]) -> tuple[int, int]:
    """Lowest and highest level that any colour has of any stain, and one beyond each."""
    lowest = 0
    highest = 0
    for stain in range(2):
        least = 0
        most = 0
        for channel in range(3):
            low = high = tables[stain, channel, 0]
            for value in tables[stain, channel]:
                low = min(low, value)
                high = max(high, value)
            least += low
            most += high
        lowest = min(lowest, least >> 10)
        highest = max(highest, most >> 10)
    return lowest - 1, highest + 1


@kernel
def _parts(
    own: NDArray[np.bool_], foreground: NDArray[np.uint8], rim: NDArray[np.int64], ring: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """0 inside of the nucleus, 1 its rim, 2 its ring, 3 the rest; uint8 of the window's shape."""
    near = grown(own, ring)
    outer = grown(~own, rim)
    part = np.full(own.shape, 3, np.uint8)
    for y in range(own.shape[0]):
        for x in range(own.shape[1]):
            if own[y, x]:
                part[y, x] = 1 if outer[y, x] else 0
            elif near[y, x] and foreground[y, x] < 128:
                part[y, x] = 2
    return part


@kernel
def _levels(
    part: NDArray[np.uint8], pixels: NDArray[np.uint8], tables: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Levels of both stains of the pixels of parts 0, 1 and 2 one after another, and where each part ends."""
    levels = np.empty((2, part.size), np.int64)
    ends = np.zeros(3, np.int64)
    used = 0
    for which in range(3):
        for y in range(part.shape[0]):
            for x in range(part.shape[1]):
                if part[y, x] == which:
                    red = pixels[y, x, 0]
                    green = pixels[y, x, 1]
                    blue = pixels[y, x, 2]
                    levels[0, used] = density_level(tables[0], red, green, blue)
                    levels[1, used] = density_level(tables[1], red, green, blue)
                    used += 1
        ends[which] = used
    return levels, ends


@kernel
def _statistics(levels: NDArray[np.int64], counts: NDArray[np.int64], lowest: int, out: NDArray[np.float64]) -> None:
    """Mean, standard deviation and quantiles in optical density go into ``out``, and nothing where there are no
    levels; ``counts`` is zeros, before and after."""
    n = len(levels)
    if n == 0:
        return
    total = 0
    squares = 0
    first = levels[0]
    last = levels[0]
    for level in levels:
        total += level
        squares += level * level
        counts[level - lowest] += 1
        first = min(first, level)
        last = max(last, level)
    out[0] = total / (n * PER_OD)
    out[1] = math.sqrt(max(0, n * squares - total * total)) / (n * PER_OD)
    seen = 0
    quantile = 0
    for level in range(first, last + 1):
        seen += counts[level - lowest]
        counts[level - lowest] = 0
        while quantile < len(_PER_CENT) and 100 * seen >= _PER_CENT[quantile] * n:
            out[2 + quantile] = level / PER_OD
            quantile += 1
