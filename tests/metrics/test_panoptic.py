"""Panoptic quality by class: hand-made cases, two conventions that differ, and torchmetrics as judge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.detection import PanopticQuality

from wsinuc.errors import DataError
from wsinuc.metrics.panoptic import PanopticCounts, count_panoptic, mean_by_tissue, mean_known
from wsinuc.metrics.segmentation import count_overlaps, pq

LABELS = arrays(np.int32, (6, 7), elements=st.integers(0, 4))
KINDS = arrays(np.int64, 5, elements=st.integers(1, 2)).map(lambda a: np.concatenate([[0], a[1:]]))


def counted(truth, predicted, true_classes, predicted_classes, classes=2) -> PanopticCounts:
    table = count_overlaps(np.asarray(truth), np.asarray(predicted))
    return count_panoptic(table, np.asarray(true_classes), np.asarray(predicted_classes), classes)


def triples(counts: PanopticCounts) -> list[tuple[int, int, int]]:
    return list(
        zip(
            counts.true_positives.tolist(),
            counts.false_positives.tolist(),
            counts.false_negatives.tolist(),
            strict=True,
        )
    )


# --- hand-made cases


def test_a_nucleus_of_the_wrong_class_is_missed_in_one_and_invented_in_the_other():
    counts = counted([[1, 1, 2, 2]], [[1, 1, 2, 2]], [0, 1, 2], [0, 1, 1])
    assert triples(counts) == [(1, 1, 0), (0, 0, 1)]
    assert counts.pq == pytest.approx([1 / 1.5, 0.0])


def test_empty_prediction_and_empty_truth():
    nothing, one = np.zeros((1, 4), int), np.array([[1, 1, 0, 0]])
    missed = counted(one, nothing, [0, 1], [0])
    np.testing.assert_array_equal(missed.pq, [0.0, np.nan])
    np.testing.assert_array_equal(missed.pq_pannuke, [0.0, np.nan])
    invented = counted(nothing, one, [0], [0, 1])
    np.testing.assert_array_equal(invented.pq, [0.0, np.nan])
    np.testing.assert_array_equal(invented.pq_pannuke, [np.nan, np.nan])  # PanNuke does not see it
    np.testing.assert_array_equal(counted(nothing, nothing, [0], [0]).pq, [np.nan, np.nan])


def test_one_pixel_touching_and_nested():
    truth = np.zeros((7, 7), int)
    truth[0, 0] = 1
    truth[2:7, 2:7] = 2
    truth[4, 4] = 3  # nested in 2
    truth[2:7, 1] = 4  # touches 2
    kinds = [0, 1, 2, 1, 1]
    assert triples(counted(truth, truth, kinds, kinds)) == [(3, 0, 0), (1, 0, 0)]
    swallowed = np.where(truth == 3, 2, truth)  # 2 keeps 24 of 25 pixels, 3 is lost
    counts = counted(truth, swallowed, kinds, kinds)
    assert triples(counts) == [(2, 0, 1), (1, 0, 0)]
    assert counts.iou == pytest.approx([2.0, 24 / 25])


def test_an_annotated_nucleus_of_unknown_class_judges_nobody():
    counts = counted([[1, 1, 2, 2]], [[1, 1, 2, 2]], [0, 0, 2], [0, 1, 2])
    assert triples(counts) == [(0, 0, 0), (1, 0, 0)]
    elsewhere = counted([[1, 1, 0, 0]], [[0, 0, 2, 2]], [0, 0], [0, 0, 2])
    assert triples(elsewhere) == [(0, 0, 0), (0, 1, 0)]  # on background it is invented


def test_the_two_conventions_differ_as_described():
    """Image 1 has three nuclei of class 1, all found; image 2 has one, missed, and a class 2 invented."""
    one = counted([[1, 2, 3, 0]], [[1, 2, 3, 0]], [0, 1, 1, 1], [0, 1, 1, 1])
    two = counted([[1, 0, 0, 0]], [[0, 0, 2, 0]], [0, 1], [0, 0, 2])
    pooled = sum([one, two], PanopticCounts.zero(2))
    assert pooled.pq == pytest.approx([3 / 3.5, 0.0])
    assert float(mean_known(pooled.pq)) == pytest.approx(3 / 7)
    pannuke, tissues = mean_by_tissue([one.pq_pannuke, two.pq_pannuke], ["breast", "colon"])
    assert pannuke == 0.5
    assert tissues == {"breast": 1.0, "colon": 0.0}


def test_tissues_weigh_the_same_however_many_images_they_have():
    assert mean_by_tissue([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])[0] == 0.5
    mean, tissues = mean_by_tissue([[np.nan, np.nan], [1.0, 0.5]], ["a", "b"])
    assert mean == 0.75  # a tissue without nuclei does not enter
    assert np.isnan(tissues["a"])
    assert np.isnan(mean_by_tissue(np.empty(0), [])[0])


@pytest.mark.parametrize(
    ("classes", "message"), [([0, 1], "label 2 has no class: .* ends at label 1"), ([0, 1, 3], "2 classes, but .* 3")]
)
def test_classes_that_do_not_fit_are_refused(classes, message):
    with pytest.raises(DataError, match=message):
        counted([[1, 2]], [[1, 2]], classes, [0, 1, 2])


# --- relations


@settings(max_examples=50)
@given(LABELS, LABELS, KINDS, KINDS)
def test_relabelling_and_flips_change_nothing(truth, predicted, true_kinds, predicted_kinds):
    before = counted(truth, predicted, true_kinds, predicted_kinds)
    spread = np.zeros(41, np.int64)
    spread[::10] = predicted_kinds
    after = counted(np.fliplr(truth), np.fliplr(predicted) * 10, true_kinds, spread)
    assert triples(before) == triples(after)
    assert before.iou == pytest.approx(after.iou)


@given(LABELS, LABELS)
def test_one_class_is_the_plain_panoptic_quality(truth, predicted):
    ones = np.array([0, 1, 1, 1, 1])
    counts, plain = counted(truth, predicted, ones, ones, classes=1), pq(truth, predicted)
    if truth.any() or predicted.any():
        assert counts.pq == pytest.approx([plain.pq])
    assert triples(counts) == [(plain.true_positives, plain.false_positives, plain.false_negatives)]


@settings(max_examples=25)
@given(LABELS, LABELS, KINDS, KINDS)
def test_torchmetrics_agrees(truth, predicted, true_kinds, predicted_kinds):
    """Its segments are (category, instance) pairs, with background as a thing of no interest ("stuff" 0)."""
    counts = counted(truth, predicted, true_kinds, predicted_kinds)
    metric = PanopticQuality(things={1, 2}, stuffs={0}, return_sq_and_rq=True, return_per_class=True)
    pairs = [
        torch.from_numpy(np.stack([kinds[labels], np.where(labels > 0, labels, 0)], -1)[None])
        for labels, kinds in ((predicted, predicted_kinds), (truth, true_kinds))
    ]
    theirs = metric(*pairs).reshape(3, 3).numpy()[:2, 0]  # things first, then background; PQ, SQ, RQ
    np.testing.assert_allclose(np.nan_to_num(counts.pq), theirs, atol=1e-6)
