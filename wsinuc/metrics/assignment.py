"""The one-to-one assignment of greatest total weight between two sets of which only few pairs are possible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def assign(rows: NDArray[np.int64], columns: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions (in the list of pairs) of the pairs of the best assignment; no row and no column is in two of them.

    Rows and columns that no chain of pairs links cannot compete, so the Hungarian method runs on each connected group
    alone: the same optimum as on the whole matrix, without the matrix.

    Parameters
    ----------
    rows, columns
        (k,) the two ends of each possible pair, counted from 0; no pair twice.
    weights
        (k,) what each pair is worth, above 0; to leave both ends alone is worth 0.

    Returns
    -------
    int64 ``(m,)``, in no particular order.

    Examples
    --------
    >>> assign(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.9, 0.5, 0.6])).tolist()
    [1, 2]
    """
    if not len(rows):
        return np.empty(0, np.int64)
    shift = int(rows.max()) + 1
    nodes = shift + int(columns.max()) + 1
    links = coo_array((np.ones(len(rows)), (rows, columns + shift)), (nodes, nodes))
    _, group = connected_components(links, directed=False)
    by_group = np.argsort(group[rows], kind="stable")
    starts = np.flatnonzero(np.diff(group[rows][by_group], prepend=-1))
    groups = np.split(by_group, starts[1:])
    return np.concatenate([_assign_group(rows[pairs], columns[pairs], weights[pairs], pairs) for pairs in groups])


def _assign_group(
    rows: NDArray[np.int64], columns: NDArray[np.int64], weights: NDArray[np.float64], pairs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The optimal pairs within one connected group."""
    if len(pairs) == 1:
        return pairs
    _, row = np.unique(rows, return_inverse=True)
    _, column = np.unique(columns, return_inverse=True)
    position = np.full((row.max() + 1, column.max() + 1), -1, np.int64)
    position[row, column] = pairs
    weight = np.zeros(position.shape)
    weight[row, column] = weights
    # Pairs that are not possible weigh 0, so the best full assignment may hold some: they are left out again.
    assigned: NDArray[np.int64] = position[linear_sum_assignment(weight, maximize=True)]
    return assigned[assigned >= 0]
