"""Detection by hand-made cases, against the published procedure, and by relations that must hold
wherever nuclei lie."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from wsinuc.errors import DataError
from wsinuc.metrics.assignment import assign
from wsinuc.metrics.detection import DetectionCounts, Points, count_detections, match_points, radius_px

PLACES = st.integers(0, 7).flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.integers(0, 40)))


def counted(
    truth, predicted, true_classes=None, predicted_classes=None, *, radius=12.0, classes=0, rule="within"
) -> DetectionCounts:
    return count_detections(
        Points.of(truth, true_classes),
        Points.of(predicted, predicted_classes),
        radius=radius,
        classes=classes,
        rule=rule,
    )


def published_pairs(truth: np.ndarray, predicted: np.ndarray, radius: float) -> int:
    """Pairs of the published script: least total distance over all nuclei, then those beyond the radius dropped."""
    distances = cdist(truth, predicted)
    return int((distances[linear_sum_assignment(distances)] <= radius).sum())


# --- hand-made cases


def test_each_class_is_counted_with_what_was_missed_and_invented():
    truth = [(0, 0), (40, 0), (80, 0), (120, 0), (160, 0)]
    predicted = [(0, 0), (40, 0), (80, 0), (160, 0), (200, 0)]
    # The last annotated one has no known class, and what it is called counts for no class.
    counts = counted(truth, predicted, [1, 1, 2, 2, 0], [1, 2, 2, 1, 1], classes=2)
    first, second = counts.by_class
    assert (first.annotated, first.predicted, first.right) == (2, 2, 1)
    assert (second.annotated, second.predicted, second.right) == (2, 2, 1)
    assert (first.recall, first.precision) == (0.5, 0.5)
    nothing = DetectionCounts.zero(1).by_class[0]
    assert np.isnan([nothing.recall, nothing.precision]).all()


def test_the_radius_is_12_px_at_40x_and_follows_the_resolution():
    assert radius_px(0.25) == 12.0
    assert radius_px(0.5) == 6.0


@pytest.mark.parametrize(("distance", "matched"), [(0.0, 1), (11.9, 1), (12.0, 1), (12.01, 0)])
def test_a_pair_may_be_as_far_apart_as_the_radius(distance, matched):
    counts = counted([[0.0, 0.0]], [[0.0, distance]])
    assert (counts.matched.sum(), counts.missed.sum(), counts.invented.sum()) == (matched, 1 - matched, 1 - matched)


@pytest.mark.parametrize(("truth", "predicted", "expected"), [(0, 0, 1.0), (0, 2, 0.0), (2, 0, 0.0), (2, 2, 1.0)])
def test_empty_sets(truth, predicted, expected):
    counts = counted(np.zeros((truth, 2)), np.zeros((predicted, 2)), classes=2)
    assert counts.f_detection == expected
    assert np.isnan(counts.type_accuracy)
    assert np.isnan(counts.f_classification).all()


def test_more_pairs_are_better_than_shorter_ones():
    # The middle prediction is nearest to both; greedy takes it for one, and the other goes without.
    counts = counted([[0, 0], [0, 10]], [[0, 6], [0, 21]])
    assert counts.matched.sum() == 2


def test_among_as_many_pairs_the_nearest_are_taken():
    i, j = match_points(np.array([[0.0, 0], [0, 5]]), np.array([[0.0, 4], [0, 1]]), 12, "within")
    assert (i.tolist(), j.tolist()) == ([0, 1], [1, 0])


def test_far_nuclei_do_not_decide_about_near_pairs():
    """The published procedure gives up a pair 10 px apart, to shorten one of 101 px that it drops afterwards."""
    truth, predicted = np.array([[0.0, 0], [0, 100]]), np.array([[0.0, 10], [13, 0]])
    assert published_pairs(truth, predicted, 12) == 0
    assert counted(truth, predicted).matched.sum() == 1
    assert counted(truth, predicted, rule="hovernet").matched.sum() == 0


def test_types_by_hand():
    """Classes 1 and 2: two pairs right, one pair of 1 called 2, a missed 2, an invented 1, and a
    pair of unknown class."""
    truth = [[0, 0], [0, 100], [0, 200], [0, 300], [0, 500]]
    predicted = [[0, 1], [0, 101], [0, 201], [0, 400], [0, 501]]
    counts = counted(truth, predicted, [1, 2, 1, 2, 0], [1, 2, 2, 1, 2], classes=2)
    assert counts.matched.tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 1]]
    assert (counts.missed.tolist(), counts.invented.tolist()) == ([0, 0, 1], [0, 1, 0])
    assert counts.f_detection == 8 / (8 + 1 + 1)
    assert counts.type_accuracy == pytest.approx(2 / 3)
    # Class 1: TP 1, FN 1, invented 1. Class 2: TP 1, FP 1, missed 1. The pair of unknown class enters neither.
    assert counts.f_classification == pytest.approx([2 / (2 + 2 + 1), 2 / (2 + 2 + 1)])


def test_figures_are_pooled_not_averaged():
    one, other = counted([[0, 0]], [[0, 0]]), counted([[0, 0]] * 3, np.zeros((0, 2)))
    assert sum([one, other], DetectionCounts.zero(0)).f_detection == 2 / (2 + 3)


def test_centroids_of_labels():
    labels = np.zeros((8, 8), np.int32)
    labels[0, 0] = 9  # one pixel
    labels[2:7, 2:7] = 4
    labels[4, 4] = 5  # nested: its neighbour has the same centroid
    labels[3:5, 7] = 2
    points = Points.of_labels(labels, np.array([0, 0, 1, 0, 2, 3, 0, 0, 0, 1]))
    assert points.places.tolist() == [[4.0, 7.5], [4.5, 4.5], [4.5, 4.5], [0.5, 0.5]]
    assert points.classes.tolist() == [1, 2, 3, 1]
    assert Points.of_labels(np.zeros((3, 3), int)).places.shape == (0, 2)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Points.of([[0.0, 1, 2]]), r"\(n, 2\)"),
        (lambda: Points.of([[0.0, 1]], [1, 2]), "one class each"),
        (lambda: Points.of([[0.0, np.nan]]), "NaN"),
        (lambda: Points.of_labels(np.array([[3]]), np.array([0, 1])), "label 3 has no class"),
        (lambda: counted([[0, 0]], [[0, 0]], [3], [1], classes=2), "between 0 .* and 2, got 3 to 3"),
    ],
)
def test_what_cannot_be_scored_is_refused(act, message):
    with pytest.raises(DataError, match=message):
        act()


@pytest.mark.parametrize("rule", ["hovernet", "within"])
def test_thousands_of_nuclei_are_quick(rule):
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 1500, (2000, 2))
    started = time.process_time()
    i, _ = match_points(truth, truth[rng.permutation(2000)] + rng.normal(0, 1, (2000, 2)), 12, rule)
    assert len(i) > 1980
    assert time.process_time() - started < 5


# --- relations


@settings(max_examples=50)
@given(PLACES, PLACES)
def test_never_fewer_pairs_than_the_published_procedure(truth, predicted):
    i, j = match_points(truth, predicted, 12, "within")
    assert len(set(i)) == len(set(j)) == len(i)
    assert (np.linalg.norm(truth[i] - predicted[j], axis=1) <= 12).all()
    assert len(i) >= (published_pairs(truth, predicted, 12) if len(truth) and len(predicted) else 0)


@settings(max_examples=50)
@given(PLACES, PLACES)
def test_the_optimum_of_the_whole_matrix(truth, predicted):
    """Groups change nothing: as many pairs, and as short, as the Hungarian method finds on the full matrix."""
    i, j = match_points(truth, predicted, 12, "within")
    if not len(truth) or not len(predicted):
        assert not len(i)
        return
    distances = cdist(truth, predicted)
    cost = np.where(distances <= 12, distances, 1e6)
    chosen = cost[linear_sum_assignment(cost)]
    assert len(i) == (chosen < 1e6).sum()
    assert distances[i, j].sum() == pytest.approx(chosen[chosen < 1e6].sum())


@settings(max_examples=50)
@given(PLACES, PLACES, st.randoms(use_true_random=False))
def test_order_flips_and_sides_change_nothing(truth, predicted, random):
    order = random.sample(range(len(predicted)), len(predicted))
    one = counted(truth, predicted)
    flipped = counted(truth[:, ::-1] * [-1, 1], predicted[order][:, ::-1] * [-1, 1])
    swapped = counted(predicted, truth)
    assert one.f_detection == flipped.f_detection == swapped.f_detection
    assert one.missed.sum() == swapped.invented.sum()


@settings(max_examples=50)
@given(PLACES, PLACES)
def test_the_default_is_the_published_procedure(truth, predicted):
    i, j = match_points(truth, predicted, 12)
    assert len(i) == (published_pairs(truth, predicted, 12) if len(truth) and len(predicted) else 0)
    assert (np.linalg.norm(truth[i] - predicted[j], axis=1) <= 12).all()


@given(PLACES, st.integers(1, 4))
def test_perfect_predictions_score_one(places, classes):
    places = np.unique(places, axis=0) * 50  # nobody near anybody
    kinds = np.arange(len(places)) % classes + 1
    counts = counted(places, places, kinds, kinds, classes=classes)
    assert counts.f_detection == 1.0
    assert np.nanmin(counts.f_classification, initial=1.0) == 1.0


def test_nothing_to_assign():
    none = np.empty(0, np.int64)
    assert not len(assign(none, none, np.empty(0)))
