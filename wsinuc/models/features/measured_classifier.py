"""The class of a nucleus from the measurements that the table holds of it: a `NucleusClassifier` with its columns.

Measurements are standardised by mean and spread over all nuclei of the slides, of which there are many, and not over
the labelled ones. The regressions that vote differ by how much each label counts (Bayesian bootstrap: weights from an
exponential distribution), so that none of them is without a class that has two labels.

D. B. Rubin, The Bayesian Bootstrap, The Annals of Statistics 1981.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.models.features.nucleus_classifier import ClassifierConfig, NucleusClassifier, fit_members
from wsinuc.nuclei.class_features import FeatureColumns, Moments

Float = NDArray[np.float64]
FARTHEST = 8.0
"""Standard deviations beyond which a measurement counts as that far away: one odd value shall not decide alone."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassEstimate:
    """What a classifier says of nuclei."""

    indices: NDArray[np.uint8]
    """(n,) the class of highest probability."""
    probabilities: NDArray[np.float32]
    """(n, classes) 0 to 1."""
    disagreements: NDArray[np.float32]
    """(n,) of the regressions, 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredClassifier:
    """Fitted regressions on columns of the table."""

    columns: FeatureColumns
    regressions: NucleusClassifier

    def __call__(self, measurements: Mapping[str, Any]) -> ClassEstimate:
        """Classes of nuclei, from float32 ``(n,)`` by the names of columns; the same for a nucleus in any company."""
        return self.of_features(self.columns.matrix(measurements))

    def of_features(self, features: Float) -> ClassEstimate:
        """Classes of nuclei from `FeatureColumns.matrix`, float64 ``(n, d)``."""
        mean = self.regressions.mean
        scale = self.regressions.scale
        probabilities, disagreements = self.regressions(bounded(features, mean, scale))
        rounded = probabilities.astype(np.float32)
        # Of the rounded values, which the table holds: whoever takes their maximum finds the class.
        return ClassEstimate(rounded.argmax(axis=1).astype(np.uint8), rounded, disagreements.astype(np.float32))


def bounded(features: Float, mean: Float, scale: Float) -> Float:
    """Features with the mean for what could not be measured, and none farther from it than `FARTHEST` spreads."""
    known = np.where(np.isfinite(features), features, mean)
    return np.clip(known, mean - FARTHEST * scale, mean + FARTHEST * scale)


def fit_measured(
    features: Float,
    classes: NDArray[np.intp],
    count: int,
    moments: Moments,
    columns: FeatureColumns,
    config: ClassifierConfig,
) -> MeasuredClassifier:
    """Fit to labelled nuclei.

    Parameters
    ----------
    features
        float64 ``(n, d)`` of the labelled nuclei, from ``columns``.
    classes
        ``(n,)`` 0 to ``count`` - 1.
    moments
        Of all nuclei, labelled or not.

    Returns
    -------
    MeasuredClassifier
        The same for the same nuclei and seed.
    """
    mean = moments.mean
    # A measurement that never varies says nothing, whatever it is divided by.
    scale = np.where(moments.spread < 1e-9, 1.0, moments.spread)
    standard = (bounded(features, mean, scale) - mean) / scale
    rng = np.random.default_rng(config.seed)
    times = rng.exponential(size=(config.members, len(classes)))
    if config.members == 1:
        times[:] = 1.0
    regressions = fit_members(standard, mean, scale, classes, times, count, config.penalty)
    return MeasuredClassifier(columns, regressions)
