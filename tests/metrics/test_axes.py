"""Whether points were written with x and y exchanged."""

from __future__ import annotations

import numpy as np
import pytest

from wsinuc.metrics.axes import PointsInside

LABELS = np.zeros((40, 80), np.int32)
LABELS[10:20, 60:70] = 1
"""A nucleus that lies elsewhere when rows and columns are exchanged."""
INSIDE = np.argwhere(LABELS) + 0.5


def test_points_as_they_should_be_say_nothing() -> None:
    inside = PointsInside.of(INSIDE, LABELS)
    assert (inside.points, inside.given, inside.exchanged) == (100, 100, 0)
    assert inside.doubt is None


def test_exchanged_points_are_told_with_both_shares() -> None:
    inside = PointsInside.of(INSIDE[:, ::-1], LABELS)
    assert inside.doubt is not None
    assert inside.doubt.startswith("0 % of the points lie in a nucleus, and 100 % would if x and y were exchanged")


@pytest.mark.parametrize(("count", "told"), [(49, False), (50, True)])
def test_few_points_say_nothing_however_many_images_have_them(count: int, told: bool) -> None:
    wrong = INSIDE[:count, ::-1]
    inside = PointsInside.of(wrong[:20], LABELS) + PointsInside.of(wrong[20:], LABELS)
    assert inside.points == count
    assert (inside.doubt is not None) == told


def test_points_that_a_weak_model_misses_either_way_are_no_doubt() -> None:
    rng = np.random.default_rng(0)
    assert PointsInside.of(rng.uniform(0, 40, (500, 2)), LABELS).doubt is None
