"""What lies around each nucleus: the nearest others, how many and how dense within circles, and Delaunay neighbours.

Neighbours reach across blocks, so they are measured when all nuclei are known, from their centroids and classes alone:
about 100 bytes of memory a nucleus. Only nuclei of the result count, so a region's border and the slide's edge cut
circles off; their whole area stands below a density.

**Delaunay neighbours** share an edge of a triangle whose circumscribed circle has a radius of at most `GAP_UM`. Larger
circles are empty places and the border of the tissue, over which the full triangulation joins nuclei that have nothing
to do with each other. So a triangle depends on its surroundings alone, and the slide is triangulated window by window,
in windows that do not depend on the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, KDTree, QhullError

from wsinuc.kernels import kernel
from wsinuc.nuclei.measured_names import NEAREST, RADII_UM, neighbour_columns

GAP_UM = 50.0
"""Largest radius of a triangle's circumscribed circle."""
WINDOW_UM = 2000.0
"""Side of a window that is triangulated at once."""


class Neighbourhood:
    """All nuclei of a slide, ready to be asked what lies around some of them.

    Parameters
    ----------
    centroids
        float64 ``(n, 2)`` (y, x) in view pixels.
    classes
        uint8 ``(n,)``, index into ``class_names``.
    class_names
        Where there are two and more, each is also measured alone.
    mpp
        um per view pixel.
    """

    def __init__(
        self, centroids: NDArray[np.float64], classes: NDArray[np.uint8], class_names: Sequence[str], mpp: float
    ) -> None:
        self.centroids = centroids
        self.classes = classes
        self.class_names = tuple(class_names)
        self.mpp = mpp
        self._tree = KDTree(centroids)
        self._class_trees = [KDTree(centroids[classes == k]) for k in range(len(self.class_names))]
        self._degrees = delaunay_degrees(centroids, mpp)
        self._cells = _Cells.of(centroids, max(RADII_UM) / mpp / 2)

    def columns(self, start: int, stop: int) -> dict[str, NDArray[np.float32]]:
        """The group ``neighbours`` of nuclei ``start`` to ``stop - 1``, float32 ``(stop - start,)`` each.

        NaN for the distance to a neighbour that the slide does not have.
        """
        nearest = self._nearest(start, stop)
        own = self._nearest_of_classes(start, stop)
        squares = (np.array(RADII_UM) / self.mpp) ** 2
        counts = _counts(self._cells, start, stop, self.classes, len(self.class_names), squares)
        # Totals first, then the classes; of one class the total says it all.
        kinds = [counts.sum(axis=2)]
        if len(self.class_names) > 1:
            kinds += [counts[..., k] for k in range(len(self.class_names))]
        values = [*nearest.T, self._degrees[start:stop]]
        if len(self.class_names) > 1:
            values += list(own.T)
        for per_radius in kinds:
            values += list(per_radius.T)
        for per_radius in kinds:
            values += [column / _disc_mm2(radius) for column, radius in zip(per_radius.T, RADII_UM, strict=True)]
        names = neighbour_columns(self.class_names)
        return {name: np.asarray(each, np.float32) for name, each in zip(names, values, strict=True)}

    def _nearest(self, start: int, stop: int) -> NDArray[np.float64]:
        """Distances to the nearest others in um, ``(stop - start, NEAREST)``."""
        distances, _ = self._tree.query(self.centroids[start:stop], k=NEAREST + 1)
        # The nearest of all is the nucleus itself.
        return _known(distances[:, 1:] * self.mpp)

    def _nearest_of_classes(self, start: int, stop: int) -> NDArray[np.float64]:
        """Distances to the nearest other nucleus of each class in um, ``(stop - start, classes)``."""
        points = self.centroids[start:stop]
        out = np.empty((len(points), len(self.class_names)))
        for k, tree in enumerate(self._class_trees):
            distances, _ = tree.query(points, k=2)
            is_own = self.classes[start:stop] == k
            out[:, k] = np.where(is_own, distances[:, 1], distances[:, 0])
        return _known(out * self.mpp)


def _known(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances with NaN for those to nothing, which SciPy says are infinite."""
    return np.where(np.isfinite(distances), distances, np.nan)


def _disc_mm2(radius_um: float) -> float:
    return math.pi * (radius_um / 1000) ** 2


def delaunay_degrees(centroids: NDArray[np.float64], mpp: float) -> NDArray[np.int32]:
    """Number of Delaunay neighbours of each nucleus, int32 ``(n,)``; see the module."""
    degrees = np.zeros(len(centroids), np.int32)
    for core, around in _windows(centroids, WINDOW_UM / mpp, 2 * GAP_UM / mpp):
        edges = _edges(centroids[around], GAP_UM / mpp)
        counts = np.bincount(edges.ravel(), minlength=len(around))
        degrees[around[core]] = counts[core]
    return degrees


def _windows(
    centroids: NDArray[np.float64], side: float, margin: float
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Which of the points around each window lie in it, and those points, in an order that their places decide."""
    # By y, then x, whatever their ids: in which order points come decides how ties are triangulated.
    order = np.lexsort((centroids[:, 1], centroids[:, 0]))
    y, x = centroids[order].T
    rows = np.floor(y / side)
    columns = np.floor(x / side)
    for row in np.unique(rows):
        begin, end = np.searchsorted(y, [row * side - margin, (row + 1) * side + margin])
        for column in np.unique(columns[rows == row]):
            near = (x[begin:end] >= column * side - margin) & (x[begin:end] <= (column + 1) * side + margin)
            around = begin + np.flatnonzero(near)
            core = (rows[around] == row) & (columns[around] == column)
            yield core, order[around]


def _edges(points: NDArray[np.float64], gap: float) -> NDArray[np.int64]:
    """Edges ``(m, 2)`` of the Delaunay triangles whose circumscribed circle has at most the radius ``gap``."""
    if len(points) < 3:
        return np.zeros((0, 2), np.int64)
    try:
        triangles = Delaunay(points - points[0]).simplices
    except QhullError:
        # All on one line: there is no triangle.
        return np.zeros((0, 2), np.int64)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    sides = [np.hypot(*(one - other).T) for one, other in ((a, b), (b, c), (c, a))]
    across = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    # The radius is the product of the sides over twice this; compared without a division by 0.
    triangles = triangles[sides[0] * sides[1] * sides[2] <= gap * 2 * np.abs(across)].astype(np.int64)
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs.sort(axis=1)
    # Inner edges belong to two triangles.
    numbers = np.unique(pairs[:, 0] * len(points) + pairs[:, 1])
    return np.stack(np.divmod(numbers, len(points)), axis=1)


class _Cells(NamedTuple):
    """Points in square cells of half the largest radius, so that only those near by are compared.

    ``scipy.spatial.KDTree.query_ball_point`` gives the same counts, but needs a search for each radius and class.
    """

    points: NDArray[np.float64]
    cells: NDArray[np.int64]
    """(n, 2) row and column of each point."""
    order: NDArray[np.int64]
    """Points by the number of their cell."""
    starts: NDArray[np.int64]
    """Where each cell begins in ``order``, and where the last one ends."""
    shape: tuple[int, int]

    @classmethod
    def of(cls, points: NDArray[np.float64], side: float) -> _Cells:
        """The points in cells of this side."""
        low = points.min(axis=0, initial=np.inf)
        low[~np.isfinite(low)] = 0.0
        cells = np.floor((points - low) / side).astype(np.int64)
        rows, columns = cells.max(axis=0, initial=0) + 1
        number = cells[:, 0] * columns + cells[:, 1]
        counts = np.bincount(number, minlength=rows * columns)
        return cls(
            points=points,
            cells=cells,
            order=np.argsort(number, kind="stable"),
            starts=np.concatenate([[0], np.cumsum(counts)]),
            shape=(int(rows), int(columns)),
        )


@kernel
def _counts(
    grid: _Cells,
    start: int,
    stop: int,
    classes: NDArray[np.uint8],
    class_count: int,
    squares: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Others within each radius of points ``start`` to ``stop - 1``, ``(stop - start, radii, classes)``."""
    out = np.zeros((stop - start, len(squares), class_count), np.int64)
    rows, columns = grid.shape
    for i in range(start, stop):
        left = max(0, grid.cells[i, 1] - 2)
        right = min(columns, grid.cells[i, 1] + 3)
        for row in range(max(0, grid.cells[i, 0] - 2), min(rows, grid.cells[i, 0] + 3)):
            # Cells of a row lie one after another.
            for at in range(grid.starts[row * columns + left], grid.starts[row * columns + right]):
                j = grid.order[at]
                dy = grid.points[j, 0] - grid.points[i, 0]
                dx = grid.points[j, 1] - grid.points[i, 1]
                square = dy * dy + dx * dx
                if j != i:
                    for k in range(len(squares)):
                        if square <= squares[k]:
                            out[i - start, k, classes[j]] += 1
    return out
