"""The network of classes: what its maps say, that they do not depend on what was read around, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.files.point_sets import CLASSES, MPP, DarkSegmenter, draw
from wsinuc import segmenters, tissue
from wsinuc.errors import CheckpointError
from wsinuc.grid import Box
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.devices import pick_dtype
from wsinuc.models.features.nucleus_classifier import NucleusClassifier
from wsinuc.pipeline.block import score_box
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.class_network import ClassNetwork, build_class_network, class_network_shape
from wsinuc.segmenters.normalisation import ColourNormalisation
from wsinuc.segmenters.typed import (
    COLOURS,
    TypedSegmenter,
    descriptor_names,
    mean_maps,
    network_of,
    typed_checkpoint,
)
from wsinuc.separation.channels import FIRST_CLASS
from wsinuc.slides.array import ArraySlide

SHAPE = class_network_shape(2, base=4, levels=2)
CPU = torch.device("cpu")


def network(shape=SHAPE, seed: int = 0) -> ClassNetwork:
    torch.manual_seed(seed)
    return ClassNetwork(build_class_network(shape), device=CPU, dtype=torch.float32)


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with a network of random weights and a classifier that believes its maps."""
    monkeypatch.setitem(segmenters.METHODS, "dark", "helpers.files.point_sets:DarkSegmenter")
    base = Checkpoint(kind="segmenter", config={"method": "dark"}, provenance={}, tensors={"nothing": torch.zeros(1)})
    torch.manual_seed(0)
    weights = build_class_network(SHAPE).state_dict()
    names = descriptor_names(2)
    matrix = np.zeros((1, len(names), 2))
    matrix[0, -2:] = 5 * np.eye(2)
    classifier = NucleusClassifier(np.zeros(len(names)), np.ones(len(names)), matrix, np.zeros((1, 2)))
    path = tmp_path / "typed.safetensors"
    save_checkpoint(typed_checkpoint(base, CLASSES, classifier, {}, network=(SHAPE, weights)), path)
    return path


@pytest.mark.parametrize(("side", "margin"), [(64, 8), (63, 8), (64, 9), (50, 0)])
def test_maps_are_probabilities_on_the_inner_pixels(side, margin):
    image = draw((side, side), 0)[0]
    maps = network().maps(image[None], margin)
    assert maps.shape == (1, 2, side - 2 * margin, side - 2 * margin)
    assert (np.abs(maps.astype(int).sum(axis=1) - 255) <= 1).all()


def test_a_place_has_one_map_in_every_tile_of_the_grid():
    image = draw((192, 192), 1)[0]
    whole = network().maps(image[None], 48)[0]
    part = network().maps(image[None, 16:, 32:], 48)[0]
    assert np.array_equal(whole[:, 16:, 32:], part)


def test_the_mean_of_a_map_is_that_of_its_pixels():
    labels = np.array([[1, 1, 0, 2], [1, 0, 0, 2]], np.int32)
    plane = np.array([[255, 0, 77, 102], [0, 1, 2, 102]], np.uint8)
    assert np.allclose(np.exp(mean_maps(labels, plane[None]))[:, 0] - 0.01, [1 / 3, 0.4])
    assert mean_maps(np.zeros((2, 4), np.int32), plane[None]).shape == (0, 1)


def test_a_model_with_a_network_comes_back_from_its_file(typed: Path):
    segmenter = load_segmenter(str(typed), device="cpu")
    assert segmenter.descriptors[-2:] == ("map_1", "map_2")
    image = draw((128, 128), 2)[0]
    scores = segmenter.predict(image[None])[0]
    stored = load_checkpoint(typed, "segmenter")
    shape, weights = network_of(stored)
    expected = ClassNetwork.from_tensors(shape, weights, device=CPU, dtype=pick_dtype(CPU)).maps(image[None], 16)[0]
    assert np.array_equal(scores[FIRST_CLASS : FIRST_CLASS + 2], expected)
    labels = segmenter.separate(scores)
    painted = segmenter.classify(labels, scores)
    more = mean_maps(labels, expected).argmax(axis=1)
    assert np.array_equal(painted[FIRST_CLASS:].argmax(axis=0)[labels > 0], more[labels[labels > 0] - 1])


def test_a_place_has_one_map_in_every_block_of_a_slide(typed: Path):
    segmenter = load_segmenter(str(typed), device="cpu")
    view = ArraySlide(draw((200, 230), 4)[0], mpp=MPP).at(MPP)
    boxes = (Box.of_shape(view.shape), Box(50, 70, 180, 230))
    whole, part = (score_box(view, box, segmenter, batch_size=2, tissue=tissue.whole(view)) for box in boxes)
    assert part[FIRST_CLASS : FIRST_CLASS + 2].any()
    assert np.array_equal(whole[:, 50:180, 70:230], part)


def test_the_network_sees_the_colours_that_it_was_trained_in(monkeypatch: pytest.MonkeyPatch):
    colours = ColourNormalisation(mean=(0.3, 0.6, 0.3), spread=(0.1, 0.1, 0.1), share=1.0)
    monkeypatch.setattr(DarkSegmenter, "training_colours", colours, raising=False)
    segmenter = TypedSegmenter(DarkSegmenter(), CLASSES, network=network())
    image = draw((420, 420), 3)[0]
    fitted = segmenter.calibrate(image[None])
    assert np.array_equal(fitted.statistics()[COLOURS], colours.table(image[None]))
    again = segmenter.with_statistics(fitted.statistics())
    tile = image[None, :128, :128]
    assert np.array_equal(fitted.predict(tile), again.predict(tile))
    assert not np.array_equal(fitted.predict(tile), segmenter.predict(tile))


def test_networks_that_do_not_fit_are_refused(typed: Path):
    stored = load_checkpoint(typed, "segmenter")
    many = class_network_shape(3, base=4, levels=2)
    descriptors = list(descriptor_names(3))
    own = {name: value for name, value in stored.tensors.items() if not name.startswith("network.")}
    tensors = own | {f"network.{name}": value for name, value in build_class_network(many).state_dict().items()}
    for name in ("mean", "scale"):
        tensors[name] = torch.ones(len(descriptors), dtype=torch.float64)
    tensors["weights"] = torch.zeros(1, len(descriptors), 2, dtype=torch.float64)
    config = {**stored.config, "network": many, "descriptors": descriptors}
    save_checkpoint(replace(stored, config=config, tensors=tensors, sha256=""), typed)
    with pytest.raises(CheckpointError, match="one output for each of the 2 classes"):
        load_segmenter(str(typed), device="cpu")
    del config["network"]
    save_checkpoint(replace(stored, config=config, sha256=""), typed)
    with pytest.raises(CheckpointError, match="other descriptors"):
        load_segmenter(str(typed), device="cpu")
    with pytest.raises(CheckpointError, match="has no network of classes"):
        network_of(load_checkpoint(typed, "segmenter"))
