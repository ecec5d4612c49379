"""How often two nuclei lie a given distance apart, compared with what chance would do.

The pair correlation g(r) is 1 where nuclei ignore each other, below 1 where they keep apart, above
1 where they gather. It is estimated here given the number of nuclei in each field: pairs that are
found, over pairs that uniform points would make in a field of that size,

    g_ab(r) = sum over fields of pairs found / sum over fields of n_a n_b P(r),      P(r) dr = 2 pi r c(r) / A^2 dr,

where c(r) = h w - 2 r (h + w) / pi + r^2 / pi is the mean area that a rectangle shares with itself
moved by r, so that borders bias nothing (the translation correction, Ohser 1983). Differences in
density between fields are no clustering: the number of nuclei answers for those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Field:
    """Nuclei of a rectangular field, in um."""

    size: tuple[float, float]
    """(h, w) in um."""
    points: NDArray[np.float64]
    """(n, 2) (y, x) in um from the corner."""
    kinds: NDArray[np.int32]
    """(n,) class of each nucleus, counted from 0."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PairCounts:
    """Pairs by class and distance, observed and expected."""

    observed: NDArray[np.float64]
    """(k, k, bins) ordered pairs of classes a, b; symmetric."""
    expected: NDArray[np.float64]
    """(k, k, bins) the same for points placed uniformly."""

    def pooled(self) -> NDArray[np.float64]:
        """(bins,) g of all nuclei, whatever their class; 1 where no pair was expected."""
        observed = self.observed.sum((0, 1))
        expected = self.expected.sum((0, 1))
        g: NDArray[np.float64] = np.divide(observed, expected, out=np.ones_like(observed), where=expected > 0)
        return g

    def correlation(self, prior: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
        """(k, k, bins) g of each two classes, drawn towards ``prior`` (bins,) as if ``weight`` more
        pairs were expected."""
        return (self.observed + weight * prior) / (self.expected + weight)


def count_pairs(fields: Iterable[Field], edges: NDArray[np.float64], n_kinds: int) -> PairCounts:
    """Pairs observed and expected between ``edges`` (bins + 1,) in um, at most the shorter side of the fields."""
    bins = len(edges) - 1
    observed = np.zeros((n_kinds, n_kinds, bins))
    expected = np.zeros((n_kinds, n_kinds, bins))
    for field in fields:
        numbers = np.bincount(field.kinds, minlength=n_kinds).astype(float)
        expected += (np.outer(numbers, numbers) - np.diag(numbers))[..., None] * chance_of_distance(field.size, edges)
        if len(field.points) > 1:
            first, second = cKDTree(field.points).query_pairs(edges[-1], output_type="ndarray").T
            distance = np.linalg.norm(field.points[first] - field.points[second], axis=1)
            where = np.searchsorted(edges, distance, side="right") - 1
            inside = (where >= 0) & (where < bins)
            at = (field.kinds[first][inside], field.kinds[second][inside], where[inside])
            # A pair is listed once, and counts for both orders of its classes.
            np.add.at(observed, at, 1)
            np.add.at(observed, (at[1], at[0], at[2]), 1)
    return PairCounts(observed=observed, expected=expected)


def chance_of_distance(size: tuple[float, float], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """(bins,) probability that two uniform points of a rectangle lie between two ``edges`` (bins + 1,) apart.

    Exact up to the shorter side: the integral of P(r) of the module's formula.

    Examples
    --------
    >>> chance_of_distance((1.0, 1.0), np.array([0.0, 0.5, 1.0])).round(3)
    array([0.483, 0.492])
    """
    height, width = size
    r = np.minimum(edges, min(size))
    below = np.pi * r**2 * height * width - 4 / 3 * r**3 * (height + width) + r**4 / 2
    return np.diff(below) / (height * width) ** 2


def nearest_distances(fields: Iterable[Field]) -> NDArray[np.float64]:
    """(n,) distance in um of each nucleus to its nearest neighbour of any class, border-corrected.

    A nucleus that is nearer to the border than to its neighbour is left out: its true neighbour may lie outside.
    """
    distances = [np.zeros(0)]
    for field in fields:
        if len(field.points) > 1:
            nearest = cKDTree(field.points).query(field.points, k=2)[0][:, 1]
            border = np.minimum(field.points, np.subtract(field.size, field.points)).min(1)
            distances.append(nearest[nearest <= border])
    return np.concatenate(distances)
