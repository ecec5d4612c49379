"""A network of classes learned from points: images kept segmented, what is learned, and the report on held-out ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.files.point_sets import CLASSES, DarkSegmenter, labelled
from wsinuc.errors import ConfigError, DataError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.features.nucleus_classifier import ClassifierConfig
from wsinuc.models.training.config import FitConfig
from wsinuc.segmenters import load_segmenter
from wsinuc.workflows.classify.learn_maps import MapsConfig, class_weights, learn_maps, mean_over_nuclei
from wsinuc.workflows.classify.marked import exchanged_axes, mark
from wsinuc.workflows.classify.report import HeldOutReport, PointScores, report_held_out
from wsinuc.workflows.classify.run import PointTrainConfig, train_points

IMAGES = tuple(labelled(seed) for seed in range(4))
MAPS = MapsConfig(
    base=4, levels=2, crop=64, batch=2, fit=FitConfig(steps=40, lr=1e-2, ema=0.9, bf16=False, save_every=20)
)
QUICK = PointTrainConfig(
    classifier=ClassifierConfig(members=2), views=0, folds=0, permutations=0, network=MAPS, taught=1
)


def test_an_image_is_segmented_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = mark(IMAGES[:2], DarkSegmenter(), cache=tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2

    def fail(self, pixels):
        raise AssertionError("the image has been segmented before")

    monkeypatch.setattr(DarkSegmenter, "predict", fail)
    again = mark(IMAGES[:2], DarkSegmenter(), cache=tmp_path / "kept")
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.segmented.labels, other.segmented.labels)
        assert np.array_equal(one.classes, other.classes)
        assert one.counts == other.counts


def test_points_whose_axes_are_exchanged_are_refused():
    # Points of a lattice lie on a lattice whichever way round: half the image has none.
    upper = [
        replace(image, points=image.points[image.points[:, 0] < 60], point_classes=image.point_classes[:10])
        for image in (labelled(seed, (140, 420)) for seed in range(4))
    ]
    upper = [replace(image, point_classes=np.ones(len(image.points), np.int32)) for image in upper]
    assert sum(len(image.points) for image in upper) >= 50
    assert mark(upper, DarkSegmenter())[0].counts.alone == 0
    with pytest.raises(DataError, match="x and y were exchanged"):
        mark([exchanged_axes(image) for image in upper], DarkSegmenter())


def test_the_mean_over_nuclei_is_that_of_their_pixels():
    maps = torch.tensor([[[0.5, 0.1], [0.3, 1.0]]])
    means, areas = mean_over_nuclei(maps, torch.tensor([[1, 0], [1, 2]]), 4)
    assert torch.allclose(means[1:, 0], torch.tensor([0.4, 1.0, 0.0]))
    assert areas.tolist() == [1, 2, 1, 0]


def test_a_class_without_nuclei_is_an_error():
    with pytest.raises(DataError, match="class 2 of 2 has no nucleus"):
        class_weights(np.array([1, 1, 0]), 2, 0.5)
    with pytest.raises(ConfigError, match="crops have a side"):
        MapsConfig(crop=100)


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path):
    marked = mark(IMAGES[:2], DarkSegmenter())
    device = torch.device("cpu")
    _, whole = learn_maps(marked, 2, tmp_path / "whole.state", MAPS, device=device)
    half = replace(MAPS, fit=replace(MAPS.fit, steps=20))
    learn_maps(marked, 2, tmp_path / "parts.state", half, device=device)
    shape, parts = learn_maps(marked, 2, tmp_path / "parts.state", MAPS, device=device)
    assert shape["classes"] == 2
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_model_with_a_network_tells_held_out_nuclei_apart(base: Path, tmp_path: Path):
    out = base.with_name("typed.safetensors")
    train_points(IMAGES, CLASSES, str(base), out, QUICK)
    provenance = load_checkpoint(out, "segmenter").provenance
    taught = provenance["network"]["images"]
    assert len(taught) == 2
    assert provenance["nuclei"]["round"] + provenance["nuclei"]["long"] == provenance["points"]["nuclei"]
    segmenter = load_segmenter(str(out), device="cpu")
    held_out = mark([labelled(7), labelled(8)], segmenter.base)
    report = report_held_out(held_out, segmenter)
    assert report.scores.balanced_accuracy > 0.9
    assert report.detection.f1 == 1.0
    assert report.by_class["round"].points + report.by_class["long"].points == report.detection.points
    report.write(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["nuclei_found"]["confusion"] == report.scores.confusion.tolist()
    assert (tmp_path / "report.confusion.png").stat().st_size > 1000
    assert (tmp_path / "report.calibration.png").stat().st_size > 1000

    # The same network, other regressions: nothing is learned but these.
    again = base.with_name("again.safetensors")
    rest = [image for image in IMAGES if image.name not in taught]
    train_points(rest, CLASSES, str(base), again, replace(QUICK, network=None), network_from=str(out))
    first, second = (load_checkpoint(path, "segmenter").tensors for path in (out, again))
    assert all(torch.equal(first[name], second[name]) for name in first if name.startswith("network."))


def test_figures_of_a_report():
    nothing = PointScores(0, 0, 0)
    assert np.isnan(nothing.f1)
    assert (PointScores(3, 4, 6) + PointScores(1, 1, 1)).f1 == pytest.approx(8 / 12)
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25], [0.75, 0.25], [0.75, 0.25], [0.25, 0.75]])
    report = HeldOutReport(
        names=("a",),
        counts=mark(IMAGES[:1], DarkSegmenter())[0].counts,
        scores=None,
        by_class={},
        detection=nothing,
        probabilities=probabilities,
        classes=np.array([0, 0, 0, 1, 1]),
    )
    assert report.right.tolist() == [True, True, True, False, True]
    assert report.reliability.error == pytest.approx(0.05)
    # A class weighs 1/3 a nucleus, the other 1/2: 3 of 3 and 1 of 2 are right, 0.75 was said.
    assert report.balanced_error == pytest.approx(0.0)
