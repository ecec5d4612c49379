"""What the form of an outline says about whether it is a nucleus, beside what its pixels say.

Fragments, fused pairs and shreds of debris may consist of pixels that look like nuclei without doubt; ragged, bent or
tiny outlines are wrong more often than round ones. `ShapeOdds` adds that to the log-odds of the mean foreground, and
`wsinuc.metrics.calibration.certainty` makes probabilities of the sum that mean what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from wsinuc.errors import DataError
from wsinuc.metrics.calibration import checked, log_odds, regress_verdicts

Weight = Annotated[float, Meta(ge=-1e3, le=1e3)]
PLAIN_UM2 = 30.0
PLAIN_SOLIDITY = 0.95
PLAIN_CIRCULARITY = 0.8
"""The outline of an inconspicuous nucleus, which adds nothing; it keeps the sums small."""
_SMALLEST_UM2 = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeOdds:
    """Log-odds that an outline adds: how it differs from one of 30 um2, with solidity 0.95 and circularity 0.8.

    Examples
    --------
    >>> odds = ShapeOdds(solidity=10.0)
    >>> round_and_ragged = {"area_um2": [30, 30], "solidity": [0.95, 0.75], "circularity": [0.8, 0.8]}
    >>> odds.of(round_and_ragged).round(3)
    array([ 0., -2.])
    >>> odds.claims([0.9, 0.9], round_and_ragged).round(3)
    array([0.9  , 0.549])
    """

    log_area: Weight = 0.0
    """Weight of the natural logarithm of the ratio of areas."""
    log_area_squared: Weight = 0.0
    """Weight of its square: the smallest and the largest may both be wrong."""
    solidity: Weight = 0.0
    """Weight of the difference of solidities."""
    circularity: Weight = 0.0
    """Weight of the difference of circularities."""

    def of(self, measurements: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """``(n,)`` what the outlines of ``n`` nuclei add to their log-odds.

        Parameters
        ----------
        measurements
            ``area_um2``, ``solidity`` and ``circularity``, each ``(n,)``.
        """
        weights = np.array([self.log_area, self.log_area_squared, self.solidity, self.circularity])
        added: NDArray[np.float64] = _terms(measurements) @ weights
        return added

    def claims(self, probabilities: ArrayLike, measurements: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """``(n,)`` probabilities in [0, 1] with what the outlines add to their log-odds."""
        claimed: NDArray[np.float64] = expit(log_odds(np.asarray(probabilities)) + self.of(measurements))
        return claimed


def fit_shape_odds(
    probabilities: ArrayLike,
    measurements: Mapping[str, ArrayLike],
    right: ArrayLike,
    weights: ArrayLike | None = None,
) -> tuple[ShapeOdds, tuple[float, float]]:
    """The weights of outlines, and then the slope and offset of `certainty`, that fit verdicts best.

    Parameters
    ----------
    probabilities
        ``(n,)`` what a model says of the nuclei that it predicts: the mean foreground of their pixels.
    measurements
        Of their outlines, see `ShapeOdds.of`.
    right
        ``(n,)`` whether each is one.
    weights
        ``(n,)`` how much each counts; None counts all alike.

    Raises
    ------
    DataError
        Lengths differ, or a higher probability means that a nucleus is wrong.
    """
    p, hit = checked(probabilities, right)
    rows = np.column_stack([log_odds(p), _terms(measurements), np.ones_like(p)])
    start = np.zeros(rows.shape[1])
    start[0] = 1.0
    slope, *shape, offset = regress_verdicts(rows, hit, start, weights).tolist()
    if slope <= 0:
        raise DataError(
            f"of {len(p)} nuclei those with a higher probability are wrong more often: are predictions and annotation "
            "of the same images?"
        )
    # The line comes after the sum, so that it can be fitted again without the outlines.
    names = ("log_area", "log_area_squared", "solidity", "circularity")
    odds = ShapeOdds(**{name: weight / slope for name, weight in zip(names, shape, strict=True)})
    return odds, (slope, offset)


def _terms(measurements: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    """What is weighed, ``(n, 4)``."""
    area = np.log(np.maximum(np.asarray(measurements["area_um2"], np.float64), _SMALLEST_UM2) / PLAIN_UM2)
    solidity = np.asarray(measurements["solidity"], np.float64) - PLAIN_SOLIDITY
    circularity = np.asarray(measurements["circularity"], np.float64) - PLAIN_CIRCULARITY
    return np.column_stack([area, area**2, solidity, circularity])
