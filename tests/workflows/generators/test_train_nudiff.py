"""Training method B's two networks: what they learn from, what they write, how they go on, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.training.nudiff import (
    DATA,
    FIT,
    IMAGES,
    NARROW,
    STRUCTURES,
    interrupted,
    tissue,
    train_images,
    train_structures,
    trained,
)
from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import CropSource
from wsinuc.errors import CheckpointError, ConfigError, DataError, OutputError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.checkpoints.generators import load_image_model, load_structure_model
from wsinuc.models.networks.spade_unet import SpadeUNet, SpadeUNetConfig
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.synthesis.structures import structure_map, to_diffusion
from wsinuc.workflows.denoiser.run import PretrainConfig, pretrain
from wsinuc.workflows.generators import report as generator_report
from wsinuc.workflows.generators.config import IMAGE_PRESETS, STRUCTURE_PRESETS, GeneratorConfig
from wsinuc.workflows.generators.cost import estimate_generator
from wsinuc.workflows.generators.nudiff import count_adopted, smallest_nucleus
from wsinuc.workflows.generators.nudiff_examples import example, left_out
from wsinuc.workflows.training.run import Session


@pytest.fixture(autouse=True)
def quick_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of samples in two steps of the sampler."""
    monkeypatch.setattr(generator_report, "SAMPLING_STEPS", 2)


@pytest.mark.parametrize("config", [STRUCTURES, IMAGES], ids=["structures", "images"])
def test_a_training_leaves_what_it_promises_and_resumes_to_the_bit(config: GeneratorConfig, tmp_path: Path) -> None:
    whole = trained(tmp_path / "a.safetensors", config)
    parts = interrupted(tmp_path / "b.safetensors", config, after=3)  # inside the images' second phase
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert {path.suffix for path in tmp_path.glob("a.*")} == {".safetensors", ".state", ".jsonl", ".png", ".samples"}
    (page,) = (tmp_path / "a.samples").iterdir()
    assert Image.open(page).size == ((64, 64) if config is STRUCTURES else (4 * 16, 4 * 16))
    provenance = load_checkpoint(tmp_path / "a.safetensors", config.kind).provenance
    assert provenance["images"] == ["tissue0", "tissue1"]
    assert provenance["nuclei"] == 2


def test_passes_change_nothing(tmp_path: Path) -> None:
    whole = trained(tmp_path / "a.safetensors", IMAGES)
    parts = trained(tmp_path / "b.safetensors", replace(IMAGES, fit=replace(FIT, accumulate=2)))
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], atol=2e-4, rtol=1e-3)


def test_models_come_back_as_they_were_trained(tmp_path: Path) -> None:
    out = tmp_path / "structure.safetensors"
    tensors = trained(out, replace(STRUCTURES, network=replace(STRUCTURES.network, out_channels=6)))
    model = load_structure_model(out)
    assert isinstance(model.network, UNet)
    assert not model.network.training
    assert all(torch.equal(value, tensors[name]) for name, value in model.network.state_dict().items())
    assert model.process.steps == 1000
    header = model.config
    assert (header["mpp"], header["size"], header["smallest_px"], header["learned_variance"]) == (0.5, 16, 30, True)
    assert header["classes"] == [{"name": "Nucleus", "color": [0, 200, 80]}]
    with pytest.raises(CheckpointError, match="holds a nudiff-structure, but a nudiff-image is needed"):
        load_image_model(out)


def test_guidance_needs_the_second_phase(tmp_path: Path) -> None:
    out, condition = tmp_path / "image.safetensors", torch.zeros(1, 3, 16, 16)
    x, t = torch.randn(1, 3, 16, 16), torch.zeros(1, dtype=torch.long)
    calls = iter(range(1, 9))
    train_images(DATA, out, IMAGES, session=Session(should_stop=lambda: next(calls) == 2))
    early = load_image_model(out)
    assert isinstance(early.network, SpadeUNet)
    assert early.config["drop_rate"] == 0
    early.denoiser(condition)(x, t)
    with pytest.raises(ConfigError, match="drop rate 0"):
        early.denoiser(condition, 2.0)
    train_images(DATA, out, IMAGES)
    late = load_image_model(out)
    assert late.config["drop_rate"] == 0.5
    assert late.denoiser(condition, 2.0)(x, t).shape == x.shape


def test_structures_are_left_out_at_the_rate_asked_for_and_in_the_second_phase_only() -> None:
    config = replace(IMAGES, drop_rate=0.2, drop_from=100, batch=4)
    assert not any(left_out(config, i) for i in range(400))
    later = [left_out(config, i) for i in range(400, 5400)]
    assert np.mean(later) == pytest.approx(0.2, abs=0.02)
    assert later == [left_out(replace(config, batch=2, drop_from=0), i) for i in range(400, 5400)]
    assert later != [left_out(replace(config, seed=1), i) for i in range(400, 5400)]


def test_structures_are_made_after_augmentation() -> None:
    wild = Augmentation(zoom=1.3, stain=0.2)
    source = CropSource(images=DATA, mpp=0.5, size=16, seed=0, augmentation=wild)
    for crop in source.batch(0, 8):
        structure = structure_map(crop.labels)
        np.testing.assert_array_equal(example(crop, STRUCTURES), to_diffusion(structure))
        both = example(crop, IMAGES)
        np.testing.assert_array_equal(both[3:], structure)
        np.testing.assert_allclose((both[:3].transpose(1, 2, 0) + 1) * 127.5, crop.image, atol=1e-3)


def test_the_smallest_nucleus_is_that_of_whole_ones() -> None:
    labels = np.zeros((60, 60), np.int32)
    for i in range(9):
        y, x = divmod(i, 3)
        labels[10 + 15 * y : 10 + 15 * y + 4 + i, 10 + 15 * x : 20 + 15 * x] = i + 1
    labels[0, 30], labels[59, 30] = 10, 11  # cut by the border
    image = LabelledImage(name="a", image=np.zeros((60, 60, 3), np.uint8), labels=labels, mpp=0.5, attributes={})
    assert 40 * 0.25 <= smallest_nucleus([image]) < 50 * 0.25, "the smallest has 40 px, the next 50"
    assert smallest_nucleus([replace(image, labels=labels * 0)]) == 0


def test_a_pretrained_denoiser_gives_its_encoder(tmp_path: Path) -> None:
    denoiser = tmp_path / "denoiser.safetensors"
    shape = UNetConfig(**NARROW)
    pretrain([tissue().image], denoiser, PretrainConfig(patch=16, batch=2, unet=shape, fit=replace(FIT, steps=1)))
    taken, of = count_adopted(IMAGES, denoiser)
    assert 0 < taken < of
    assert count_adopted(STRUCTURES, denoiser) == (len(UNet(shape).state_dict()),) * 2
    still = replace(IMAGES, fit=replace(FIT, steps=1, lr=1e-12))
    tensors, given = (
        trained(tmp_path / "image.safetensors", still, init=denoiser),
        load_checkpoint(denoiser, "denoiser"),
    )
    for name, value in given.tensors.items():
        if name.startswith(("stem.", "time.", "encoder.")):
            torch.testing.assert_close(tensors[name], value)
    record = load_checkpoint(tmp_path / "image.safetensors", "nudiff-image").provenance["init"]
    assert (record["kind"], record["tensors"], record["of"]) == ("denoiser", taken, of)
    wide = replace(STRUCTURES, network=replace(STRUCTURES.network, base=64))
    with pytest.raises(CheckpointError, match="base width"):
        train_structures(DATA, tmp_path / "wide.safetensors", wide, init=denoiser)


def test_the_rate_falls_in_the_second_phase_and_phases_keep_their_share() -> None:
    paper = IMAGE_PRESETS["paper"]
    assert paper.fit.rate(149_999) == pytest.approx(1e-4)
    assert paper.fit.rate(150_000) == pytest.approx(2e-5)
    assert (paper.drop_rate, paper.drop_from) == (0.2, 150_000)
    short = paper.lasting(3000)
    assert (short.fit.steps, short.fit.later, short.drop_from) == (3000, (1500, 0.2), 1500)


def test_presets_have_the_published_sizes() -> None:
    assert estimate_generator(STRUCTURE_PRESETS["paper"]).parameters / 1e6 == pytest.approx(552.8, abs=0.05)
    image = estimate_generator(IMAGE_PRESETS["paper"])
    assert image.parameters / 1e6 == pytest.approx(652.1, abs=0.05)
    assert image.flops_per_step / 3e9 == pytest.approx(3418, rel=0.01)
    assert all(config.patch * config.mpp == 64 for config in [*STRUCTURE_PRESETS.values(), *IMAGE_PRESETS.values()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 17}, "multiple of 2 px"),
        ({"batch": 0}, "batch"),
        ({"betas": "square"}, "noise schedule"),
        ({"mpp": 0.0}, "a model's mpp must lie between"),
        ({"timestep_power": 0.0}, "positive"),
        ({"network": SpadeUNetConfig(**NARROW | {"base": 4000})}, "no model is made with these settings: base"),
        ({"drop_rate": 1.0}, "drop_rate"),
        ({"network": UNetConfig(**NARROW)}, "no condition"),
        ({"network": SpadeUNetConfig(**NARROW, out_channels=4)}, "3 channels"),
        ({"network": SpadeUNetConfig(**NARROW, condition_channels=2)}, "condition_channels"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(IMAGES, **change)


@pytest.mark.parametrize("seed", [0, 3])
def test_images_that_are_held_out_are_annotated_all_over_as_well(seed: int, tmp_path: Path) -> None:
    """Under some of these seeds it is the image that is annotated in part."""
    part = replace(DATA[0], ignore=np.ones(DATA[0].labels.shape, bool))
    with pytest.raises(DataError, match="nobody annotated"):
        train_structures([part, DATA[1]], tmp_path / "s.safetensors", replace(STRUCTURES, held_out=0.5, seed=seed))


def test_data_and_files_that_cannot_work_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    empty = replace(tissue(), labels=np.zeros((40, 40), np.int32))
    with pytest.raises(DataError, match="no annotated nucleus"):
        train_structures([empty], out, STRUCTURES)
    with pytest.raises(DataError, match="no annotated image"):
        train_structures([], out, STRUCTURES)
    with pytest.raises(OutputError, match="folder"):
        train_images(DATA, tmp_path / "absent" / "out.safetensors", IMAGES)
    with pytest.raises(ConfigError, match="settings of a nudiff-structure"):
        train_images(DATA, out, STRUCTURES)
    trained(out, replace(STRUCTURES, fit=replace(FIT, steps=1)))
    with pytest.raises(CheckpointError, match="another training: smallest_px was 30, now 8"):
        train_structures(DATA, out, replace(STRUCTURES, smallest_px=8))
