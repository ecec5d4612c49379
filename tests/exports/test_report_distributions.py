"""Distributions agree with NumPy on the same values, in bounded memory, and are drawn as they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from helpers.nuclei import BLUE, RED, with_areas
from wsinuc.exports.report.charts import HEIGHT, WIDTH, chart
from wsinuc.exports.report.distributions import AREA, PROBABILITY, QUANTITIES, Distribution, Distributions


@pytest.fixture
def values() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.gamma(6, 8, 5000), rng.integers(0, 2, 5000)


def test_quantiles_are_those_of_the_values(values: tuple[np.ndarray, np.ndarray]) -> None:
    areas, classes = values
    distributions = Distributions()
    for half in (slice(0, 1200), slice(1200, None)):
        distributions.add(with_areas(areas[half], classes[half]))
    found = distributions.of(AREA)
    for share in (0.005, 0.25, 0.5, 0.75, 0.995):
        assert found.quantile(share) == pytest.approx(np.quantile(areas, share, method="inverted_cdf"), abs=0.13)
        assert found.quantile(share, 1) == pytest.approx(
            np.quantile(areas[classes == 1], share, method="inverted_cdf"), abs=0.13
        )
    assert found.below(15.0) == np.count_nonzero(areas < 15)


def test_bars_hold_every_nucleus_once(values: tuple[np.ndarray, np.ndarray]) -> None:
    areas, classes = values
    distribution = Distribution(AREA, 2)
    distribution.add(with_areas(areas, classes))
    bars = distribution.bars()
    assert bars is not None
    np.testing.assert_allclose(bars.shares.sum(axis=1), 1.0)
    edges = bars.edges.copy()
    edges[0], edges[-1] = 0, 1000
    expected = np.histogram(areas[classes == 0], edges)[0] / np.count_nonzero(classes == 0)
    np.testing.assert_allclose(bars.shares[0], expected, atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_few_nuclei_are_no_error(count: int) -> None:
    distribution = Distribution(PROBABILITY, 2)
    distribution.add(with_areas(np.ones(count), np.zeros(count)))
    assert (distribution.bars() is None) == (count == 0)
    assert (chart(distribution, (RED, BLUE)) is None) == (count < 2)


def test_a_quantity_of_one_value_is_not_drawn() -> None:
    """Such as the disagreement of a model of one member."""
    distribution = Distribution(QUANTITIES[-1], 2)
    distribution.add(with_areas(np.ones(50), np.zeros(50)))
    assert distribution.bars() is not None
    assert chart(distribution, (RED, BLUE)) is None


def test_what_lies_beyond_the_bins_is_counted_in_the_last() -> None:
    distribution = Distribution(AREA, 2)
    distribution.add(with_areas(np.array([-5.0, np.nan, 1e9]), np.zeros(3)))
    assert distribution.counts.sum() == 3
    assert distribution.counts[0, -1] == 1


def test_a_chart_stays_within_its_frame_and_names_units(values: tuple[np.ndarray, np.ndarray]) -> None:
    areas, classes = values
    distribution = Distribution(AREA, 2)
    distribution.add(with_areas(areas, classes))
    drawn = chart(distribution, (RED, BLUE))
    assert drawn is not None
    assert drawn.title == "Area (µm²)"
    assert drawn.median.endswith("µm²")
    assert [series.color for series in drawn.series] == ["#ff0000", "#0000ff"]
    points = np.array([[float(v) for v in pair.split(",")] for pair in drawn.series[0].points.split()])
    assert points.min(axis=0).tolist()[0] == 0
    assert points.max(axis=0).tolist() == [WIDTH, HEIGHT]
    assert all(0 <= tick.at <= WIDTH for tick in drawn.ticks)
    assert 2 <= len(drawn.ticks) <= 7


def test_every_quantity_is_in_the_table() -> None:
    part = with_areas(np.ones(3), np.zeros(3))
    values = [quantity.values(part) for quantity in QUANTITIES]
    assert all(each is not None and len(each) == 3 for each in values)


def test_what_was_not_measured_is_not_drawn_but_areas_are_always_known() -> None:
    part = dataclasses.replace(with_areas(np.ones(40), np.zeros(40)), measurements={})
    distributions = Distributions()
    distributions.add(part)
    assert distributions.of(AREA).quantile(0.5) == pytest.approx(0.25, abs=0.13)
    drawn = [each.quantity for each in distributions.all if chart(each, (RED, BLUE)) is not None]
    assert drawn == [PROBABILITY]
