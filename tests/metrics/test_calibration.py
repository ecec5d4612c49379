"""Calibration: the area under the curve against all pairs, errors of simulations that are known, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsinuc.errors import DataError
from wsinuc.metrics.calibration import (
    Verdicts,
    area_under_roc,
    certainty,
    fit_certainty,
    reliability,
    roc_curve,
    share_by_group,
)

JUDGED = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60).filter(
    lambda pairs: 0 < sum(hit for _, hit in pairs) < len(pairs)
)
"""Scores with many ties, and both kinds."""


def split(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores, hits = zip(*pairs, strict=True)
    return np.array(scores, float) / 12, np.array(hits)


@given(JUDGED)
def test_area_is_the_share_of_pairs_in_order(pairs):
    scores, hits = split(pairs)
    difference = scores[hits][:, None] - scores[~hits][None]
    assert area_under_roc(scores, hits) == pytest.approx(np.mean((difference > 0) + 0.5 * (difference == 0)))


@given(JUDGED)
def test_area_is_that_below_the_curve_and_knows_order_alone(pairs):
    scores, hits = split(pairs)
    area = area_under_roc(scores, hits)
    right, wrong = roc_curve(scores, hits)
    assert (right[0], wrong[0], right[-1], wrong[-1]) == (0, 0, 1, 1)
    assert len(right) == len(np.unique(scores)) + 1
    assert np.trapezoid(wrong, right) == pytest.approx(area)
    assert area_under_roc(np.exp(3 * scores) - 7, hits) == area
    assert area_under_roc(-scores, hits) == pytest.approx(1 - area)
    assert area_under_roc(scores, ~hits) == pytest.approx(1 - area)


def test_without_one_kind_there_is_no_area():
    assert np.isnan(area_under_roc([0.1, 0.2], [True, True]))
    assert np.isnan(area_under_roc([], []))
    assert area_under_roc([0.5, 0.5, 0.5], [True, False, True]) == 0.5


def test_a_calibrated_simulation_has_an_error_that_goes_to_nothing():
    rng = np.random.default_rng(0)
    errors = []
    for n in (400, 40_000):
        probabilities = rng.uniform(0, 1, n)
        errors.append(reliability(probabilities, rng.uniform(0, 1, n) < probabilities).error)
    assert errors[0] < 0.1
    assert errors[1] < 0.01


@pytest.mark.parametrize("shift", [-0.3, -0.11, 0.0, 0.04, 0.3])
def test_a_model_that_is_too_sure_errs_by_as_much_as_it_is(shift):
    rng = np.random.default_rng(1)
    probabilities = rng.uniform(0.35, 0.65, 20_000)
    found = reliability(probabilities, rng.uniform(0, 1, 20_000) < probabilities - shift)
    assert found.error == pytest.approx(abs(shift), abs=0.03)


@given(JUDGED)
def test_bins_hold_every_nucleus_once(pairs):
    scores, hits = split(pairs)
    found = reliability(scores, hits, bins=7)
    used = found.counts > 0
    assert found.counts.sum() == len(scores)
    assert (found.counts[used] * found.right[used]).sum() == pytest.approx(hits.sum())
    assert (found.counts[used] * found.probabilities[used]).sum() == pytest.approx(scores.sum())
    assert (found.probabilities[used] >= found.edges[:-1][used] - 1e-12).all()
    assert (found.probabilities[used] <= found.edges[1:][used] + 1e-12).all()
    assert np.isnan(found.right[~used]).all()
    assert 0 <= found.error <= 1


def test_without_nuclei_there_is_no_error():
    assert np.isnan(reliability([], []).error)
    assert Verdicts.none().doubts.keys() == {"one_minus_probability"}
    assert [len(part) for part in share_by_group([], [])] == [0, 0]


@given(JUDGED, st.integers(1, 12))
def test_groups_rise_and_hold_all(pairs, groups):
    scores, hits = split(pairs)
    doubts, shares = share_by_group(scores, hits, groups=groups)
    assert len(doubts) == min(groups, len(scores))
    assert (np.diff(doubts) >= -1e-12).all()
    assert ((shares >= 0) & (shares <= 1)).all()
    if len(scores) % groups == 0:
        assert shares.mean() == pytest.approx(hits.mean())


def test_verdicts_add_up():
    one = Verdicts(np.array([0.9]), np.array([0.2]), np.array([True]))
    both = sum([one, Verdicts(np.array([0.6]), np.array([0.0]), np.array([False]))], Verdicts.none())
    assert both.right.tolist() == [True, False]
    assert both.doubts["disagreement"].tolist() == [0.2, 0.0]
    assert both.doubts["one_minus_probability"] == pytest.approx([0.1, 0.4])
    with pytest.raises(DataError, match="got 1, 1 and 0"):
        Verdicts(np.zeros(1), np.zeros(1), np.zeros(0, bool))


@pytest.mark.parametrize("bad", [[1.2], [-0.1], [np.nan]])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(DataError, match="between 0 and 1"):
        reliability(bad, [True])
    with pytest.raises(DataError, match=r"got \(1,\) and \(2,\)"):
        area_under_roc([0.5], [True, False])


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (2.0, -3.0), (0.5, 0.7)])
def test_certainty_is_fitted_to_how_often_nuclei_are_right(slope: float, offset: float) -> None:
    rng = np.random.default_rng(0)
    said = rng.uniform(0.6, 0.99, 20_000)
    true = 1 / (1 + np.exp(-(slope * np.log(said / (1 - said)) + offset)))
    right = rng.random(len(said)) < true
    found = fit_certainty(said, right)
    assert found == pytest.approx((slope, offset), abs=0.15)
    corrected = certainty(said, found)
    assert np.abs(corrected - true).mean() < 0.01
    assert reliability(corrected, right).error < 0.02
    assert area_under_roc(corrected, right) == pytest.approx(area_under_roc(said, right), abs=1e-6)


def test_claims_that_are_far_off_are_corrected_too() -> None:
    # Claimed 0.98 and 0.84, right four times and once of five: a whole step of Newton's method runs away from there.
    claims = np.repeat([0.98, 0.84], 100)
    right = np.tile([True] * 4 + [False], 20).tolist() + np.tile([True] + [False] * 4, 20).tolist()
    line = fit_certainty(claims, right)
    assert certainty([0.98, 0.84], line) == pytest.approx([0.8, 0.2], abs=0.01)


def test_certainty_is_finite_and_without_a_measurement_what_was_said() -> None:
    said = np.array([0.0, 0.3, 1.0], np.float32)
    assert np.array_equal(certainty(said, (1.0, 0.0)), said)
    assert np.all((certainty(said, (3.0, -2.0)) >= 0) & (certainty(said, (3.0, -2.0)) <= 1))
    assert np.isfinite(fit_certainty(said, [True, True, True])).all()
    with pytest.raises(DataError, match="one number and one verdict"):
        fit_certainty(said, [True])
