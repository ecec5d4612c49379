"""The form of nuclei beyond their hull: the ellipse of equal second moments, the bounding box, Fourier descriptors.

* **Axes, eccentricity, orientation** are those of ``skimage.measure.regionprops``: of the ellipse that has the same
  second central moments as the pixels' centres.
* **Fourier descriptors** follow Zahn & Roskies 1972 and HistomicsTK's ``compute_fsd_features``: 128 points at equal
  distances along the outline, the direction from each to the next, and how the energy of that function is spread over
  octaves of frequency. Here the outline is followed in its order, and what a circle would give is taken off: a circle
  has 0 everywhere, and where the outline begins changes nothing but the sampling.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel
from wsinuc.nuclei.measured_names import BANDS
from wsinuc.nuclei.shape import hulls, unit_points

POINTS = 128
"""Points along an outline, as HistomicsTK takes."""


def form_measurements(
    labels: NDArray[np.int32],
    ids: NDArray[np.int64],
    boxes: NDArray[np.int64],
    outlines: NDArray[np.int32],
    offsets: NDArray[np.int64],
    mpp: float,
) -> dict[str, NDArray[np.float64]]:
    """The group ``shape`` by its names, but for the bounding box in the view and what needs the basic measurements.

    Parameters
    ----------
    labels
        int32 ``(h, w)``.
    ids, boxes
        Labels ``(n,)`` and their bounding boxes ``(n, 4)``, (y0, x0, y1, x1) in the array.
    outlines, offsets
        Their rings.
    mpp
        um per pixel.
    """
    moments = _moments(labels, ids, boxes)
    areas = moments[:, 0]
    major, minor, orientation = _axes(moments)
    hull = hulls(outlines, offsets)
    height_width = boxes[:, 2:] - boxes[:, :2]
    return {
        # The hull is that of a polygon half a pixel smaller: see shape.py.
        "convex_area_um2": (hull[:, 0] + 0.5) * mpp**2,
        "hull_length_um": hull[:, 1] * mpp,
        "equivalent_diameter_um": np.sqrt(4 * areas / np.pi) * mpp,
        "extent": areas / (height_width[:, 0] * height_width[:, 1]),
        "major_axis_um": major * mpp,
        "minor_axis_um": minor * mpp,
        "eccentricity": _eccentricity(major, minor),
        "orientation_deg": np.degrees(orientation),
        **{f"fourier_{k + 1}_rad2": energy for k, energy in enumerate(fourier_energies(outlines, offsets).T)},
    }


def _eccentricity(major: NDArray[np.float64], minor: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 of a circle, towards 1 of a line; 0 of a single pixel, which has no axes."""
    ratio = np.divide(minor, major, out=np.ones_like(major), where=major > 0)
    eccentricity: NDArray[np.float64] = np.sqrt(np.maximum(0.0, 1 - ratio**2))
    return eccentricity


@kernel
def _moments(labels: NDArray[np.int32], ids: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Area, sums of y, x, y * y, x * x and y * x of each nucleus' pixels, counted from its bounding box."""
    sums = np.zeros((len(ids), 6), np.int64)
    for i in range(len(ids)):
        for y in range(boxes[i, 2] - boxes[i, 0]):
            for x in range(boxes[i, 3] - boxes[i, 1]):
                if labels[boxes[i, 0] + y, boxes[i, 1] + x] == ids[i]:
                    sums[i, 0] += 1
                    sums[i, 1] += y
                    sums[i, 2] += x
                    sums[i, 3] += y * y
                    sums[i, 4] += x * x
                    sums[i, 5] += y * x
    return sums


@kernel
def _axes(moments: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Major and minor axis (px) and orientation (radians, from the rows' axis, anticlockwise) of the ellipses."""
    n = len(moments)
    major = np.zeros(n)
    minor = np.zeros(n)
    orientation = np.zeros(n)
    for i in range(n):
        area, y, x, yy, xx, yx = moments[i]
        # Differences of integers, each divided once.
        scale = float(area) * float(area)
        rows = (area * yy - y * y) / scale
        columns = (area * xx - x * x) / scale
        mixed = (area * yx - y * x) / scale
        half = (rows + columns) / 2
        root = math.sqrt(((rows - columns) / 2) ** 2 + mixed**2)
        major[i] = 4 * math.sqrt(half + root)
        minor[i] = 4 * math.sqrt(max(0.0, half - root))
        if rows == columns:
            orientation[i] = math.pi / 4 if mixed > 0 else -math.pi / 4
        else:
            orientation[i] = 0.5 * math.atan2(2 * mixed, rows - columns)
    return major, minor, orientation


def fourier_energies(outlines: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean square of how an outline's direction departs from a circle's, by octave: float64 ``(n, BANDS)``, rad^2.

    Band k holds the frequencies 2**k to 2**(k + 1) - 1 per turn: 1, 2 to 3 (elongation), 4 to 7 (lobes), ..., 32 to 63
    (the staircase of pixels).
    """
    directions = _directions(np.ascontiguousarray(outlines, np.int32), offsets)
    energy = 2 * np.abs(np.fft.rfft(directions, axis=1)) ** 2 / POINTS**2
    starts = 2 ** np.arange(BANDS)
    bands: NDArray[np.float64] = np.add.reduceat(energy[:, : 2**BANDS], starts, axis=1)
    return bands


@kernel
def _directions(outlines: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Direction of each outline at `POINTS` places less that of a circle, radians, ``(n, POINTS)``."""
    out = np.zeros((len(offsets) - 1, POINTS))
    for i in range(len(out)):
        y, x = _resampled(unit_points(outlines[offsets[i] : offsets[i + 1]]))
        previous = math.atan2(y[1] - y[0], x[1] - x[0])
        turned = 0.0
        for k in range(1, POINTS):
            direction = math.atan2(y[k + 1] - y[k], x[k + 1] - x[k])
            turn = direction - previous
            # The shorter way round.
            if turn > math.pi:
                turn -= 2 * math.pi
            elif turn <= -math.pi:
                turn += 2 * math.pi
            turned += turn
            previous = direction
            # Outlines run clockwise as seen on screen, where y points down: a whole turn is 2 pi.
            out[i, k] = turned - 2 * math.pi * k / POINTS
    return out


@kernel
def _resampled(points: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`POINTS` + 1 places at equal distances along the midpoints of a ring's unit edges, the last one the first."""
    n = len(points)
    middle_y = np.empty(n + 1)
    middle_x = np.empty(n + 1)
    along = np.zeros(n + 1)
    for k in range(n + 1):
        here = k % n
        following = (k + 1) % n
        # From the first point on, so that no digit depends on where on the slide the ring lies.
        middle_y[k] = (points[here, 0] + points[following, 0] - 2 * points[0, 0]) / 2
        middle_x[k] = (points[here, 1] + points[following, 1] - 2 * points[0, 1]) / 2
        if k:
            along[k] = along[k - 1] + math.hypot(middle_y[k] - middle_y[k - 1], middle_x[k] - middle_x[k - 1])
    y = np.empty(POINTS + 1)
    x = np.empty(POINTS + 1)
    edge = 0
    for k in range(POINTS):
        place = along[n] * k / POINTS
        while along[edge + 1] < place:
            edge += 1
        share = (place - along[edge]) / (along[edge + 1] - along[edge])
        y[k] = middle_y[edge] + share * (middle_y[edge + 1] - middle_y[edge])
        x[k] = middle_x[edge] + share * (middle_x[edge + 1] - middle_x[edge])
    y[POINTS] = y[0]
    x[POINTS] = x[0]
    return y, x
