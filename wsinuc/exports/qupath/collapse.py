"""Fewer corners for a ring, with the area that it had, by segment collapse.

Of four corners A, B, C, D in a row, B and C give way to one point E on the line along which the triangle A, E, D has
the area of A, B, C, D (Kronenfeld, Stanislawski, Buttenfield & Brockmeyer 2020, "Simplification of polylines by
segment collapse: minimizing areal displacement while preserving area"). Where the ring has moved outwards it has moved
inwards by as much beside it.

What happens to a piece of a ring depends on that piece alone, not on where the ring begins or from which side it is
seen: collapses that are the cheapest among their neighbours happen at once, and equal ones are told apart by their
place. Two nuclei that share a border therefore keep the same border, up to its ends. No well-kept library has this:
simplifying by distance makes convex outlines smaller, and grown back they overlap.

Corners are integers on a fine grid, so that a shift changes nothing, not even the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel
from wsinuc.nuclei.shape import cross

FEWEST = 4
"""Corners that a ring keeps."""


@kernel
def without_straight(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """The points at which a ring turns."""
    count = len(points)
    out = np.empty_like(points)
    used = 0
    for k in range(count):
        if cross(points, k - 1, k, (k + 1) % count) != 0:
            out[used, 0] = points[k, 0]
            out[used, 1] = points[k, 1]
            used += 1
    return out[:used]


@kernel
def collapsed(points: NDArray[np.int64], limit: float) -> NDArray[np.int64]:
    """The ring after all collapses that cost at most ``limit``, the cheapest first wherever two meet.

    Parameters
    ----------
    points
        int64 ``(n, 2)`` corners (y, x) in any unit, not closed; overwritten.
    limit
        Largest area, in the unit squared, that changes sides in one collapse, both sides together.
    """
    count = len(points)
    merged = np.empty_like(points)
    costs = np.empty(count)
    moved = np.ones(count, np.bool_)
    chosen = np.empty(count, np.bool_)
    while count > FEWEST:
        for k in range(count):
            before = _round(k - 1, count)
            after = _round(k + 1, count)
            second = _round(k + 2, count)
            # Only what has changed is computed anew.
            if moved[before] or moved[k] or moved[after] or moved[second]:
                merged[k, 0], merged[k, 1], costs[k] = _collapse(points, before, k, after, second)
        spare = count - FEWEST
        for k in range(count):
            chosen[k] = spare > 0 and costs[k] <= limit and _is_cheapest(points, costs, count, k)
            spare -= chosen[k]
        if spare == count - FEWEST:
            break
        count = _without_chosen(points, merged, costs, moved, chosen[:count])
    return points[:count]


@kernel
def _without_chosen(
    points: NDArray[np.int64],
    merged: NDArray[np.int64],
    costs: NDArray[np.float64],
    moved: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
) -> int:
    """Collapse the chosen segments, in place; how many points are left."""
    count = len(chosen)
    used = 0
    gone = chosen[count - 1]
    for k in range(count):
        goes = gone
        gone = chosen[k]
        if goes:
            continue
        # Never ahead of what is read.
        points[used, 0] = merged[k, 0] if chosen[k] else points[k, 0]
        points[used, 1] = merged[k, 1] if chosen[k] else points[k, 1]
        merged[used, 0] = merged[k, 0]
        merged[used, 1] = merged[k, 1]
        costs[used] = costs[k]
        moved[used] = chosen[k]
        used += 1
    return used


@kernel
def _round(k: int, count: int) -> int:
    """Position k of a ring, up to two before its first and after its last; a remainder takes a division."""
    if k < 0:
        return k + count
    if k >= count:
        return k - count
    return k


@kernel
def _is_cheapest(points: NDArray[np.int64], costs: NDArray[np.float64], count: int, k: int) -> bool:
    """Whether the segment from point k goes before the two on either side, of whose collapses a corner is its own."""
    for step in (-2, -1, 1, 2):
        j = _round(k + step, count)
        if costs[j] < costs[k]:
            return False
        if costs[j] == costs[k] and j != k:
            # The one whose middle is higher up, then further left.
            next_j = _round(j + 1, count)
            next_k = _round(k + 1, count)
            down = points[j, 0] + points[next_j, 0] - points[k, 0] - points[next_k, 0]
            right = points[j, 1] + points[next_j, 1] - points[k, 1] - points[next_k, 1]
            if down < 0 or (down == 0 and right < 0):
                return False
    return True


@kernel
def _collapse(points: NDArray[np.int64], a: int, b: int, c: int, d: int) -> tuple[int, int, float]:
    """The point E that stands for points b and c, and the area that changes sides; infinite where there is none."""
    # Seen from the other side of a border the corners come in the other order: the result must not differ in a bit.
    if points[d, 0] < points[a, 0] or (points[d, 0] == points[a, 0] and points[d, 1] < points[a, 1]):
        a, b, c, d = d, c, b, a
    a_y = points[a, 0]
    a_x = points[a, 1]
    # Relative to a, from here on.
    by = float(points[b, 0] - a_y)
    bx = float(points[b, 1] - a_x)
    cy = float(points[c, 0] - a_y)
    cx = float(points[c, 1] - a_x)
    dy = float(points[d, 0] - a_y)
    dx = float(points[d, 1] - a_x)
    if dy == 0 and dx == 0:
        return points[b, 0], points[b, 1], np.inf
    # Twice the areas of a, d, b and of a, d, c: how far b and c lie from the line through a and d, and on which side.
    far_b = dy * bx - dx * by
    far_c = dy * cx - dx * cy
    if far_b == 0 and far_c == 0:
        return a_y + round((by + cy) / 2), a_x + round((bx + cx) / 2), 0.0
    # Twice the area of a, b, c, d: what a, e, d is to have.
    area = (cy * bx - cx * by) + (dy * cx - dx * cy)
    if far_b * far_c > 0:
        on_first = abs(far_b) > abs(far_c)
    elif far_b == 0 or far_c == 0:
        on_first = far_c == 0
    else:
        on_first = (far_b > 0) == (area > 0)
    if on_first:  # e on the line through a and b
        ey = area / far_b * by
        ex = area / far_b * bx
        return a_y + round(ey), a_x + round(ex), _moved(ey, ex, by, bx, cy, cx, dy, dx)
    ey = dy + area / far_c * (cy - dy)
    ex = dx + area / far_c * (cx - dx)
    return a_y + round(ey), a_x + round(ex), _moved(ey, ex, cy, cx, by, bx, 0.0, 0.0)


@kernel
def _moved(ey: float, ex: float, py: float, px: float, qy: float, qx: float, ry: float, rx: float) -> float:
    """Area between the ways r, e, p and r, q, p, where e and p lie on one line with the end before p.

    The way r to e crosses q to p in x; on either side of it lies half of that area, and one half is e, p, x.
    """
    along_y = ey - ry
    along_x = ex - rx
    across = along_y * (qx - px) - along_x * (qy - py)
    if across == 0:
        return 0.0
    share = (along_x * (py - ry) - along_y * (px - rx)) / across
    xy = py + share * (qy - py)
    xx = px + share * (qx - px)
    return abs((ey - py) * (xx - px) - (ex - px) * (xy - py))
