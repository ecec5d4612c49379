"""Metrics against closed forms, a brute-force reference, and relations that must hold whatever the labels."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.classification import BinaryF1Score
from torchmetrics.detection import PanopticQuality as TheirPanopticQuality

from wsinuc.errors import DataError
from wsinuc.metrics.segmentation import aji, aji_plus, count_overlaps, dice, dice2, pq, score

SMALL = arrays(np.int32, (5, 6), elements=st.integers(0, 4))


def strip(*runs: tuple[int, int]) -> np.ndarray:
    """A one-row label image from (label, length) runs."""
    return np.concatenate([np.full(length, label, np.int32) for label, length in runs])[None]


# --- closed forms


def test_identical_labels_score_one():
    labels = strip((3, 4), (0, 2), (7, 5))
    s = score(labels, labels)
    assert (s.dice, s.dice2, s.aji, s.aji_plus, s.dq, s.sq, s.pq) == (1.0,) * 7
    assert (s.true_nuclei, s.predicted_nuclei, s.found) == (2, 2, 2)


def test_one_shifted_nucleus():
    truth, predicted = strip((1, 8), (0, 4)), strip((0, 2), (1, 8), (0, 2))  # shared 6, union 10
    s = score(truth, predicted)
    assert s.dice == pytest.approx(12 / 16)
    assert s.dice2 == pytest.approx(12 / 16)
    assert s.aji == s.aji_plus == pytest.approx(0.6)
    assert (s.dq, s.sq, s.pq) == (1.0, pytest.approx(0.6), pytest.approx(0.6))


def test_a_merge_is_punished_by_instances_not_by_dice():
    truth, predicted = strip((1, 6), (2, 4)), strip((1, 10))
    s = score(truth, predicted)
    assert s.dice == 1.0
    assert s.dice2 == pytest.approx(2 * (6 + 4) / (16 + 14))
    assert s.aji == pytest.approx((6 + 4) / (10 + 10))  # the one prediction is taken twice
    assert s.aji_plus == pytest.approx(6 / (10 + 4))  # once only; the other nucleus is missed
    assert (s.dq, s.sq) == (pytest.approx(1 / 1.5), pytest.approx(0.6))


def test_a_missed_and_an_invented_nucleus_add_their_areas():
    truth, predicted = strip((1, 4), (2, 3), (0, 5)), strip((1, 4), (0, 6), (9, 2))
    s = score(truth, predicted)
    assert s.aji == s.aji_plus == pytest.approx(4 / (4 + 3 + 2))
    assert s.dice2 == 1.0  # nuclei that overlap nothing do not enter
    assert (s.dq, s.sq, s.found) == (0.5, 1.0, 1)


def test_an_iou_of_exactly_one_half_is_not_found():
    quality = pq(strip((1, 2), (0, 1)), strip((1, 1), (0, 2)))
    assert (quality.true_positives, quality.false_positives, quality.false_negatives) == (0, 1, 1)
    assert (quality.dq, quality.sq, quality.pq) == (0.0, 0.0, 0.0)


def test_aji_plus_takes_the_best_total_not_the_best_first_pair():
    # P1 overlaps both; giving it to G1 (its larger IoU) would leave G2 with nothing and P2 unused.
    truth = strip((1, 6), (2, 6))
    predicted = strip((2, 2), (1, 8), (0, 2))
    # G1: P1 4/10, P2 2/6; G2: P1 4/10. Greedy gives 0.4 in all, the optimum G1-P2 + G2-P1 0.733.
    assert aji_plus(truth, predicted) == pytest.approx((2 + 4) / (6 + 10))


@pytest.mark.parametrize(("truth", "predicted", "expected"), [(0, 0, 1.0), (0, 3, 0.0), (3, 0, 0.0)])
def test_empty_images(truth, predicted, expected):
    s = score(np.full((3, 3), truth, np.uint16), np.full((3, 3), predicted, np.int64))
    assert {s.dice, s.dice2, s.aji, s.aji_plus, s.dq, s.sq, s.pq} == {expected}
    assert (s.true_nuclei, s.predicted_nuclei) == (int(truth > 0), int(predicted > 0))


def test_an_image_without_pixels_is_empty():
    assert score(np.zeros((0, 4), int), np.zeros((0, 4), int)).aji == 1.0


def test_disjoint_foregrounds_score_zero():
    s = score(strip((1, 3), (0, 3)), strip((0, 3), (1, 3)))
    assert {s.dice, s.dice2, s.aji, s.aji_plus, s.pq} == {0.0}


def test_the_single_functions_agree_with_score():
    truth, predicted = strip((1, 6), (2, 4), (0, 3)), strip((4, 5), (5, 6), (0, 2))
    s = score(truth, predicted)
    singles = dice(truth, predicted), dice2(truth, predicted), aji(truth, predicted), aji_plus(truth, predicted)
    assert singles == (s.dice, s.dice2, s.aji, s.aji_plus)
    assert pq(truth, predicted).pq == s.pq


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), r"one shape, got \(2, 2\) and \(2, 3\)"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "integers, got float64"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), "negative, got -1"),
    ],
)
def test_what_is_no_label_image_is_refused(truth, predicted, message):
    with pytest.raises(DataError, match=message):
        count_overlaps(truth, predicted)


def test_one_pixel():
    one, none = np.zeros((3, 3), int), np.zeros((3, 3), int)
    one[1, 1] = 7
    s = score(one, one)
    assert (s.dice, s.aji, s.aji_plus, s.pq, s.found) == (1.0, 1.0, 1.0, 1.0, 1)
    assert score(one, none).aji == score(none, one).aji == 0.0


def test_touching_nuclei_are_told_apart_by_their_numbers():
    touching = strip((1, 5), (2, 5))
    assert score(touching, touching).pq == 1.0
    s = score(touching, strip((1, 5), (0, 1), (2, 4)))  # a gap costs a pixel, no nucleus
    assert (s.found, s.sq) == (2, pytest.approx((1 + 4 / 5) / 2))


def test_a_nested_nucleus_takes_pixels_from_the_one_around_it():
    truth = np.ones((5, 5), int)
    truth[2, 2] = 2
    s = score(truth, np.ones((5, 5), int))  # the inner one is swallowed
    assert s.aji == pytest.approx((24 + 1) / (25 + 25))
    assert s.aji_plus == pytest.approx(24 / (25 + 1))
    assert (s.found, s.sq, s.dice) == (1, pytest.approx(24 / 25), 1.0)


# --- a maintained package


@settings(max_examples=25)
@given(SMALL, SMALL)
def test_torchmetrics_agrees(truth, predicted):
    s = score(truth, predicted)
    if not (truth.any() or predicted.any()):
        return  # there both of its metrics are 0 by convention
    foreground = [torch.from_numpy((labels > 0).astype(np.int64)) for labels in (predicted, truth)]
    assert s.dice == pytest.approx(BinaryF1Score()(*foreground).item(), abs=1e-6)
    metric = TheirPanopticQuality(things={1}, stuffs={0}, return_per_class=True)
    segments = [
        torch.from_numpy(np.stack([(labels > 0).astype(np.int32), labels], -1)[None]) for labels in (predicted, truth)
    ]
    assert s.pq == pytest.approx(metric(*segments).flatten()[0].item(), abs=1e-6)


# --- relations


@given(SMALL, SMALL, st.permutations([1, 2, 3, 4]), st.integers(1, 2**20))
def test_ids_mean_nothing(truth, predicted, order, factor):
    renamed = np.array([0, *order], np.int64)[predicted] * factor  # permuted and not contiguous
    before, after = score(truth, predicted), score(truth, renamed)
    for name in ("dice", "dice2", "dq", "sq", "pq", "true_nuclei", "predicted_nuclei", "found"):
        assert getattr(before, name) == pytest.approx(getattr(after, name))
    ious = count_overlaps(truth, predicted).ious
    if len(np.unique(ious.round(9))) == len(ious):  # between equally good predictions the order may decide
        assert before.aji == pytest.approx(after.aji)
        assert any(after.aji_plus == pytest.approx(value) for value in brute_force(truth, predicted)["aji_plus"])


@given(SMALL, SMALL)
def test_flips_and_turns_change_nothing(truth, predicted):
    for move in (np.fliplr, np.flipud, np.transpose):
        assert score(move(truth), move(predicted)) == score(truth, predicted)


@given(SMALL, SMALL)
def test_dice_dice2_and_pq_are_symmetric(truth, predicted):
    forth, back = score(truth, predicted), score(predicted, truth)
    assert forth.dice == back.dice
    assert forth.dice2 == back.dice2
    assert (forth.dq, forth.pq) == (back.dq, pytest.approx(back.pq))


@given(SMALL, SMALL)
def test_bounds(truth, predicted):
    s = score(truth, predicted)
    for value in (s.dice, s.dice2, s.aji, s.aji_plus, s.dq, s.sq, s.pq):
        assert 0.0 <= value <= 1.0
    jaccard = s.dice / (2 - s.dice)  # IoU of the foregrounds
    assert s.aji <= jaccard + 1e-12
    assert s.aji_plus <= jaccard + 1e-12
    assert s.found <= min(s.true_nuclei, s.predicted_nuclei)
    assert s.sq == 0.0 or s.sq > 0.5


# --- a reference that is slow and obvious


@given(SMALL, SMALL)
def test_against_brute_force(truth, predicted):
    s, reference = score(truth, predicted), brute_force(truth, predicted)
    assert s.dice2 == pytest.approx(reference["dice2"])
    assert s.aji == pytest.approx(reference["aji"])
    assert s.pq == pytest.approx(reference["pq"])
    assert any(s.aji_plus == pytest.approx(value) for value in reference["aji_plus"])


def brute_force(truth: np.ndarray, predicted: np.ndarray) -> dict:
    """Every metric by masks and enumeration; AJI+ as the set of values that optimal assignments can have."""
    g = [truth == i for i in np.unique(truth) if i]
    p = [predicted == i for i in np.unique(predicted) if i]
    if not g or not p:
        value = float(not g and not p)
        return {"dice2": value, "aji": value, "pq": value, "aji_plus": {value}}
    both = np.array([[np.sum(a & b) for b in p] for a in g])
    union = np.array([[np.sum(a | b) for b in p] for a in g])
    iou = both / union
    areas_g, areas_p = np.array([a.sum() for a in g]), np.array([b.sum() for b in p])
    pairs = both > 0
    total = (areas_g[:, None] + areas_p[None])[pairs].sum()
    best = [max((j for j in range(len(p)) if both[i, j]), key=lambda j: (iou[i, j], both[i, j], -j), default=None)
            for i in range(len(g))]  # fmt: skip
    hits = iou > 0.5
    tp = hits.sum()
    return {
        "dice2": 2 * both.sum() / total if total else 0.0,
        "aji": jaccard_of([(i, j) for i, j in enumerate(best) if j is not None], both, union, areas_g, areas_p),
        "pq": iou[hits].sum() / (tp + (len(g) - tp) / 2 + (len(p) - tp) / 2),
        "aji_plus": optimal_values(iou, both, union, areas_g, areas_p),
    }


def jaccard_of(pairs, both, union, areas_g, areas_p) -> float:
    """Aggregated Jaccard index of a list of (true, predicted) pairs."""
    alone = sum(a for i, a in enumerate(areas_g) if i not in {i for i, _ in pairs})
    alone += sum(a for j, a in enumerate(areas_p) if j not in {j for _, j in pairs})
    below = sum(union[i, j] for i, j in pairs) + alone
    return sum(both[i, j] for i, j in pairs) / below if below else 0.0


def optimal_values(iou, both, union, areas_g, areas_p) -> set[float]:
    """AJI of each one-to-one assignment whose total IoU is the greatest."""
    if iou.shape[0] > iou.shape[1]:
        return optimal_values(iou.T, both.T, union.T, areas_p, areas_g)
    plans = [list(enumerate(chosen)) for chosen in permutations(range(iou.shape[1]), iou.shape[0])]
    totals = np.array([sum(iou[i, j] for i, j in plan) for plan in plans])
    return {
        jaccard_of([(i, j) for i, j in plan if both[i, j]], both, union, areas_g, areas_p)
        for plan, total in zip(plans, totals, strict=True)
        if total >= totals.max() - 1e-9
    }
