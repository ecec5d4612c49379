"""Distances between two measured sets, each beside its floor.

The floor is the same distance between random halves of the real set: what a synthetic set that nothing tells from the
real one would reach. Small samples make most distances larger, so each is also given for parts as large as the halves
(``same_n``); only this and the floor compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from wsinuc.metrics.distributions import frechet_distance, kernel_distance, relative_difference
from wsinuc.workflows.compare.patches import QUANTITIES, PatchFigures

HALVINGS = 10
"""Random halves of the real set whose mean is the floor."""
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Distance:
    """One distance and what to hold it against; NaN where there are too few patches or values."""

    value: float
    """Between all real and all synthetic patches."""
    same_n: float
    """Mean between parts of both sets that are as large as the halves."""
    floor: float
    """Mean between two halves of the real set."""
    floor_sd: float
    """Standard deviation over the halvings."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A quantity in one set; NaN where there is nothing."""

    n: int
    mean: float
    sd: float
    """With n - 1; NaN for a single value."""
    q25: float
    median: float
    q75: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Summary:
        """The summary of values ``(n,)``; without any, every figure but the count is NaN."""
        if not len(values):
            return cls(0, NAN, NAN, NAN, NAN, NAN)
        sd = NAN
        if len(values) > 1:
            sd = float(np.std(values, ddof=1))
        return cls(len(values), float(np.mean(values)), sd, *np.quantile(values, (0.25, 0.5, 0.75)).tolist())


@dataclass(frozen=True, slots=True)
class QuantityComparison:
    """A quantity in both sets."""

    real: Summary
    synthetic: Summary
    wasserstein: Distance
    """Mean distance that values must be moved to make one distribution the other, in the quantity's unit."""
    relative_mean: Distance
    """``|synthetic - real| / real`` of the means."""
    relative_median: float
    """``(synthetic - real) / real`` of the medians."""


@dataclass(frozen=True, slots=True)
class FigureDistances:
    """Everything that two measured sets have in common, and not."""

    sets: Mapping[str, Distance]
    """``frechet`` and ``kernel`` on features, ``fsd`` on shares of classes in percent."""
    quantities: Mapping[str, QuantityComparison]
    half_size: int
    """Patches in each of the parts behind ``same_n`` and ``floor``."""


def compare_figures(real: PatchFigures, synthetic: PatchFigures, seed: int) -> FigureDistances:
    """All distances and quantities; halves are drawn from ``seed``."""
    rng = np.random.default_rng(seed)
    half = min(len(real) // 2, len(synthetic))
    same = []
    floor = []
    for _ in range(HALVINGS if half else 0):
        order = rng.permutation(len(real))
        drawn = rng.permutation(len(synthetic))[:half]
        first = real.take(order[:half])
        # Both are drawn as large as a half: most distances grow as samples shrink.
        same.append(_distances(first, synthetic.take(drawn)))
        floor.append(_distances(first, real.take(order[half : 2 * half])))
    distances = {
        key: Distance(value, _mean(key, same), _mean(key, floor), _sd(key, floor))
        for key, value in _distances(real, synthetic).items()
    }
    return FigureDistances(
        sets={name: distance for (kind, name), distance in distances.items() if kind == "set"},
        quantities={name: _quantity(name, real, synthetic, distances) for name in QUANTITIES},
        half_size=half,
    )


Key = tuple[str, str]
"""Kind of a distance, and between what."""


def _distances(a: PatchFigures, b: PatchFigures) -> dict[Key, float]:
    """Each distance once; NaN where a set has too few patches for it."""
    distances = {("set", name): NAN for name in ("frechet", "kernel", "fsd")}
    # A covariance needs two patches.
    if min(len(a), len(b)) > 1:
        distances["set", "frechet"] = frechet_distance(a.vectors, b.vectors)
        distances["set", "kernel"] = kernel_distance(a.vectors, b.vectors)
        distances["set", "fsd"] = frechet_distance(100 * a.proportions, 100 * b.proportions)
    for name in QUANTITIES:
        x = a.values(name)
        y = b.values(name)
        distances["wasserstein", name] = NAN
        distances["relative", name] = NAN
        if len(x) > 0 and len(y) > 0:
            distances["wasserstein", name] = float(wasserstein_distance(x, y))
            distances["relative", name] = abs(relative_difference(float(x.mean()), float(y.mean())))
    return distances


def _quantity(
    name: str, real: PatchFigures, synthetic: PatchFigures, distances: Mapping[Key, Distance]
) -> QuantityComparison:
    a = Summary.of(real.values(name))
    b = Summary.of(synthetic.values(name))
    return QuantityComparison(
        real=a,
        synthetic=b,
        wasserstein=distances["wasserstein", name],
        relative_mean=distances["relative", name],
        relative_median=relative_difference(a.median, b.median),
    )


def _mean(key: Key, drawn: Sequence[Mapping[Key, float]]) -> float:
    if drawn:
        return float(np.mean([each[key] for each in drawn]))
    return NAN


def _sd(key: Key, drawn: Sequence[Mapping[Key, float]]) -> float:
    if drawn:
        return float(np.std([each[key] for each in drawn]))
    return NAN
