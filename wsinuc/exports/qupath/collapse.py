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

FEWEST = 4
"""Corners that a ring keeps."""


@kernel
def without_straight(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """The points at which a ring turns."""
    count = len(points)
    out = np.empty_like(points)
    used = 0
    for k in range(count):
        if cross(points[k - 1], points[k], points[(k + 1) % count]) != 0:
            out[used] = points[k]
            used += 1
    return out[:used]


@kernel
def cross(a: NDArray[np.int64], b: NDArray[np.int64], c: NDArray[np.int64]) -> np.int64:
    """Twice the signed area of the triangle a, b, c; 0 for points on one line."""
    twice: np.int64 = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return twice


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
        ring = points[:count]
        for k in range(count):
            # Only what has changed is computed anew.
            if moved[k - 1 if k else count - 1] or moved[k] or moved[(k + 1) % count] or moved[(k + 2) % count]:
                d = ring[(k + 2) % count]
                merged[k, 0], merged[k, 1], costs[k] = _collapse(ring[k - 1], ring[k], ring[(k + 1) % count], d)
        spare = count - FEWEST
        for k in range(count):
            chosen[k] = spare > 0 and costs[k] <= limit and _is_cheapest(ring, costs[:count], k)
            spare -= chosen[k]
        if spare == count - FEWEST:
            break
        last_is_chosen = chosen[count - 1]
        used = 0
        for k in range(count):
            gone = chosen[k - 1] if k else last_is_chosen
            if gone:
                continue
            # Never ahead of what is read.
            points[used] = merged[k] if chosen[k] else ring[k]
            merged[used] = merged[k]
            costs[used] = costs[k]
            moved[used] = chosen[k]
            used += 1
        count = used
    return points[:count]


@kernel
def _is_cheapest(points: NDArray[np.int64], costs: NDArray[np.float64], k: int) -> bool:
    """Whether the segment from point k goes before the two on either side, of whose collapses a corner is its own."""
    count = len(points)
    for other in (k - 2, k - 1, k + 1, k + 2):
        j = other % count
        if costs[j] < costs[k]:
            return False
        if costs[j] == costs[k] and j != k:
            # The one whose middle is higher up, then further left.
            down = points[j, 0] + points[(j + 1) % count, 0] - points[k, 0] - points[(k + 1) % count, 0]
            right = points[j, 1] + points[(j + 1) % count, 1] - points[k, 1] - points[(k + 1) % count, 1]
            if down < 0 or (down == 0 and right < 0):
                return False
    return True


@kernel
def _collapse(
    a: NDArray[np.int64], b: NDArray[np.int64], c: NDArray[np.int64], d: NDArray[np.int64]
) -> tuple[int, int, float]:
    """The point E that stands for b and c, and the area that changes sides; infinite where there is no such point."""
    # Seen from the other side of a border the corners come in the other order: the result must not differ in a bit.
    if d[0] < a[0] or (d[0] == a[0] and d[1] < a[1]):
        a, b, c, d = d, c, b, a
    # Relative to a, from here on.
    by = float(b[0] - a[0])
    bx = float(b[1] - a[1])
    cy = float(c[0] - a[0])
    cx = float(c[1] - a[1])
    dy = float(d[0] - a[0])
    dx = float(d[1] - a[1])
    if dy == 0 and dx == 0:
        return b[0], b[1], np.inf
    # Twice the areas of a, d, b and of a, d, c: how far b and c lie from the line through a and d, and on which side.
    far_b = dy * bx - dx * by
    far_c = dy * cx - dx * cy
    if far_b == 0 and far_c == 0:
        return a[0] + round((by + cy) / 2), a[1] + round((bx + cx) / 2), 0.0
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
        return a[0] + round(ey), a[1] + round(ex), _moved(ey, ex, by, bx, cy, cx, dy, dx)
    ey = dy + area / far_c * (cy - dy)
    ex = dx + area / far_c * (cx - dx)
    return a[0] + round(ey), a[1] + round(ex), _moved(ey, ex, cy, cx, by, bx, 0.0, 0.0)


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
