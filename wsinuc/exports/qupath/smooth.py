"""Outlines as a pathologist would draw them, from outlines that run along the edges of pixels.

A staircase is 27 % too long for a disc, so whoever measures it finds another circularity than that of the nucleus.
Here its corners are cut at the quarters of its unit edges (Chaikin 1974), passes of (1, 2, 1) / 4 smooth what is
left, and `wsinuc.exports.qupath.collapse` takes three quarters of the corners away. An outline is only taken when it
encloses what the pixels do: the strengths of `STEPS` are tried in turn, and the first whose intersection over union
with the pixels is at least `MIN_IOU` and whose length is that of the table within `MAX_LENGTH_ERROR` is it.
Its area is exactly that of the pixels.

Every outline is made from its own pixels alone, so it is the same whatever block or part of the table it is in.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.exports.qupath.collapse import FEWEST, collapsed, without_straight
from wsinuc.exports.qupath.shared_area import shared_area
from wsinuc.kernels import kernel
from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.shape import cross

MIN_IOU = 0.932
"""Intersection over union with the pixels that every outline has; 0.93 when corners are rounded for QuPath."""
MAX_LENGTH_ERROR = 0.05
"""Share by which an outline may differ in length from the table's, where there is one within ``MIN_IOU``."""
STEPS = (
    (6, 1.0),
    (6, 0.7),
    (6, 0.5),
    (6, 0.35),
    (6, 0.2),
    (4, 0.2),
    (6, 0.05),
    (4, 0.02),
    (3, 0.02),
    (2, 0.02),
    (1, 0.02),
    (0, 0.02),
)
"""Passes of smoothing, and px squared that may change sides in one collapse; the coarsest first."""
MAX_SHARE = 0.007
"""Share of a nucleus' area that may change sides in one collapse; the finest steps are always tried."""
FINE = 0.2
"""px squared up to which ``MAX_SHARE`` is not asked."""
MAX_PASSES = max(passes for passes, _ in STEPS)
UNIT = 4 ** (1 + MAX_PASSES)
"""Steps per pixel of the grid on which corners lie: quarters, divided by four in each pass, are whole numbers."""

_STEPS = np.array(STEPS)


def smooth_outlines(nuclei: Nuclei) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Smooth outlines of all nuclei in view pixels.

    Returns
    -------
    float64 ``(m, 2)`` corners (y, x) of all rings one after another, not closed, and their offsets ``(n + 1,)``.
    A nucleus of which no smooth outline is within ``MIN_IOU`` (a few pixels, or one that touches itself) keeps the
    outline that it has.
    """
    # Taken from the table, so that both speak of the same length.
    lengths = np.full(len(nuclei), np.nan)
    if "length_um" in nuclei.measurements:
        lengths = nuclei.measurements["length_um"].astype(np.float64) / nuclei.frame.mpp
    outlines = np.ascontiguousarray(nuclei.outlines, np.int32)
    corners, offsets = _smooth_rings(outlines, nuclei.offsets, lengths, _STEPS)
    crossing = _crossing(corners, offsets)
    if not len(crossing):
        return corners, offsets
    # A few in a hundred thousand.
    rings = np.split(corners, offsets[1:-1])
    for i in crossing:
        rings[i] = outlines[nuclei.offsets[i] : nuclei.offsets[i + 1]].astype(np.float64)
    ends = np.cumsum([0, *(len(ring) for ring in rings)])
    return np.concatenate(rings), ends


def _crossing(corners: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.intp]:
    """Which rings cross themselves, which no smoothing is meant to bring about."""
    counts = np.diff(offsets)
    enough = np.flatnonzero(counts >= FEWEST)
    if not len(enough):
        return enough
    xy = corners[np.repeat(counts >= FEWEST, counts)]
    owner = np.repeat(np.arange(len(enough)), counts[enough])
    polygons = shapely.polygons(shapely.linearrings(xy, indices=owner))  # which closes them
    crossing: NDArray[np.intp] = enough[~shapely.is_valid(polygons)]
    return crossing


@kernel
def _smooth_rings(
    outlines: NDArray[np.int32],
    offsets: NDArray[np.int64],
    lengths: NDArray[np.float64],
    steps: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    # No ring gets more corners than its outline has quarter points, or corners.
    capacity = len(outlines)
    for i in range(len(lengths)):
        capacity += 2 * _perimeter(outlines[offsets[i] : offsets[i + 1]])
    out = np.empty((capacity, 2))
    ends = np.zeros(len(offsets), np.int64)
    for i in range(len(lengths)):
        ring = outlines[offsets[i] : offsets[i + 1]]
        smooth = _smooth_ring(ring, lengths[i], steps)
        ends[i + 1] = ends[i] + len(smooth)
        for k in range(len(smooth)):
            out[ends[i] + k, 0] = smooth[k, 0]
            out[ends[i] + k, 1] = smooth[k, 1]
    return out[: ends[-1]].copy(), ends


@kernel
def _smooth_ring(ring: NDArray[np.int32], length: float, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The outline of the first step that is good enough; else of those within ``MIN_IOU`` the best in length."""
    if not _is_staircase(ring):
        return ring.astype(np.float64)
    area = _area(ring)
    best = ring.astype(np.float64)
    best_error = np.inf
    passes = -1
    corners = np.empty((0, 2), np.int64)
    for step in range(len(steps)):
        limit = steps[step, 1]
        if limit > max(FINE, MAX_SHARE * area):
            continue
        # Steps of as many passes begin with the same corners.
        if passes != int(steps[step, 0]):
            passes = int(steps[step, 0])
            corners = without_straight(_smoothed(_quarter_points(ring), passes))
        smooth = _with_area(collapsed(corners.copy(), limit * UNIT * UNIT), area)
        shared = shared_area(ring, smooth)
        # Both have the same area.
        if shared < MIN_IOU * (2 * area - shared):
            continue
        error = abs(_length(smooth) / length - 1)
        # Also where there is nothing to compare with.
        if not error > MAX_LENGTH_ERROR:
            return smooth
        if error < best_error:
            best = smooth
            best_error = error
    return best


@kernel
def _perimeter(ring: NDArray[np.int32]) -> int:
    """Unit edges of a ring."""
    total = 0
    previous = len(ring) - 1
    for k in range(len(ring)):
        total += abs(ring[k, 0] - ring[previous, 0]) + abs(ring[k, 1] - ring[previous, 1])
        previous = k
    return total


@kernel
def _quarter_points(ring: NDArray[np.int32]) -> NDArray[np.int64]:
    """The points at one and three quarters of every unit edge, in 1 / UNIT px."""
    points = np.empty((2 * _perimeter(ring), 2), np.int64)
    used = 0
    for k in range(len(ring)):
        following = (k + 1) % len(ring)
        step_y = np.int64(np.sign(ring[following, 0] - ring[k, 0]))
        step_x = np.int64(np.sign(ring[following, 1] - ring[k, 1]))
        y = np.int64(ring[k, 0]) * UNIT
        x = np.int64(ring[k, 1]) * UNIT
        # Edges are horizontal or vertical, so one of the two differences is 0.
        for _ in range(abs(ring[following, 0] - ring[k, 0]) + abs(ring[following, 1] - ring[k, 1])):
            for quarters in (1, 3):
                points[used, 0] = y + step_y * quarters * (UNIT // 4)
                points[used, 1] = x + step_x * quarters * (UNIT // 4)
                used += 1
            y += step_y * UNIT
            x += step_x * UNIT
    return points


@kernel
def _smoothed(points: NDArray[np.int64], passes: int) -> NDArray[np.int64]:
    """Every point moved, in each pass, to the mean of itself, twice, and its two neighbours; ``points`` is used up."""
    count = len(points)
    for _ in range(passes):
        for axis in range(2):
            first = points[0, axis]
            before = points[count - 1, axis]
            for k in range(count):
                here = points[k, axis]
                after = points[k + 1, axis] if k + 1 < count else first
                # Exact: all are multiples of four.
                points[k, axis] = (before + 2 * here + after) >> 2
                before = here
    return points


@kernel
def _is_staircase(ring: NDArray[np.int32]) -> bool:
    """Whether all edges go along those of pixels, and enclose one at least."""
    if len(ring) < FEWEST:
        return False
    for k in range(len(ring)):
        if (ring[k, 0] == ring[k - 1, 0]) == (ring[k, 1] == ring[k - 1, 1]):
            return False
    return _area(ring) >= 1


@kernel
def _area(ring: NDArray[np.int32]) -> float:
    """Pixels that a ring encloses."""
    twice = np.int64(0)
    for k in range(len(ring)):
        # Edges are horizontal or vertical.
        twice += np.int64(ring[k - 1, 1] - ring[0, 1]) * (ring[k, 0] - ring[k - 1, 0])
    return float(abs(twice))


@kernel
def _length(ring: NDArray[np.float64]) -> float:
    total = 0.0
    for k in range(len(ring)):
        total += np.hypot(ring[k, 0] - ring[k - 1, 0], ring[k, 1] - ring[k - 1, 1])
    return total


@kernel
def _with_area(points: NDArray[np.int64], area: float) -> NDArray[np.float64]:
    """The ring in pixels, grown evenly by what smoothing has taken from its area, about one pixel of it."""
    twice = np.int64(0)
    middle_y = 0.0
    middle_x = 0.0
    for k in range(len(points)):
        twice += cross(points, 0, k - 1, k)
        # Relative to a corner, so that a shift changes no bit.
        middle_y += points[k, 0] - points[0, 0]
        middle_x += points[k, 1] - points[0, 1]
    middle_y /= len(points)
    middle_x /= len(points)
    scale = 1.0
    if twice != 0:
        scale = np.sqrt(2 * area / abs(twice)) * UNIT
    out = np.empty((len(points), 2))
    for k in range(len(points)):
        y = points[k, 0] - points[0, 0] - middle_y
        x = points[k, 1] - points[0, 1] - middle_x
        out[k, 0] = (points[0, 0] + middle_y + scale * y) / UNIT
        out[k, 1] = (points[0, 1] + middle_x + scale * x) / UNIT
    return out
