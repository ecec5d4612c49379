"""Scores of images in which not everything is annotated: only what is counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.known_sets import known
from helpers.oracle import MPP
from wsinuc.datasets.base import Annotation, Dataset, LabelledImage, Layout, Row
from wsinuc.datasets.sampling.resampled import resampled
from wsinuc.workflows.classify.marks import with_points
from wsinuc.workflows.evaluate.ignored import counted, counted_image, faded
from wsinuc.workflows.evaluate.predictions import Prediction
from wsinuc.workflows.evaluate.run import evaluate


class Half(Layout):
    """One image whose right half nobody annotated."""

    name = "half"
    expected = ""
    mpp = MPP
    notes = ("something was left out: 3",)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return False

    def scan(self) -> tuple[Row, ...]:
        return ({"name": "a"},)

    def read(self, row: Row) -> Annotation:
        pixels, labels = known((40, 60))
        ignore = np.zeros(labels.shape, bool)
        ignore[:, labels.shape[1] // 2 :] = True
        return Annotation(image=pixels, labels=np.where(ignore, 0, labels), ignore=ignore)


def truth_with_noise(image: LabelledImage) -> Prediction:
    """The right answer, also where nobody annotated, with one more thing there."""
    _, labels = known((40, 60))
    labels = labels.copy()
    labels[:30, -20:] = labels.max() + 1
    values = np.full(int(labels.max()) + 1, 0.9, np.float32)
    return Prediction(labels, probabilities=values, disagreements=values)


def test_what_is_predicted_where_nobody_annotated_is_neither_right_nor_wrong(tmp_path):
    evaluation = evaluate(Dataset.open(Half(tmp_path)), truth_with_noise, out=tmp_path / "out")
    scores = evaluation.images[0].scores
    assert scores.true_nuclei > 5
    assert scores.predicted_nuclei == scores.true_nuclei == scores.found
    assert (scores.dice, scores.pq, scores.aji) == (1.0, 1.0, 1.0)
    detected = evaluation.detection
    assert (detected.missed.sum(), detected.invented.sum()) == (0, 0)
    assert evaluation.pixels.confusion.sum() == known((40, 60))[1].size / 2
    assert evaluation.verdicts.right.all()
    assert evaluation.notes[0] == "annotation: something was left out: 3"


def test_a_nucleus_counts_by_its_part_that_is_annotated_if_that_is_half_of_it():
    labels = np.array([[1, 1, 2, 2, 3, 3, 3, 0]])
    ignore = np.array([[0, 0, 0, 1, 0, 1, 1, 1]], bool)
    assert counted(labels, ignore).tolist() == [[1, 1, 2, 0, 0, 0, 0, 0]]
    assert counted(labels, None) is labels


def test_points_on_ignored_pixels_do_not_count_and_these_are_shown_pale():
    ignore = np.array([[False, True]])
    image = LabelledImage(
        name="a",
        image=np.full((1, 2, 3), 100, np.uint8),
        labels=np.zeros((1, 2), np.int32),
        attributes={},
        mpp=1.0,
        points=np.array([[0.0, 0.4], [0.0, 0.5]]),
        point_classes=np.array([1, 2], np.int32),
        ignore=ignore,
    )
    left = counted_image(image)
    assert (left.points.tolist(), left.point_classes.tolist()) == ([[0.0, 0.4]], [1])
    assert faded(image.image, ignore)[0, :, 0].tolist() == [100, 178]


def test_at_another_resolution_the_same_tissue_is_ignored(tmp_path):
    whole = Dataset.open(Half(tmp_path))
    coarse = resampled(whole, 2 * MPP)
    assert coarse.layout.notes == whole.layout.notes
    assert np.array_equal(coarse[0].ignore, whole[0].ignore[1::2, 1::2])


def test_outlines_with_classes_are_marks_for_a_classifier():
    labels = np.zeros((9, 12), np.int32)
    labels[2:7, 1:6] = 4
    labels[1:8, 8:11] = 2
    labels[4:8, 9:11] = 0
    image = LabelledImage(
        name="a",
        image=np.zeros((9, 12, 3), np.uint8),
        labels=labels,
        attributes={},
        mpp=0.5,
        classes=np.array([0, 0, 3, 0, 1], np.int32),
        points=np.array([[0.0, 0.0]]),
        point_classes=np.array([2], np.int32),
    )
    points = with_points(image)
    assert points.point_classes.tolist() == [3, 1, 2]
    assert points.points[1:].tolist() == [[4.0, 3.0], [0.0, 0.0]]
    y, x = points.points[0].astype(int)
    assert labels[y, x] == 2
    ignored = with_points(replace(image, points=None, point_classes=None, ignore=labels == 2))
    assert ignored.point_classes.tolist() == [1]


@pytest.mark.parametrize("ignore", [None, np.ones((1, 1), bool)])
def test_without_classes_marks_are_of_no_class(ignore):
    pixels = np.zeros((1, 1, 3), np.uint8)
    labels = np.ones((1, 1), np.int32)
    image = LabelledImage(name="a", image=pixels, labels=labels, attributes={}, mpp=1.0, ignore=ignore)
    assert with_points(image).point_classes.tolist() == ([0] if ignore is None else [])
