"""The trainings under their names in Python: one way to call them all, and small runs through every method."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wsinuc
from helpers.files.datasets import write_set
from helpers.files.generators import write_cosyn, write_nudiff
from helpers.training.cosyn import CONFIG as JOINT
from helpers.training.nudiff import IMAGES
from wsinuc.errors import CheckpointError, ConfigError, DataError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.diffusion.samplers import SamplerConfig
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.models.training.loop import FitConfig
from wsinuc.models.training.state import append_log
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.synthesis.layouts import NucleusLayout
from wsinuc.workflows.data.sources import open_sources
from wsinuc.workflows.methods import pretrain as methods

TRAININGS = ("train", "adapt", "distill", "pretrain")
NARROW = UNetConfig(base=32, multipliers=(1,), res_blocks=1, attention_factors=(), middle_attention=False)
ONE_STEP = FitConfig(steps=1, lr=1e-3, bf16=False)
DENOISER = wsinuc.PretrainConfig(patch=16, batch=2, unet=NARROW, fit=ONE_STEP)
TWO_STEPS = wsinuc.SynthesisConfig(sampler=SamplerConfig("dpm++", 2))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An annotated data set of two classes that records its resolution."""
    return write_set(tmp_path_factory.mktemp("data") / "real", classes=("round", "long"))


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("generators")
    structure, image = write_nudiff(folder)
    return {"structure": structure, "image": image, "joint": write_cosyn(folder / "joint.safetensors")}


@pytest.mark.parametrize("name", TRAININGS)
def test_trainings_are_called_alike(name: str) -> None:
    signature = inspect.signature(getattr(wsinuc, name))
    parameters = list(signature.parameters.values())
    positional = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert positional[-2:] == ["out", "config"]
    assert [signature.parameters[each].default for each in ("config", "device", "on_event")] == [None, "auto", None]
    assert [each.name for each in parameters][-3:] == ["device", "provenance", "on_event"]
    kinds = {each.kind for each in parameters} - {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


def test_every_training_can_be_given_another_length() -> None:
    configs: list[Any] = [
        wsinuc.AdaptConfig(),
        wsinuc.DistillConfig(),
        wsinuc.NetworkTrainConfig.quick("unet"),
        wsinuc.PretrainConfig.preset("paper"),
        wsinuc.GeneratorConfig.preset("nudiff-structure", "small"),
        wsinuc.CoSynTrainConfig.preset("cpu"),
        wsinuc.TextTrainConfig.preset("cpu"),
    ]
    assert {config.lasting(7).fit.steps for config in configs} == {7}
    with pytest.raises(ConfigError, match="expected one of cpu, small, got 'paper'"):
        wsinuc.TextTrainConfig.preset("paper")
    with pytest.raises(ConfigError, match="expected one of nudiff-structure, nudiff-image, got 'cosyn'"):
        wsinuc.GeneratorConfig.preset("cosyn", "cpu")


def test_a_denoiser_learns_from_paths_data_sets_and_slides_alike(real: Path, tmp_path: Path) -> None:
    config = replace(DENOISER, mpp=0.5)
    dataset = wsinuc.open_dataset(real)
    told: list[str] = []
    trained = wsinuc.pretrain(real, tmp_path / "a.safetensors", config, device="cpu", on_event=told.append)
    again = wsinuc.pretrain([dataset], str(tmp_path / "b.safetensors"), config, device="cpu")
    assert (trained.kind, trained.steps, trained.held_out_loss) == ("denoiser", 1, None)
    assert trained.loss == again.loss
    assert told[0].startswith("training: step 1  loss")
    tensors = [load_checkpoint(each.path, "denoiser").tensors for each in (trained, again)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert load_checkpoint(again.path, "denoiser").provenance["sources"] == ["real"]
    picture = real / "images" / f"{dataset.names[0]}.png"
    with wsinuc.open_slide(picture, mpp=0.5) as slide:
        opened, read = open_sources([slide, str(picture)], mpp=0.5, file_mpp=0.5)
        window = (slice(0, 20), slice(3, 30))
        assert np.array_equal(opened[window], read[window])


def test_annotated_images_teach_what_the_settings_are_of(real: Path, tmp_path: Path) -> None:
    config = wsinuc.TextTrainConfig(patch=32, batch=2, image_base=8, fit=ONE_STEP)
    trained = wsinuc.pretrain(real, tmp_path / "words.safetensors", config, device="cpu")
    assert (trained.kind, trained.steps) == ("text-encoder", 1)
    assert load_checkpoint(trained.path, "text-encoder").kind == "text-encoder"


def test_a_joint_generator_learns_the_classes_of_the_data_set(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the training itself does is tested with it; here it only hears what it is given."""
    given: dict[str, Any] = {}

    def heard(images: Any, classes: Any, out: Path, config: Any, **more: Any) -> None:
        given.update(images=images, classes=classes, out=out, config=config, **more)
        append_log(out.with_suffix(".jsonl"), {"step": 3, "loss": 0.5, "validation": 0.25})

    monkeypatch.setattr(methods, "train_cosyn", heard)
    out = tmp_path / "joint.safetensors"
    trained = wsinuc.pretrain(str(real), out, JOINT, weights=[1, 2, 3], device="cpu", provenance={"data": "mine"})
    assert trained == methods.Pretraining(path=out, kind="cosyn", steps=3, loss=0.5, held_out_loss=0.25)
    assert [each.name for each in given["classes"]] == ["round", "long"]
    assert [image.name for image in given["images"]] == ["i0", "i1", "i2"]
    assert (given["weights"], given["text_encoder"], given["provenance"]) == ([1, 2, 3], None, {"data": "mine"})


def test_arguments_of_another_method_are_refused(real: Path, tmp_path: Path) -> None:
    out = tmp_path / "made.safetensors"
    with pytest.raises(ConfigError, match=r"text_encoder goes with wsinuc\.CoSynTrainConfig, and these are settings"):
        wsinuc.pretrain(real, out, DENOISER, text_encoder="clip")
    with pytest.raises(ConfigError, match=r"mpp goes with wsinuc\.PretrainConfig"):
        wsinuc.pretrain(real, out, IMAGES, mpp=0.5)
    assert not out.exists()


def test_a_model_that_cannot_be_adapted_is_refused_for_that(real: Path, tmp_path: Path) -> None:
    """Not for the classes of the windows, which would not help."""
    with pytest.raises(ConfigError, match="its outlines are another model's, which is the one to adapt"):
        wsinuc.adapt("breast", real, tmp_path / "breast.safetensors")


def test_a_generator_says_itself_what_it_makes(generators: dict[str, Path], real: Path, tmp_path: Path) -> None:
    events: list[object] = []
    made = wsinuc.synthesize(
        generators["image"], tmp_path / "a", 1, TWO_STEPS, layout=generators["structure"], device="cpu"
    )
    assert (len(made), made.rows[0]["source"]) == (1, "generated")
    made = wsinuc.synthesize(generators["image"], tmp_path / "b", 1, TWO_STEPS, layout=real, device="cpu")
    assert made.rows[0]["source"] in wsinuc.open_dataset(real).names
    points = NucleusLayout(shape=(16, 16), points=np.array([[8.0, 8.0]]), classes=np.array([1], np.int32))
    size = replace(TWO_STEPS, size=16)
    joint = wsinuc.synthesize(
        generators["joint"],
        tmp_path / "c",
        1,
        size,
        layout=points,
        tissues="colon",
        device="cpu",
        on_event=events.append,
    )
    assert (joint.rows[0]["source"], len(events)) == ("given", 2)


def test_what_a_generator_needs_is_said(generators: dict[str, Path], real: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say with layout= where these are from"):
        wsinuc.synthesize(generators["image"], tmp_path / "a", 1)
    with pytest.raises(ConfigError, match="tissues goes with joint generators"):
        wsinuc.synthesize(generators["image"], tmp_path / "a", 1, layout=real, tissues="colon")
    with pytest.raises(CheckpointError, match="holds a nudiff-structure"):
        wsinuc.synthesize(generators["structure"], tmp_path / "a", 1)
    assert not (tmp_path / "a").exists()


def test_several_classes_of_a_teacher_are_those_of_the_annotation(real: Path) -> None:
    from wsinuc.workflows.methods.distill import _of_classes

    dataset = wsinuc.open_dataset(real)
    two = tuple(NucleusClass(name, (0, 0, 0)) for name in ("round", "long"))
    assert [image.classes is None for image in _of_classes(dataset, two[:1])] == [True] * len(dataset)
    assert all(image.classes is not None for image in _of_classes(dataset, two))
    with pytest.raises(DataError, match="real has the classes round, long, the teacher long, round"):
        _of_classes(dataset, two[::-1])
