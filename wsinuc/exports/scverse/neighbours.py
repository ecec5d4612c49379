"""Which nuclei are neighbours: a Delaunay triangulation without its long edges, as squidpy builds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def neighbour_graph(points: NDArray[np.float64], reach: float) -> tuple[csr_matrix, csr_matrix]:
    """Connectivities and distances of neighbours.

    Two points are neighbours when the Delaunay triangulation joins them by an edge no longer than
    ``reach``. ``squidpy.gr.spatial_neighbors_delaunay(radius=reach)`` builds the same graph.

    Parameters
    ----------
    points
        Float64 ``(n, 2)``.
    reach
        Length of the longest edge, in the unit of the points.

    Returns
    -------
    Two symmetric sparse matrices ``(n, n)`` with an empty diagonal: float32 ones, and float64 lengths.

    Examples
    --------
    >>> corners = np.array([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0], [40.0, 40.0]])
    >>> connectivities, distances = neighbour_graph(corners, reach=10.0)
    >>> distances.toarray()[0].tolist()
    [0.0, 3.0, 4.0, 0.0]
    >>> int(connectivities[3].sum())
    0
    """
    from scipy.sparse import csr_matrix

    starts, neighbours = _triangulate(points)
    rows = np.repeat(np.arange(len(points)), np.diff(starts))
    lengths = np.linalg.norm(points[rows] - points[neighbours], axis=1)
    near = lengths <= reach
    position = (rows[near], neighbours[near])
    shape = (len(points), len(points))
    ones = np.ones(int(near.sum()), np.float32)
    return csr_matrix((ones, position), shape=shape), csr_matrix((lengths[near], position), shape=shape)


def _triangulate(points: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Neighbours of each point one after another, and where those of each point begin."""
    from scipy.spatial import Delaunay, QhullError

    # Three points make the first triangle.
    if len(points) < 3:
        return _chain(points)
    try:
        starts, neighbours = Delaunay(points).vertex_neighbor_vertices
    except QhullError:
        # All of them lie on one line.
        return _chain(points)
    return starts, neighbours


def _chain(points: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The same for points on a line: each is the neighbour of the next along it."""
    order = np.lexsort(points.T)
    first = order[:-1]
    second = order[1:]
    rows = np.concatenate([first, second])
    neighbours = np.concatenate([second, first])
    counts = np.bincount(rows, minlength=len(points))
    return np.concatenate([[0], np.cumsum(counts)]), neighbours[np.argsort(rows, kind="stable")]
