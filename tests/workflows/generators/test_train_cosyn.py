"""Training of method C: examples made after augmentation, resume, dropped text, what lies beside the checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.training.cosyn import CLASSES, CONFIG, Words, image, train
from helpers.training.cosyn import TINY as NETWORK
from wsinuc.errors import CheckpointError, ConfigError, DataError, OutputError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.checkpoints.cosyn import load_cosyn, read_cosyn
from wsinuc.models.conditioning.text_encoders import NoText
from wsinuc.models.diffusion.joint import JointDiffusion
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.networks.cosyn_unet import CoSynUNet
from wsinuc.synthesis.distance_map import centroid_distance
from wsinuc.workflows.generators import cosyn as task
from wsinuc.workflows.generators.cosyn_config import PRESETS
from wsinuc.workflows.generators.cosyn_data import JointExamples, as_unit, layout_of_map, layouts_by_tissue
from wsinuc.workflows.generators.cosyn_report import JointGenerator
from wsinuc.workflows.generators.cosyn_words import built_in_encoder, encoder_of
from wsinuc.workflows.training.run import Session


@pytest.fixture(autouse=True)
def no_point_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "_fitted_layouts", lambda images, config: {"colon": {"fitted": True}})


def test_examples_show_one_scene_in_all_their_parts():
    examples = JointExamples.of([image(organ="Colon")], CLASSES, replace(CONFIG, patch=32, zoom=1.2))
    for k in range(12):
        made = examples.example(k)
        crop = examples.crops.crop(k)
        known = np.where(crop.class_map > 0, crop.labels, 0)
        ids = np.unique(known[known > 0])
        assert np.count_nonzero(made.points) == len(ids), "one point per nucleus, none for unknown classes"
        assert (made.label[made.points > 0] == made.points[made.points > 0]).all()
        np.testing.assert_array_equal(made.distance, centroid_distance(known))
        assert not made.distance[made.label == 0].any()
        assert made.prompt.tissue == "colon"
        assert set(made.prompt.classes) == {CLASSES[c - 1].name for c in np.unique(made.label) if c}
        np.testing.assert_array_equal(made.image, examples.example(k).image)
    unit, points = as_unit([examples.example(0)])
    assert unit.image.min() >= -1
    assert unit.distance.min() == -1
    assert torch.equal(points > 0, torch.from_numpy(examples.example(0).points > 0)[None])


def test_the_point_of_a_concave_nucleus_lies_in_it():
    labels = np.zeros((9, 9), np.int32)
    labels[0, :] = labels[8, :] = labels[:, 0] = 1
    layout = layout_of_map(labels, 2 * labels)
    y, x = layout.points[0].astype(int)
    assert labels[y, x] == 1
    assert layout.classes.tolist() == [2]
    assert not len(layout_of_map(0 * labels, labels).points)


def test_tissue_comes_from_the_column_that_is_named():
    both = image(tissue="colon", organ="bowel", stain="IHC stained")
    assert JointExamples.of([both], CLASSES, CONFIG).tissues == [("colon", "ihc stained")]
    named = replace(CONFIG, tissue_column="organ")
    assert JointExamples.of([both], CLASSES, named).tissues == [("bowel", "ihc stained")]
    assert JointExamples.of([image(stain="H&E")], CLASSES, replace(CONFIG, tissue="skin")).tissues == [("skin", "")]
    with pytest.raises(DataError, match="no 'organ'"):
        JointExamples.of([image(tissue="colon")], CLASSES, named)


def test_layouts_are_of_whole_images_at_the_networks_resolution():
    found = layouts_by_tissue([image(0, organ="colon"), image(1, organ="breast")], replace(CONFIG, mpp=1.0))
    assert set(found) == {"colon", "breast"}
    assert found["colon"][0].shape == (20, 20)
    assert sorted(found["colon"][0].classes.tolist()) == [1, 1, 2]


def test_a_training_leaves_a_generator_and_its_pages(tmp_path: Path):
    out = tmp_path / "c.safetensors"
    train(out, replace(CONFIG, sample_every=4), provenance={"data": "made up"})
    config = load_checkpoint(out, "cosyn").config
    assert config["classes"] == [{"name": c.name, "color": list(c.color)} for c in CLASSES]
    assert (config["mpp"], config["size"], config["steps"], config["drop_rate"]) == (0.5, 16, 1000, 0.1)
    assert config["text"] == {"name": "words"}
    assert config["layouts"] == {"colon": {"fitted": True}}
    assert load_checkpoint(out, "cosyn").provenance["data"] == "made up"
    pages = sorted(path.name for path in out.with_suffix(".samples").iterdir())
    assert pages == ["0000000004.png", "0000000006.png"]
    assert Image.open(out.with_suffix(".samples") / pages[0]).size == (4 * 20, 4 * 20)
    assert out.with_suffix(".png").exists()
    assert read_cosyn(out)[1].config.classes == 3
    levels = MeanLevels.from_header(config["levels"])
    assert levels.mean == pytest.approx([0.0] * 3, abs=0.05), "the images are uniform noise"


def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path: Path):
    whole, parts, passes = (tmp_path / f"{name}.safetensors" for name in ("whole", "parts", "passes"))
    train(whole)
    train(parts, session=Session(should_stop=lambda: True))
    train(parts)
    train(passes, replace(CONFIG, fit=replace(CONFIG.fit, accumulate=2)))
    one, other, split = (load_checkpoint(path, "cosyn").tensors for path in (whole, parts, passes))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.allclose(one[name], split[name], atol=1e-3) for name in one)
    with pytest.raises(CheckpointError, match="another training"):
        train(parts, replace(CONFIG, drop_text=0.5))


def test_text_is_withheld_as_often_as_asked():
    examples = JointExamples.of([image()], CLASSES, CONFIG)
    model = JointGenerator(CoSynUNet(NETWORK), JointDiffusion.of(3), Words())
    loss = task.JointStepLoss(model, examples, CONFIG, Session())
    shown = [loss._draw(number)[1] for number in range(400)]
    assert np.mean(shown) == pytest.approx(0.9, abs=0.04)
    assert shown[7] == loss._draw(7)[1]
    always = task.JointStepLoss(model, examples, replace(CONFIG, drop_text=0.0), Session())
    assert all(always._draw(number)[1] for number in range(50))


def test_a_training_starts_from_another(tmp_path: Path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    train(first)
    train(second, replace(CONFIG, fit=replace(CONFIG.fit, steps=1, lr=1e-9)), init=first)
    one, other = (load_checkpoint(path, "cosyn").tensors for path in (first, second))
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    with pytest.raises(CheckpointError, match="another shape"):
        train(tmp_path / "c.safetensors", replace(CONFIG, network=replace(NETWORK, blocks=(1, 2))), init=first)


def test_what_cannot_be_trained_is_refused(tmp_path: Path):
    with pytest.raises(OutputError, match="there is no folder"):
        train(tmp_path / "no" / "c.safetensors")
    with pytest.raises(DataError, match="class 2, but only 1"):
        task.train_cosyn([image()], CLASSES[:1], tmp_path / "c.safetensors", CONFIG, text_encoder=Words())
    for change, message in (
        ({"patch": 18}, "multiple of 4"),
        ({"patch": 0}, "multiple of 4"),
        ({"drop_text": 1.0}, "between 0 and 1"),
        ({"network": replace(NETWORK, base=4000)}, "no model is made with these settings: base"),
        ({"mpp": 25.0}, "a model's mpp must lie between"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(CONFIG, **change)
    assert set(PRESETS) == {"cpu", "small", "paper"}


def test_a_generator_is_trained_without_points_and_text(tmp_path: Path):
    out = tmp_path / "c.safetensors"
    config = replace(CONFIG, without=("points", "text"), fit=replace(CONFIG.fit, steps=1))
    images = [image(0, organ="colon"), image(1, organ="Breast")]
    with pytest.raises(ConfigError, match="reads no prompt: leave out the text encoder"):
        task.train_cosyn(images, CLASSES, out, config, text_encoder=Words())
    task.train_cosyn(images, CLASSES, out, config)
    model = load_cosyn(out)
    assert (model.network.points, model.network.text) == (None, None)
    assert isinstance(model.text_encoder, NoText)
    assert (model.config["without"], model.config["drop_rate"]) == (["points", "text"], 0.0)
    assert (model.config["layouts"], model.config["tissues"]) == ({}, ["breast", "colon"])
    assert sum(each["count"] for each in model.config["prompts"]) == 256
    assert {each["tissue"] for each in model.config["prompts"]} == {"breast", "colon"}


def test_crops_without_augmentation_lie_as_they_were_annotated():
    plain = JointExamples.of([image()], CLASSES, replace(CONFIG, zoom=1.3, stain=0.5, without=("augmentation",)))
    whole = np.lib.stride_tricks.sliding_window_view(image().image, (16, 16, 3)).reshape(-1, 16, 16, 3)
    for number in range(8):
        # Stain jitter of strength 0 changes nothing but rounding.
        apart = np.abs(whole.astype(int) - plain.example(number).image).max((1, 2, 3))
        assert apart.min() <= 2
    turned = JointExamples.of([image()], CLASSES, CONFIG)
    apart = [np.abs(whole.astype(int) - turned.example(k).image).max((1, 2, 3)).min() for k in range(8)]
    assert max(apart) > 2


def test_what_a_training_is_without_belongs_to_its_identity():
    assert "without" not in CONFIG.identity(), "states of older trainings go on"
    assert replace(CONFIG, without=("text",)).identity()["without"] == ("text",)
    with pytest.raises(ConfigError, match="each of points, text, augmentation"):
        replace(CONFIG, without=("colour",))


def test_a_tissue_is_for_images_that_name_none():
    named = replace(CONFIG, tissue="Skin_graft")
    assert built_in_encoder([image()], CLASSES, named).vocabulary.tissues == ("skin graft",)
    with pytest.raises(DataError, match="all of these do: colon; leave --tissue out"):
        encoder_of([image(organ="colon")], CLASSES, named)
    encoder_of([image(organ="colon"), image(1)], CLASSES, named)
