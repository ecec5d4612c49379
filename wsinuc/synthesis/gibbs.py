"""Points that attract and repel each other, drawn by Metropolis moves on a torus."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel

_BATCH = 1 << 16
"""Moves whose random numbers are drawn at once."""
_STEP_BINS = 3.0
"""Standard deviation of the short moves in bins: about what a nucleus has room for."""


def draw_gibbs(
    size: NDArray[np.float64],
    kinds: NDArray[np.int32],
    potentials: NDArray[np.float64],
    bin_width: float,
    rng: np.random.Generator,
    *,
    sweeps: int,
) -> NDArray[np.float64]:
    """Places of points whose density is proportional to exp(-sum of U over all pairs).

    Starts from uniform places. Half of the moves go anywhere, so that clusters form and dissolve,
    half a short way, so that crowded points settle (Metropolis et al. 1953). Opposite sides touch:
    every place is like every other, and no border draws points or drives them away.

    Parameters
    ----------
    size
        (2,) (h, w) of the torus.
    kinds
        (n,) class of each point, counted from 0.
    potentials
        (k, k, bins) U between two classes, constant within a bin and 0 beyond the last; symmetric.
    bin_width
        In the unit of ``size``.
    sweeps
        Moves tried per point.

    Returns
    -------
    (n, 2) (y, x), at least 0 and less than ``size``.

    Examples
    --------
    >>> repelling = np.full((1, 1, 3), 12.0)  # nearer than 3 is as good as never
    >>> size, kinds = np.array([9.0, 9.0]), np.zeros(3, np.int32)
    >>> points = draw_gibbs(size, kinds, repelling, 1.0, np.random.default_rng(0), sweeps=200)
    >>> away = np.abs(points[:, None] - points)
    >>> bool((np.hypot(*np.moveaxis(np.minimum(away, size - away), 2, 0))[np.triu_indices(3, 1)] >= 3).all())
    True
    """
    points = _inside(rng.random((len(kinds), 2)) * size, size)
    left = sweeps * len(kinds)
    while left > 0:
        n = min(left, _BATCH)
        which = rng.integers(len(kinds), size=n)
        short = rng.normal(0, _STEP_BINS * bin_width, (n, 2))
        steps = np.where(rng.random((n, 1)) < 0.5, short, rng.random((n, 2)) * size)
        _move(points, kinds, size, potentials, 1 / bin_width, which, steps, rng.random(n))
        left -= n
    return _inside(points, size)


def _inside(points: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same points, none at the far side itself, where rounding may put one."""
    return np.minimum(points, np.nextafter(size, 0))


@kernel
def _move(
    points: NDArray[np.float64],
    kinds: NDArray[np.int32],
    size: NDArray[np.float64],
    potentials: NDArray[np.float64],
    per_length: float,
    which: NDArray[np.int64],
    steps: NDArray[np.float64],
    chances: NDArray[np.float64],
) -> None:
    """Try the moves in turn, in place: numba has no config objects, so each array is an argument."""
    bins = potentials.shape[2]
    reach = (bins / per_length) ** 2
    for m in range(len(which)):
        i = which[m]
        y = points[i, 0]
        x = points[i, 1]
        new_y = (y + steps[m, 0]) % size[0]
        new_x = (x + steps[m, 1]) % size[1]
        change = 0.0
        for j in range(len(points)):
            if j != i:
                before = _squared_distance(y - points[j, 0], x - points[j, 1], size)
                after = _squared_distance(new_y - points[j, 0], new_x - points[j, 1], size)
                if before < reach:
                    change -= potentials[kinds[i], kinds[j], min(int(math.sqrt(before) * per_length), bins - 1)]
                if after < reach:
                    change += potentials[kinds[i], kinds[j], min(int(math.sqrt(after) * per_length), bins - 1)]
        # Metropolis' rule: always downhill, uphill with the odds of the energies.
        if change <= 0 or chances[m] < math.exp(-change):
            points[i, 0] = new_y
            points[i, 1] = new_x


@kernel
def _squared_distance(dy: float, dx: float, size: NDArray[np.float64]) -> float:
    """Squared distance on the torus, the shorter way round."""
    dy = abs(dy)
    dx = abs(dx)
    dy = min(dy, size[0] - dy)
    dx = min(dx, size[1] - dx)
    return dy * dy + dx * dx
