"""What is known of a nucleus beyond its outline: form, stain, texture and surroundings, as numbers that tell
classes apart.

Everything comes from the labels, the foreground and the two stains of the pixels, so it works with
every segmenter. A nucleus must get the same numbers in whatever block it is seen. So sums are sums
of integers, distances between nuclei are quotients of integers that a shift leaves alone, and
nothing farther than `REACH_UM` from the centroid counts.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel
from wsinuc.labels import trace_outlines
from wsinuc.nuclei.classes import REACH_UM
from wsinuc.nuclei.shape import ring_shapes

NEAR_UM = 10.0
"""Half the side of a smaller such square."""
RING_UM = 3.0
"""How far around a nucleus' bounding box the tissue beside it is looked at."""
DENSITY_STEPS = 100.0
"""Levels per unit of optical density (natural logarithm)."""

DESCRIPTORS = (
    *("log_area", "circularity", "solidity", "axis_ratio", "log_length"),
    *("h_mean", "e_mean", "h_spread", "e_spread", "h_low", "h_high", "h_slope"),
    *("ring_h", "ring_e", "ring_spread", "contrast"),
    *("near_foreground", "near_h", "near_e", "far_foreground", "far_h", "far_e"),
    *("neighbours_per_mm2", "neighbours_log_area", "neighbours_axis_ratio", "neighbours_h"),
)
"""Names of the columns of `describe`."""


def _stain_tables() -> NDArray[np.int64]:
    """Share of each value of R, G, B in the densities of haematoxylin and eosin, int64 ``(2, 3,
    256)``, 1/1000 levels."""
    # Ruifrok & Johnston 2001: rows haematoxylin, eosin, DAB.
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    unmix = np.linalg.inv(stains / np.linalg.norm(stains, axis=1, keepdims=True))
    density = -np.log((np.arange(256) + 1) / 256)
    return np.rint(1000 * DENSITY_STEPS * unmix.T[:2, :, None] * density).astype(np.int64)


_TABLES = _stain_tables()


def stain_levels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Optical densities of haematoxylin and eosin of RGB ``(..., h, w, 3)``, uint8 ``(..., 2, h, w)``.

    A level is 1 / `DENSITY_STEPS` of a unit of density; what lies outside of 0 to 255 is cut. From
    tables of integers: a pixel's levels do not depend on the array that it is in.
    """
    sums = [sum(table[pixels[..., k]] for k, table in enumerate(stain)) for stain in _TABLES]
    return np.stack([np.clip(np.floor_divide(each + 500, 1000), 0, 255).astype(np.uint8) for each in sums], axis=-3)


def describe(
    labels: NDArray[np.int32], foreground: NDArray[np.uint8], stains: NDArray[np.uint8], mpp: float
) -> NDArray[np.float64]:
    """The descriptors of every nucleus.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, 0 background, 1..n each one 4-connected piece without holes.
    foreground
        uint8 ``(h, w)``, 255 = certainly nucleus.
    stains
        uint8 ``(2, h, w)``, see `stain_levels`.
    mpp
        um per pixel.

    Returns
    -------
    float64 ``(n, len(DESCRIPTORS))``, row i of label i + 1.
    """
    if not labels.any():
        return np.zeros((0, len(DESCRIPTORS)))
    labels = np.ascontiguousarray(labels, np.int32)
    _, outlines, offsets = trace_outlines(labels)
    boxes, sums = _extents(labels)
    form = _form(sums[:, 0], ring_shapes(outlines, offsets), mpp)
    inside = _inside(labels, stains, boxes)
    ring = _ring(labels, foreground, stains, boxes, max(1, round(RING_UM / mpp)))
    totals = np.stack([_integral(plane) for plane in (foreground, *stains)])
    near = _squares(totals, sums, max(1, round(NEAR_UM / mpp)))
    far = _squares(totals, sums, max(1, round(REACH_UM / mpp)))
    own = np.column_stack([form[:, 0], form[:, 3], inside[:, 0]])
    around = _neighbours(sums, own, REACH_UM / mpp)
    # Part of the square may lie beyond the slide's edge.
    around[:, 0] /= far[:, 3] * mpp**2 / 1e6
    return np.column_stack([form, inside, ring, inside[:, 0] - ring[:, 0], near[:, :3], far[:, :3], around])


def _form(areas: NDArray[np.int64], shapes: NDArray[np.float64], mpp: float) -> NDArray[np.float64]:
    length, hull, longest, narrowest = shapes.T
    circularity = np.minimum(1.0, 4 * np.pi * areas / length**2)
    # The hull is that of a polygon half a pixel smaller: see shape.py.
    solidity = (areas - 0.5) / hull
    form = np.column_stack([areas * mpp**2, circularity, solidity, narrowest / longest, longest * mpp])
    # math.log: the last bit of numpy's depends on where in its array a value stands.
    for column in (0, 4):
        form[:, column] = [math.log(value) for value in form[:, column]]
    return form


def _integral(plane: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Sums over all pixels above and left, int64 ``(h + 1, w + 1)``."""
    return np.pad(plane.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))


@kernel
def _extents(labels: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bounding boxes (y0, x0, y1, x1) and area with sums of rows and columns of labels 1..n."""
    n = labels.max()
    boxes = np.zeros((n, 4), np.int64)
    sums = np.zeros((n, 3), np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            i = labels[y, x] - 1
            if i < 0:
                continue
            if sums[i, 0] == 0:
                boxes[i] = np.array([y, x, y + 1, x + 1])
            boxes[i, 1] = min(boxes[i, 1], x)
            boxes[i, 2] = y + 1
            boxes[i, 3] = max(boxes[i, 3], x + 1)
            sums[i] += np.array([1, y, x])
    return boxes, sums


@kernel
def _spread(count: np.int64, total: np.int64, squares: np.int64) -> float:
    """Standard deviation from integer sums."""
    return math.sqrt(max(np.int64(0), count * squares - total * total)) / float(count)


@kernel
def _inside(labels: NDArray[np.int32], stains: NDArray[np.uint8], boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean and spread of both stains, the darkest and palest tenth of haematoxylin, its slope, over each nucleus."""
    out = np.zeros((len(boxes), 7))
    height, width = labels.shape
    for i in range(len(boxes)):
        y0, x0, y1, x1 = boxes[i]
        counts = np.zeros(256, np.int64)
        # Sums of levels and of their squares. int64, because numba takes differences of unsigned levels without a sign.
        area = h = h_squares = e = e_squares = slope = np.int64(0)
        for y in range(y0, y1):
            for x in range(x0, x1):
                if labels[y, x] != i + 1:
                    continue
                h_level = np.int64(stains[0, y, x])
                e_level = np.int64(stains[1, y, x])
                area += 1
                h += h_level
                h_squares += h_level * h_level
                e += e_level
                e_squares += e_level * e_level
                counts[h_level] += 1
                slope += abs(np.int64(stains[0, min(y + 1, height - 1), x]) - np.int64(stains[0, max(y - 1, 0), x]))
                slope += abs(np.int64(stains[0, y, min(x + 1, width - 1)]) - np.int64(stains[0, y, max(x - 1, 0)]))
        out[i, 0] = h / area
        out[i, 1] = e / area
        out[i, 2] = _spread(area, h, h_squares)
        out[i, 3] = _spread(area, e, e_squares)
        out[i, 4] = _quantile(counts, area, 1)
        out[i, 5] = _quantile(counts, area, 9)
        out[i, 6] = slope / area
    return out


@kernel
def _quantile(counts: NDArray[np.int64], total: np.int64, tenths: int) -> int:
    """The level up to which the given tenths of all values lie."""
    seen = 0
    for level in range(256):
        seen += counts[level]
        if 10 * seen >= tenths * total:
            return level
    return 255


@kernel
def _ring(
    labels: NDArray[np.int32],
    foreground: NDArray[np.uint8],
    stains: NDArray[np.uint8],
    boxes: NDArray[np.int64],
    reach: int,
) -> NDArray[np.float64]:
    """Mean of both stains and spread of haematoxylin over what is no nucleus around each; of nothing, 0.

    "No nucleus" is judged by the foreground, not by the labels, which say less near the edge of what was read.
    """
    out = np.zeros((len(boxes), 3))
    height, width = labels.shape
    for i in range(len(boxes)):
        y0, x0, y1, x1 = boxes[i]
        area = h = h_squares = e = np.int64(0)
        for y in range(max(0, y0 - reach), min(height, y1 + reach)):
            for x in range(max(0, x0 - reach), min(width, x1 + reach)):
                if foreground[y, x] < 128 and labels[y, x] != i + 1:
                    h_level = np.int64(stains[0, y, x])
                    area += 1
                    h += h_level
                    h_squares += h_level * h_level
                    e += np.int64(stains[1, y, x])
        if area:
            out[i] = np.array([h / area, e / area, _spread(area, h, h_squares)])
    return out


@kernel
def _squares(totals: NDArray[np.int64], sums: NDArray[np.int64], reach: int) -> NDArray[np.float64]:
    """Means of each plane over the square around each centroid, as far as it lies in the array, and its pixels."""
    planes, height, width = totals.shape
    out = np.zeros((len(sums), planes + 1))
    for i in range(len(sums)):
        area, sy, sx = sums[i]
        # The centroid, rounded by whole numbers: a division of floats may fall on either side of a half.
        y = (2 * sy + area) // (2 * area)
        x = (2 * sx + area) // (2 * area)
        # The planes have one row and one column more than the image, of zeros: see `_integral`.
        top = max(0, y - reach)
        bottom = min(height - 1, y + reach + 1)
        left = max(0, x - reach)
        right = min(width - 1, x + reach + 1)
        pixels = (bottom - top) * (right - left)
        for k in range(planes):
            total = totals[k, bottom, right] - totals[k, top, right] - totals[k, bottom, left] + totals[k, top, left]
            out[i, k] = total / pixels
        out[i, planes] = pixels
    return out


@kernel
def _neighbours(sums: NDArray[np.int64], own: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Number of nuclei whose centroid is nearer than ``reach``, and the means of what is known of
    them; 0 without any."""
    out = np.zeros((len(sums), 1 + own.shape[1]))
    rows = np.empty(len(sums), np.int64)
    for i in range(len(sums)):
        rows[i] = sums[i, 1] // sums[i, 0]
    # Sorted by row, so that only nuclei of the rows near by are compared; stable, so that sums have one order.
    order = np.argsort(rows, kind="mergesort")
    for at in range(len(order)):
        i = order[at]
        first = at
        while first > 0 and rows[i] - rows[order[first - 1]] <= reach + 1:
            first -= 1
        for k in range(first, len(order)):
            j = order[k]
            if rows[j] - rows[i] > reach + 1:  # rows are rounded down, hence 1 more
                break
            if j == i:
                continue
            # Cross-multiplied, so that a shift of both changes nothing, not even the last bit.
            scale = np.float64(sums[i, 0] * sums[j, 0])
            dy = (sums[i, 1] * sums[j, 0] - sums[j, 1] * sums[i, 0]) / scale
            dx = (sums[i, 2] * sums[j, 0] - sums[j, 2] * sums[i, 0]) / scale
            if dy * dy + dx * dx <= reach * reach:
                out[i, 0] += 1
                for c in range(own.shape[1]):
                    out[i, 1 + c] += own[j, c]
        if out[i, 0]:
            for c in range(own.shape[1]):
                out[i, 1 + c] /= out[i, 0]
    return out
