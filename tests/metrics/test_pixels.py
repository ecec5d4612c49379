"""Pooled confusion, IoU and Dice of pixels: hand-made cases, relations, and torchmetrics as judge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassF1Score, MulticlassJaccardIndex

from wsinuc.errors import DataError
from wsinuc.metrics.pixels import PixelCounts, count_pixels

MAPS = arrays(np.int32, (5, 6), elements=st.integers(0, 3))


def test_by_hand():
    counts = count_pixels(np.array([[0, 0, 1, 1, 2]]), np.array([[0, 1, 1, 2, 2]]), 3)
    assert counts.confusion.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(counts.iou, [1 / 2, 1 / 3, 1 / 2, np.nan])
    np.testing.assert_allclose(counts.dice, [2 / 3, 1 / 2, 2 / 3, np.nan])
    assert counts.mean_iou == pytest.approx((1 / 3 + 1 / 2) / 2)  # neither background nor the class that is nowhere


def test_pooled_is_not_the_mean_of_images():
    """One image with 9 pixels right, one with 1 pixel wrong: 9 / 10, not 1 / 2."""
    right = count_pixels(np.ones((3, 3), int), np.ones((3, 3), int), 1)
    wrong = count_pixels(np.ones((1, 1), int), np.zeros((1, 1), int), 1)
    assert sum([right, wrong], PixelCounts.zero(1)).mean_iou == 0.9


@pytest.mark.parametrize(
    ("truth", "predicted", "iou"),
    [(0, 0, [1.0, np.nan]), (0, 1, [0.0, 0.0]), (1, 0, [0.0, 0.0]), (1, 1, [np.nan, 1.0])],
)
def test_empty_and_one_pixel(truth, predicted, iou):
    np.testing.assert_array_equal(count_pixels(np.array([[truth]]), np.array([[predicted]]), 1).iou, iou)


def test_nothing_at_all():
    counts = count_pixels(np.zeros((0, 3), int), np.zeros((0, 3), int), 2)
    assert np.isnan(counts.mean_iou)
    assert not counts.confusion.any()


def test_pixels_that_nobody_judges_do_not_count():
    judged = np.array([[True, False]])
    assert count_pixels(np.array([[1, 0]]), np.array([[1, 1]]), 1, judged=judged).confusion.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "one shape"),
        (np.zeros((1, 1), int), np.full((1, 1), 3), "predicted classes .* between 0 and 2, got 3 to 3"),
        (np.full((1, 1), -1), np.zeros((1, 1), int), "annotated classes .* got -1 to -1"),
    ],
)
def test_what_is_no_class_map_is_refused(truth, predicted, message):
    with pytest.raises(DataError, match=message):
        count_pixels(truth, predicted, 2)


@given(MAPS, MAPS)
def test_flips_change_nothing_and_sides_transpose(truth, predicted):
    counts = count_pixels(truth, predicted, 3)
    np.testing.assert_array_equal(count_pixels(truth.T, predicted.T, 3).confusion, counts.confusion)
    np.testing.assert_array_equal(count_pixels(predicted, truth, 3).confusion, counts.confusion.T)
    np.testing.assert_allclose(counts.dice, 2 * counts.iou / (1 + counts.iou))


@settings(max_examples=50)
@given(MAPS, MAPS)
def test_halves_add_up(truth, predicted):
    whole = count_pixels(truth, predicted, 3)
    halves = [count_pixels(truth[part], predicted[part], 3) for part in (slice(None, 2), slice(2, None))]
    np.testing.assert_array_equal(sum(halves, PixelCounts.zero(3)).confusion, whole.confusion)


@settings(max_examples=25)
@given(MAPS, MAPS)
def test_torchmetrics_agrees(truth, predicted):
    counts = count_pixels(truth, predicted, 3)
    pair = torch.from_numpy(predicted), torch.from_numpy(truth)
    options = {"num_classes": 4, "average": None}
    np.testing.assert_array_equal(counts.confusion, MulticlassConfusionMatrix(num_classes=4)(*pair).numpy())
    np.testing.assert_allclose(np.nan_to_num(counts.iou), MulticlassJaccardIndex(**options)(*pair).numpy(), atol=1e-6)
    np.testing.assert_allclose(np.nan_to_num(counts.dice), MulticlassF1Score(**options)(*pair).numpy(), atol=1e-6)


def test_what_scikit_learn_says():
    """Recorded from scikit-learn 1.9.1; tests/clients asks it for any maps."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 4, (40, 50))
    predicted = np.where(rng.random((40, 50)) < 0.6, truth, rng.integers(0, 4, (40, 50)))
    counts = count_pixels(truth, predicted, 3)
    np.testing.assert_allclose(counts.iou, [0.51875, 0.5172413793103449, 0.5276461295418642, 0.5313868613138686])
    assert counts.mean_iou == pytest.approx(0.5254247900553591)
    assert counts.mean_iou_with_background == pytest.approx(0.5237560925415194)
    assert counts.accuracy == pytest.approx(0.6875)
    np.testing.assert_allclose(counts.dice[1:], [0.6818181818181818, 0.6907962771458118, 0.6939942802669209])
    np.testing.assert_allclose(counts.sensitivity[1:], [0.6818181818181818, 0.70020964360587, 0.6829268292682927])
    np.testing.assert_allclose(counts.precision[1:], [0.6818181818181818, 0.6816326530612244, 0.7054263565891473])
    np.testing.assert_allclose(counts.specificity[1:], [0.892235609103079, 0.8975705843729481, 0.896387184730743])


def test_shares_of_nothing_are_nothing():
    counts = PixelCounts.zero(1)
    assert np.isnan(counts.accuracy)
    for shares in (counts.sensitivity, counts.precision, counts.specificity):
        assert np.isnan(shares).all()
