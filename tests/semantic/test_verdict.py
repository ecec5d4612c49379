"""Which class a pixel has: the argmax of a softmax, the majority of ballots, the class branch of HoVer-Net."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers.oracle import CLASSES, OracleSegmenter
from wsinuc.models.features.ensemble import Votes
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.ddpm import majority_probabilities
from wsinuc.semantic.classes import UNCLASSIFIED, map_classes, pixel_map, with_nuclei
from wsinuc.semantic.verdict import class_map, nucleus_map


def quantised(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities ``(1 + classes, ...)`` as the channels of scores."""
    stack = np.concatenate([1 - probabilities[:1], np.zeros_like(probabilities[:1]), probabilities[1:]])
    return np.rint(255 * stack).astype(np.uint8)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (4, 5, 6), elements=st.floats(-3, 3, width=32)))
def test_of_a_softmax_it_is_the_argmax(logits):
    p = np.exp(logits) / np.exp(logits).sum(0)
    ranked = np.sort(p, axis=0)
    # Levels of 1 / 255 decide alike where the first two lie farther apart than they.
    clear = ranked[-1] - ranked[-2] > 3 / 255
    np.testing.assert_array_equal(class_map(quantised(p), 3)[clear], p.argmax(0)[clear])


@settings(max_examples=50, deadline=None)
@given(arrays(np.int64, (10, 5, 6), elements=st.integers(0, 3)))
def test_of_ballots_it_is_the_majority_and_the_smallest_of_equals(verdicts):
    ballots = torch.from_numpy(np.stack([(verdicts == c).mean(0) for c in range(4)]))[None]
    votes = Votes(ballots, ballots, ballots[:, 0], ballots[:, :1])
    published = torch.from_numpy(verdicts).mode(0).values.numpy()
    scores = quantised(majority_probabilities(votes)[0].numpy())
    np.testing.assert_array_equal(class_map(scores, 3), published)


@pytest.mark.parametrize(
    ("foreground", "classes", "expected"),
    [
        (200, (90, 40), 1),  # a branch of its own says nucleus: the classes share that
        (130, (90, 80), 0),  # neither of two doubtful classes is as probable as background
        (128, (255, 0), 1),
        (127, (255, 0), 0),
        (255, (0, 0), 1),
        (255, (7, 7), 1),
    ],
)
def test_by_hand(foreground, classes, expected):
    scores = np.array([foreground, 0, *classes], np.uint8)[:, None, None]
    assert class_map(scores, 2).tolist() == [[expected]]


def test_one_class_is_nucleus_from_one_half():
    scores = np.array([[[127, 128]], [[0, 0]], [[3, 200]]], np.uint8)
    assert class_map(scores, 1).tolist() == nucleus_map(scores).tolist() == [[0, 1]]


class Naming(OracleSegmenter):
    """Names whole nuclei."""

    def classify(self, labels, scores):
        return scores


def test_models_that_name_nuclei_leave_their_classes_to_the_nuclei():
    scores = np.array([[[255, 255, 0]], [[0, 0, 0]], [[0, 0, 0]], [[255, 255, 0]]], np.uint8)
    assert pixel_map(OracleSegmenter(), scores).tolist() == [[2, 2, 0]]
    assert pixel_map(Naming(), scores).tolist() == [[1, 1, 0]]
    assert with_nuclei(pixel_map(Naming(), scores), np.array([[2, 0, 2]]), 3).tolist() == [[2, 3, 0]]
    assert map_classes(OracleSegmenter()) == CLASSES
    assert [each.name for each in map_classes(Naming())] == ["round", "long", UNCLASSIFIED]
    odd = Naming(classes=(NucleusClass(UNCLASSIFIED, (1, 1, 1)),))
    assert len({each.name for each in map_classes(odd)}) == 2
