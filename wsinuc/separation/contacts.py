"""Which of two touching nuclei the pixels along their contact belong to, asked of the map of distances to the centroid.

A flood from point markers on the map d = 1 - r / r_max puts most contacts one pixel off: the
nucleus whose border lies higher reaches over, because the first pixel of its neighbour is lower
still. But inside a nucleus d falls by the same amount with every pixel, so ``r_max`` can be read
from its pixels, and a pixel at a contact goes to the nucleus whose cone of d it lies on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 4
"""Rounds of exchange; a contact moves by at most one pixel in each."""
TOLERANCE = 3.0
"""A pixel changes sides only where the gain exceeds this many times the median misfit, so that a noisy
map, which cannot tell the sides apart, changes little."""
CORE = 4
"""A nucleus' cone is fitted to its pixels with weights d ** CORE, so that those at a contact, which may
belong to the neighbour, hardly count. With equal weights a nucleus that has lost some pixels moves away
from them, fits the rest worse, and loses more."""

Labels = NDArray[np.int32]


def settle_contacts(labels: Labels, distance: NDArray[np.floating], fixed: NDArray[np.bool_]) -> Labels:
    """Labels whose contacts fit the distance map better.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, 0 is background.
    distance
        ``(h, w)`` in [0, 1]: 1 - r / r_max in each nucleus, r the distance to its centroid.
    fixed
        bool ``(h, w)``: pixels that stay what they are.

    Returns
    -------
    int32 ``(h, w)`` with the same background; a label may be in pieces.
    """
    # float64, because sums of d ** CORE over a nucleus span many orders of magnitude.
    depth = 1.0 - distance.astype(np.float64)
    if not labels.any():
        return labels
    for _ in range(ROUNDS):
        settled = _exchanged(labels, depth, fixed)
        if np.array_equal(settled, labels):
            break
        labels = settled
    return labels


def _exchanged(labels: Labels, depth: NDArray[np.float64], fixed: NDArray[np.bool_]) -> Labels:
    """Labels after one round in which every pixel at a contact may go to the neighbour whose cone fits it best."""
    inside = labels > 0
    centres, radii = _cones(labels, depth)
    misfit = _misfit(np.nonzero(inside), labels[inside], depth, centres, radii)
    best = np.zeros(labels.shape)
    best[inside] = misfit - TOLERANCE * np.median(misfit)
    settled = labels.copy()
    # All four neighbours are read from the labels before the round: otherwise the result would depend on their order.
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        other = _neighbour(labels, axis, step)
        at = np.nonzero(inside & ~fixed & (other > 0) & (other != labels))
        misfit = _misfit(at, other[at], depth, centres, radii)
        better = misfit < best[at]
        moving = (at[0][better], at[1][better])
        settled[moving] = other[moving]
        best[moving] = misfit[better]
    return settled


def _cones(labels: Labels, depth: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre ``(n + 1, 2)`` of each label, and the radius ``(n + 1,)`` that fits r = depth * radius
    best (weighted squares)."""
    flat = labels.ravel()
    count = int(labels.max()) + 1
    fall = depth.ravel()
    # Never 0, so that a nucleus of rim pixels alone has a centre, too.
    weights = np.maximum(1 - fall, 1e-3) ** CORE
    total = np.maximum(np.bincount(flat, weights, count), 1e-12)
    rows, columns = (axis.ravel() for axis in np.indices(labels.shape))
    centres = np.stack([np.bincount(flat, weights * position, count) / total for position in (rows, columns)], axis=1)
    radius = np.hypot(rows - centres[flat, 0], columns - centres[flat, 1])
    squares = np.bincount(flat, weights * fall * fall, count)
    return centres, np.bincount(flat, weights * radius * fall, count) / np.maximum(squares, 1e-12)


def _misfit(
    at: tuple[NDArray[np.intp], ...],
    labels: Labels,
    depth: NDArray[np.float64],
    centres: NDArray[np.float64],
    radii: NDArray[np.float64],
) -> NDArray[np.float64]:
    """How many pixels too far or too near a pixel lies for its depth, if it belonged to these labels."""
    away = np.hypot(at[0] - centres[labels, 0], at[1] - centres[labels, 1])
    misfit: NDArray[np.float64] = np.abs(depth[at] * radii[labels] - away)
    return misfit


def _neighbour(labels: Labels, axis: int, step: int) -> Labels:
    """The label one pixel before (1) or behind (-1) along an axis; 0 beyond the array's edge."""
    moved = np.roll(labels, step, axis)
    edge = 0 if step > 0 else -1
    # np.roll brings the far edge in, which is no neighbour.
    np.moveaxis(moved, axis, 0)[edge] = 0
    return moved
