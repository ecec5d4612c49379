"""Training networks: from images to a segmenter that finds nuclei, and every way it can be refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.draw import disk

from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import CropSource
from wsinuc.errors import CheckpointError, ConfigError, DataError, OutputError
from wsinuc.metrics.segmentation import score
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.models.training import losses
from wsinuc.models.training.loop import FitConfig
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.workflows.evaluate.run import predict_labels
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc.workflows.train.network_loss import make_targets
from wsinuc.workflows.train.networks import train_network

UNET = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)
FIT = FitConfig(steps=40, lr=3e-3, warmup=5, cosine=True, ema=0.9, bf16=False)
PLAIN = NetworkTrainConfig(method="unet", base=8, levels=3, crop=64, batch=4, fit=FIT)
GATED = replace(PLAIN, method="attention-unet", fit=replace(FIT, steps=20))
TUNED = NetworkTrainConfig(method="finetune", denoiser=UNET, crop=32, batch=4, fit=replace(FIT, steps=60))
HOVER = NetworkTrainConfig(method="hovernet", width=1 / 16, crop=112, batch=4, fit=replace(FIT, steps=24, lr=5e-3))
TWO = (NucleusClass("dark", (0, 0, 200)), NucleusClass("red", (200, 0, 0)))


def field(seed: int, side: int = 128, *, classes: bool = False) -> LabelledImage:
    """Discs on a pale ground, dark and, with classes, every other red."""
    rng = np.random.default_rng(seed)
    image, labels = np.full((side, side, 3), (225, 190, 215), np.uint8), np.zeros((side, side), np.int32)
    for y in range(16, side, 32):
        for x in range(16, side, 32):
            rows, columns = disk((y + rng.integers(-4, 5), x + rng.integers(-4, 5)), 9)
            labels[rows, columns] = labels.max() + 1
            image[rows, columns] = (90, 60, 140) if not classes or labels.max() % 2 else (200, 40, 60)
    numbers = np.arange(labels.max() + 1)
    return LabelledImage(
        name=f"field{seed}",
        image=(image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8),
        labels=labels,
        attributes={},
        mpp=0.5,
        classes=np.where(numbers > 0, 2 - numbers % 2, 0).astype(np.int32) if classes else None,
    )


@pytest.mark.parametrize(
    "config",
    [PLAIN, GATED, pytest.param(TUNED, marks=pytest.mark.slow), pytest.param(HOVER, marks=pytest.mark.slow)],
    ids=lambda c: c.method,
)
def test_a_trained_network_finds_the_discs(config: NetworkTrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    train_network([field(1), field(2)], (), path, config, device="cpu")
    segmenter = load_segmenter(str(path), device="cpu")
    assert isinstance(segmenter, Segmenter)
    assert [c.name for c in segmenter.classes] == ["Nucleus"]
    truth = field(9)
    scored = score(truth.labels, predict_labels(truth, segmenter=segmenter))
    assert scored.dice > 0.8
    assert scored.aji > 0.6


def test_classes_are_learnt_and_unknown_ones_ignored(tmp_path: Path) -> None:
    path, image = tmp_path / "model.safetensors", field(1, classes=True)
    image.classes[1:4] = 0
    train_network([image, field(2, classes=True)], TWO, path, PLAIN, device="cpu")
    segmenter = load_segmenter(str(path), device="cpu")
    assert segmenter.classes == TWO
    truth = field(9, classes=True)
    side, margin = segmenter.tile, segmenter.margin
    tile = np.full((1, side, side, 3), (225, 190, 215), np.uint8)
    tile[0, margin : margin + 128, margin : margin + 128] = truth.image
    dark, red = segmenter.predict(tile)[0, 2:4, :128, :128].astype(int)
    inside = truth.labels > 0
    assert ((red > dark)[inside] == (truth.class_map[inside] == 2)).mean() > 0.9


def test_unknown_classes_count_as_nuclei_for_the_maps() -> None:
    image = field(1, classes=True)
    image.classes[:] = 0
    crops = CropSource(images=[image], mpp=0.5, size=64, seed=0).batch(0, 2)
    wanted = make_targets(crops, "distance", 4)
    assert wanted.classes.shape == wanted.nuclei.shape == (2, 56, 56)
    assert set(wanted.classes.unique().tolist()) == {0, losses.IGNORE}
    assert torch.equal(wanted.nuclei, wanted.classes == losses.IGNORE)
    assert wanted.maps[:, 0][wanted.nuclei].min() > 0


def test_nuclei_cut_by_the_output_keep_their_centre() -> None:
    crops = CropSource(images=[field(1)], mpp=0.5, size=64, seed=0).batch(0, 1)
    inner = make_targets(crops, "hv", 20).maps
    assert torch.equal(inner, make_targets(crops, "hv", 0).maps[..., 20:-20, 20:-20])


def test_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    config, calls = replace(PLAIN, fit=replace(FIT, steps=4)), iter([False, True])
    train_network([field(1)], (), tmp_path / "one.safetensors", config, device="cpu")
    for stop in (lambda: next(calls), lambda: False):
        train_network([field(1)], (), tmp_path / "two.safetensors", config, device="cpu", should_stop=stop)
    once, twice = (load_checkpoint(tmp_path / f"{n}.safetensors", "segmenter") for n in ("one", "two"))
    assert all(torch.equal(once.tensors[name], twice.tensors[name]) for name in once.tensors)


SHORT = replace(PLAIN, base=4, crop=16, batch=2, fit=replace(FIT, steps=1))


def test_a_finished_training_is_not_taken_for_one_on_other_images_or_by_other_settings(tmp_path: Path) -> None:
    """Whoever corrects an outline and trains again under the same name must not get the old weights."""
    out = tmp_path / "model.safetensors"
    train_network([field(1, 64)], (), out, SHORT, device="cpu")
    corrected = field(1, 64)
    corrected.labels[corrected.labels == 1] = 0
    for images, config, what in (
        ([corrected], SHORT, "data was 1 image, .*, now 1 image, "),
        ([field(1, 64)] * 2, SHORT, "data was 1 image, .*, now 2 images, "),
        ([field(1, 64)], replace(SHORT, seed=1), "seed was 0, now 1"),
    ):
        with pytest.raises(CheckpointError, match=what):
            train_network(images, (), out, config, device="cpu")
    with pytest.raises(CheckpointError, match="validation was None, now 1 image"):
        train_network([field(1, 64)], (), out, SHORT, device="cpu", validation=[field(2, 64)])
    longer = replace(SHORT, fit=replace(SHORT.fit, steps=2))
    train_network([field(1, 64)], (), out, longer, device="cpu")


def test_a_step_in_two_passes_is_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes are numbered on and on: each learns from its part of the batch, and the training has all its steps."""
    monkeypatch.setattr("wsinuc.workflows.train.networks.mean_aji", lambda *args: 0.5)
    drawn: list[tuple[int, int]] = []
    batch = CropSource.batch
    monkeypatch.setattr(CropSource, "batch", lambda self, *args: drawn.append(args) or batch(self, *args))
    config = replace(SHORT, fit=replace(SHORT.fit, steps=3, accumulate=2), validate_every=1)
    out = tmp_path / "model.safetensors"
    train_network([field(1, 64)], (), out, config, device="cpu", validation=[field(2, 64)])
    assert drawn == [(part, 1) for part in range(6)]
    assert torch.load(out.with_suffix(".state"), weights_only=True)["step"] == 3
    with pytest.raises(ConfigError, match="cannot be shared out"):
        replace(config, batch=3)


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "denoiser.safetensors"
    config = {"unet": asdict(UNET), "betas": "linear", "mpp": 0.4}
    weights = UNet(UNET).state_dict()
    save_checkpoint(Checkpoint(kind="denoiser", config=config, provenance={"of": "tissue"}, tensors=weights), path)
    return path


def test_fine_tuning_starts_from_the_denoiser_and_says_so(denoiser: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "tuned.safetensors", replace(TUNED, denoiser=None, fit=replace(FIT, steps=1, lr=1e-6))
    train_network([field(1)], (), out, config, denoiser=denoiser, device="cpu", provenance={"licence": "none"})
    start, tuned = load_checkpoint(denoiser, "denoiser"), load_checkpoint(out, "segmenter")
    for name in ("stem.weight", "decoder.1.0.conv_in.weight"):
        torch.testing.assert_close(tuned.tensors[f"denoiser.{name}"].float(), start.tensors[name], atol=1e-3, rtol=1e-2)
    assert not any(name.startswith("denoiser.head") for name in tuned.tensors)
    assert tuned.provenance["denoiser"] == {"sha256": start.sha256, "of": "tissue"}
    assert tuned.provenance["images"] == ["field1"]
    assert tuned.provenance["licence"] == "none"
    assert load_segmenter(str(out), device="cpu").mpp == 0.4


def test_the_best_weights_on_validation_images_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, seen = iter([0.2, 0.6, 0.4]), []

    def measured(described, weights, images, device) -> float:
        seen.append({name: value.clone() for name, value in weights.items()})
        return next(scores)

    monkeypatch.setattr("wsinuc.workflows.train.networks.mean_aji", measured)
    out, config = tmp_path / "best.safetensors", replace(PLAIN, fit=replace(FIT, steps=5), validate_every=2)
    train_network([field(1)], (), out, config, device="cpu", validation=[field(3)])
    kept = load_checkpoint(out, "segmenter")
    assert kept.provenance["validation"] == {"aji": 0.6, "step": 4, "images": 1}
    assert len(seen) == 3
    torch.testing.assert_close(kept.tensors["head.bias"], seen[1]["head.bias"])
    last = tmp_path / "last.safetensors"
    train_network([field(1)], (), last, config, device="cpu")
    torch.testing.assert_close(load_checkpoint(last, "segmenter").tensors["head.bias"], seen[2]["head.bias"])


def test_validation_takes_the_path_of_segment(tmp_path: Path) -> None:
    out, lines = tmp_path / "model.safetensors", []
    config = replace(PLAIN, fit=replace(FIT, steps=2))
    train_network([field(1)], (), out, config, device="cpu", validation=[field(3, 64)], on_event=lines.append)
    assert 0 <= load_checkpoint(out, "segmenter").provenance["validation"]["aji"] <= 1
    assert "validation AJI" in lines[-1]


def test_what_cannot_be_learnt_is_refused_before_it_is_begun(denoiser: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    empty = replace(field(1), labels=np.zeros((128, 128), np.int32))
    floats = replace(field(1), labels=field(1).labels / 7)
    for images, classes, message in (
        ([], (), "no annotated nucleus"),
        ([empty], (), "no annotated nucleus"),
        ([floats], (), "labels must be integers .* got float64"),
        ([field(1, classes=True)], TWO[:1], "class 2, but only 1 are to be learned: dark"),
        ([field(1)], TWO, "has no classes, but 2 are to be learned: dark, red"),
        (
            [field(1, classes=True)],
            (NucleusClass("Tumor: +", (1, 2, 3)), TWO[1]),
            "refused or misread by QuPath",
        ),
        ([field(1, classes=True)], TWO * 33, "66 classes of nuclei .* at most 64 apart: are these names of nuclei"),
    ):
        with pytest.raises(DataError, match=message):
            train_network(images, classes, out, PLAIN, device="cpu")
    with pytest.raises(OutputError, match="there is no folder"):
        train_network([field(1)], (), tmp_path / "no" / "x.safetensors", PLAIN, device="cpu")
    assert not out.exists()


@pytest.mark.parametrize(
    ("method", "crop", "message"),
    [
        ("unet", 60, "a multiple of 8 px, from 8 on, got 60"),
        ("hovernet", 64, "a multiple of 8 px, from 96 on, got 64"),
        ("hovernet", 100, "a multiple of 8 px, from 96 on, got 100"),
    ],
)
def test_crops_that_a_network_cannot_take_are_refused_before_anything_is_read(method, crop, message):
    with pytest.raises(ConfigError, match=message):
        NetworkTrainConfig(method=method, crop=crop)


def test_starts_that_do_not_fit_are_refused(denoiser: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "x.safetensors", tmp_path / "model.safetensors"
    train_network([field(1)], (), model, replace(PLAIN, fit=replace(FIT, steps=1)), device="cpu")
    tuned = replace(TUNED, denoiser=None)
    with pytest.raises(CheckpointError, match="a segmenter of the method unet and holds no denoiser"):
        train_network([field(1)], (), out, tuned, denoiser=model, device="cpu")
    with pytest.raises(CheckpointError, match="holds a denoiser, but a segmenter is needed"):
        load_segmenter(str(denoiser), device="cpu")
    with pytest.raises(ConfigError, match="needs a denoiser checkpoint"):
        train_network([field(1)], (), out, tuned, device="cpu")
    with pytest.raises(ConfigError, match="unet starts from random weights"):
        train_network([field(1)], (), out, PLAIN, denoiser=denoiser, device="cpu")
    with pytest.raises(ConfigError, match=r"trained at 0.4 um per pixel, not 0.5"):
        train_network([field(1)], (), out, replace(tuned, mpp=0.5), denoiser=denoiser, device="cpu")
    checkpoint = load_checkpoint(denoiser, "denoiser")
    del checkpoint.tensors["stem.weight"]
    save_checkpoint(checkpoint, tmp_path / "cut.safetensors")
    with pytest.raises(CheckpointError, match=r"stem\.weight is missing"):
        train_network([field(1)], (), out, tuned, denoiser=tmp_path / "cut.safetensors", device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "ddpm"}, "method must be one of finetune, hovernet, unet"),
        ({"separation": "none"}, "separation must be one of"),
        ({"method": "hovernet", "separation": "distance"}, "HoVer-Net separates by"),
        ({"similarity": "image"}, "similarity must be one of pixel, scalar"),
        ({"batch": 0}, "at least one crop"),
        ({"validate_every": 0}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PLAIN, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": 100_000}, "no model is made with these settings: base"),
        ({"method": "hovernet", "separation": "hv", "crop": 128, "width": 0.01}, "a width of 1/16 to 4"),
    ],
)
def test_networks_of_an_impossible_size_are_no_damaged_models(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train_network([field(1)], (), tmp_path / "x.safetensors", replace(PLAIN, **change), device="cpu")
