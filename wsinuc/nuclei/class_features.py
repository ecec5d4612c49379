"""What a classifier knows nuclei by: measurements of the table, on scales on which a linear one can work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.nuclei.measured_names import FIXED, POSES

GROUPS = ("basic", "shape", "stain", "texture", "neighbours")
"""Groups that are used, of those that a table has."""
NEEDED = "stain"
"""The group without which classes can hardly be told apart."""
_SKEWED = ("um", "um^2", "rad^2", "optical density/um")
"""Units of measurements that are positive and spread over orders of magnitude."""
_SMALLEST = 1e-6

Floats = NDArray[np.float64]


def feature_columns(measurements: Iterable[str]) -> tuple[str, ...]:
    """Of the measurements of a table those that are used, in their order; none that depends on older classes.

    Examples
    --------
    >>> feature_columns(["area_um2", "box_y0_px", "eosin_ring_mean_od", "count_25um_Tumour"])
    ('area_um2', 'eosin_ring_mean_od')
    """
    return tuple(name for name in measurements if name in FIXED and FIXED[name].group in GROUPS and name not in POSES)


def common_columns(tables: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The features that all results have.

    Parameters
    ----------
    tables
        Measurements of each result, by its name.

    Raises
    ------
    DataError
        A result has no densities of stains, or two were measured differently.
    """
    columns: tuple[str, ...] = ()
    for name, measurements in tables.items():
        own = feature_columns(measurements)
        if not any(FIXED[each].group == NEEDED for each in own):
            raise DataError(
                f"{name} has no measurements of stain, without which classes can hardly be told apart: measure again, "
                "with wsinuc segment SLIDE --measure shape,stain --overwrite"
            )
        if columns and set(own) != set(columns):
            other = sorted(set(own) ^ set(columns))[0]
            raise DataError(
                f"the results do not have the same measurements ({other} is missing in some, and {name} differs from "
                "those before it): segment all slides with the same --measure"
            )
        columns = columns or own
    return columns


@dataclass(frozen=True, slots=True)
class FeatureColumns:
    """Turns measurements by name into numbers for a classifier."""

    names: tuple[str, ...]

    def matrix(self, columns: Mapping[str, Any]) -> Floats:
        """Features, float64 ``(n, len(names))``; NaN where nothing could be measured.

        Parameters
        ----------
        columns
            ``(n,)`` by name, float32 as the table holds them: what is computed in another precision has other bits.
        """
        values = [np.asarray(columns[name], np.float32).astype(np.float64) for name in self.names]
        scaled = [_scaled(name, each) for name, each in zip(self.names, values, strict=True)]
        return np.column_stack(scaled)


def _scaled(name: str, values: Floats) -> Floats:
    if FIXED[name].unit in _SKEWED:
        return np.log(np.maximum(values, _SMALLEST))
    return values


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over all nuclei of some tables, from which mean and spread follow; what is NaN does not count."""

    counts: Floats
    sums: Floats
    squares: Floats

    @classmethod
    def of(cls, features: Floats) -> Moments:
        """Of features ``(n, d)``."""
        known = np.isfinite(features)
        values = np.where(known, features, 0.0)
        return cls(known.sum(axis=0).astype(np.float64), values.sum(axis=0), (values**2).sum(axis=0))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.counts + other.counts, self.sums + other.sums, self.squares + other.squares)

    @property
    def mean(self) -> Floats:
        """(d,)"""
        return self.sums / np.maximum(self.counts, 1)

    @property
    def spread(self) -> Floats:
        """(d,) standard deviation."""
        variance = self.squares / np.maximum(self.counts, 1) - self.mean**2
        return np.sqrt(np.maximum(variance, 0.0))
