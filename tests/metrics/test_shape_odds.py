"""What outlines add: a simulation that is known, what stays, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from wsinuc.errors import DataError
from wsinuc.metrics.calibration import area_under_roc, certainty, fit_certainty, reliability
from wsinuc.metrics.shape_odds import ShapeOdds, fit_shape_odds

TRUE = ShapeOdds(log_area=0.5, log_area_squared=-0.4, solidity=8.0, circularity=2.0)
LINE = (1.5, -0.5)


def outlines(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "area_um2": np.exp(rng.normal(3.4, 0.6, count)),
        "solidity": rng.uniform(0.7, 1.0, count),
        "circularity": rng.uniform(0.3, 1.0, count),
    }


def test_outlines_are_learned_beside_their_pixels() -> None:
    rng = np.random.default_rng(0)
    said = rng.uniform(0.6, 0.99, 40_000)
    forms = outlines(len(said))
    true = expit(LINE[0] * (logit(said) + TRUE.of(forms)) + LINE[1])
    right = rng.random(len(said)) < true
    odds, line = fit_shape_odds(said, forms, right)
    corrected = certainty(odds.claims(said, forms), line)
    assert np.abs(corrected - true).mean() < 0.01
    assert reliability(corrected, right).error < 0.02
    alone = certainty(said, fit_certainty(said, right))
    assert area_under_roc(corrected, right) > area_under_roc(alone, right) + 0.05
    assert odds.solidity == pytest.approx(TRUE.solidity, rel=0.1)
    # Those of the second half do not count.
    half = np.arange(len(said)) < len(said) // 2
    first = {name: values[half] for name, values in forms.items()}
    weighed, of_half = fit_shape_odds(said, forms, right, half), fit_shape_odds(said[half], first, right[half])
    assert weighed[1] == pytest.approx(of_half[1])
    assert weighed[0].solidity == pytest.approx(of_half[0].solidity)


def test_nothing_known_of_outlines_adds_nothing() -> None:
    forms = outlines(5) | {"area_um2": np.array([0.0, 1e-9, 5, 50, 5000])}
    assert np.array_equal(ShapeOdds().of(forms), np.zeros(5))
    assert ShapeOdds().claims([0.1, 0.5, 0.7, 0.9, 0.99], forms) == pytest.approx([0.1, 0.5, 0.7, 0.9, 0.99])
    assert np.isfinite(TRUE.claims([0.0, 0.5, 0.5, 0.5, 1.0], forms)).all()


def test_what_cannot_be_learned_from_is_refused() -> None:
    said = np.tile([0.2, 0.9], 50)
    with pytest.raises(DataError, match="higher probability are wrong more often: are predictions and annotation"):
        fit_shape_odds(said, outlines(100), said < 0.5)
    with pytest.raises(DataError, match="one number and one verdict"):
        fit_shape_odds(said, outlines(100), [True])
