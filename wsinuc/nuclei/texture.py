"""Texture of haematoxylin in a nucleus: Haralick's features of co-occurring levels, and how steep its density is.

Density is quantised to `LEVELS` equal steps from 0 to `DARKEST_OD`, the same for all nuclei and slides. Pairs of pixels
of the nucleus are counted both ways in each of four directions (along rows, columns and both diagonals, one view pixel
apart); each feature is the mean over the directions, as ``mahotas.features.haralick(..., return_mean=True)`` has it
(Haralick, Shanmugam & Dinstein 1973, doi:10.1109/TSMC.1973.4309314). The difference variance is that of ``|i - j|``.

mahotas takes one nucleus at a time, with ten times the time for it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel
from wsinuc.nuclei.stains import PER_OD, density_level

LEVELS = 32
DARKEST_OD = 1.6
"""Optical density from which all is the last level."""

_STEP = round(DARKEST_OD * PER_OD / LEVELS)
_FEATURES = 13
_DY = np.array([0, 1, 1, 1])
_DX = np.array([1, 1, 0, -1])


def textures(
    labels: NDArray[np.int32],
    ids: NDArray[np.int64],
    boxes: NDArray[np.int64],
    pixels: NDArray[np.uint8],
    tables: NDArray[np.int32],
    mpp: float,
) -> NDArray[np.float64]:
    """Texture of nuclei, float64 ``(n, 15)`` in the order of `wsinuc.nuclei.measured_names.TEXTURE`.

    NaN of a single pixel, which has no pairs.

    Parameters
    ----------
    labels, pixels
        int32 ``(h, w)``, uint8 ``(h, w, 3)``.
    ids, boxes
        Labels ``(n,)`` and their bounding boxes ``(n, 4)``, (y0, x0, y1, x1) in the arrays.
    tables
        See `wsinuc.nuclei.stains.density_tables`.
    mpp
        um per pixel.
    """
    return _textures(labels, ids, boxes, pixels, tables[0], mpp)


@kernel
def _textures(
    labels: NDArray[np.int32],
    ids: NDArray[np.int64],
    boxes: NDArray[np.int64],
    pixels: NDArray[np.uint8],
    table: NDArray[np.int32],
    mpp: float,
) -> NDArray[np.float64]:
    out = np.full((len(ids), _FEATURES + 2), np.nan)
    height, width = labels.shape
    for i in range(len(ids)):
        # One pixel more on each side, for differences.
        top = max(0, boxes[i, 0] - 1)
        left = max(0, boxes[i, 1] - 1)
        bottom = min(height, boxes[i, 2] + 1)
        right = min(width, boxes[i, 3] + 1)
        own = labels[top:bottom, left:right] == ids[i]
        levels = np.empty(own.shape, np.int64)
        for y in range(own.shape[0]):
            for x in range(own.shape[1]):
                red, green, blue = pixels[top + y, left + x]
                levels[y, x] = density_level(table, red, green, blue)
        _haralick(own, levels, out[i])
        mean, std = _gradient(own, levels)
        out[i, _FEATURES] = mean / (PER_OD * mpp)
        out[i, _FEATURES + 1] = std / (PER_OD * mpp)
    return out


@kernel
def _gradient(own: NDArray[np.bool_], levels: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and standard deviation of the gradient's length, in levels per pixel; as ``numpy.gradient`` takes it."""
    height, width = own.shape
    count = 0
    total = 0.0
    squares = 0.0
    for y in range(height):
        for x in range(width):
            if own[y, x]:
                # Of both neighbours, or at the slide's edge of one of them and the pixel itself.
                above = max(0, y - 1)
                below = min(height - 1, y + 1)
                before = max(0, x - 1)
                after = min(width - 1, x + 1)
                along_y = (levels[below, x] - levels[above, x]) / max(1, below - above)
                along_x = (levels[y, after] - levels[y, before]) / max(1, after - before)
                square = along_y * along_y + along_x * along_x
                count += 1
                total += math.sqrt(square)
                squares += square
    mean = total / count
    return mean, math.sqrt(max(0.0, squares / count - mean * mean))


@kernel
def _haralick(own: NDArray[np.bool_], levels: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """Put the 13 features first in ``out``, each the mean over the directions that have pairs; nothing without any."""
    steps = np.minimum(np.maximum(levels, 0) // _STEP, LEVELS - 1)
    features = np.zeros(_FEATURES)
    directions = 0
    for k in range(len(_DY)):
        counts = _pairs(own, steps, _DY[k], _DX[k])
        if counts.sum():
            features += _features(counts)
            directions += 1
    if directions == 0:
        return
    for k in range(_FEATURES):
        out[k] = features[k] / directions


@kernel
def _pairs(own: NDArray[np.bool_], steps: NDArray[np.int64], dy: int, dx: int) -> NDArray[np.int64]:
    """How often a step lies beside another, both ways, int64 ``(LEVELS, LEVELS)``."""
    counts = np.zeros((LEVELS, LEVELS), np.int64)
    height, width = own.shape
    for y in range(height - dy):
        for x in range(max(0, -dx), width - max(0, dx)):
            if own[y, x] and own[y + dy, x + dx]:
                a = steps[y, x]
                b = steps[y + dy, x + dx]
                counts[a, b] += 1
                counts[b, a] += 1
    return counts


@kernel
def _entropy(p: NDArray[np.float64]) -> float:
    """In bits."""
    total = 0.0
    for value in p:
        if value > 0:
            total -= value * math.log2(value)
    return total


@kernel
def _features(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Haralick's features of one symmetric matrix of counts, with levels from 0."""
    total = float(counts.sum())
    out = np.zeros(_FEATURES)
    sums = np.zeros(2 * LEVELS - 1)
    differences = np.zeros(LEVELS)
    margin = np.zeros(LEVELS)
    products = 0.0
    for i in range(LEVELS):
        for j in range(LEVELS):
            if counts[i, j] == 0:
                continue
            p = counts[i, j] / total
            out[0] += p * p
            out[1] += (i - j) * (i - j) * p
            out[4] += p / (1 + (i - j) * (i - j))
            out[8] -= p * math.log2(p)
            products += i * j * p
            sums[i + j] += p
            differences[abs(i - j)] += p
            margin[i] += p
    mean, variance = _moments(margin)
    out[2] = (products - mean * mean) / variance if variance > 0 else 1.0
    out[3] = variance
    out[5], out[6] = _moments(sums)
    out[7] = _entropy(sums)
    _, out[9] = _moments(differences)
    out[10] = _entropy(differences)
    # Both margins are one, so HXY1 = HXY2 = HX + HY = 2 HX.
    single = _entropy(margin)
    out[11] = (out[8] - 2 * single) / single if single > 0 else 0.0
    out[12] = math.sqrt(max(0.0, 1 - math.exp(-2 * (2 * single - out[8]))))
    return out


@kernel
def _moments(p: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and variance of a distribution over 0, 1, 2, ..."""
    mean = 0.0
    squares = 0.0
    for k in range(len(p)):
        mean += k * p[k]
        squares += k * k * p[k]
    return mean, max(0.0, squares - mean * mean)
