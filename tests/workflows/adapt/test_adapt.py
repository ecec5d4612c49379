"""A model adapted to a few windows: better on what it did not see, or not written; else the same model."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from skimage.draw import disk

from helpers.files.datasets import write_images
from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import CheckpointError, ConfigError, DataError
from wsinuc.grid import Box
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.schedules import named_betas
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.networks.by_name import build_network
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.models.training.loop import FitConfig
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.ddpm import DdpmConfig, DdpmSegmenter
from wsinuc.segmenters.joint import JointConfig, Member, joint_checkpoint
from wsinuc.segmenters.network import NetworkConfig, NetworkSegmenter, network_checkpoint
from wsinuc.segmenters.outline import outline_model
from wsinuc.segmenters.sizes import model_size
from wsinuc.separation.settings import WatershedSettings
from wsinuc.workflows.adapt.config import AdaptConfig
from wsinuc.workflows.adapt.cost import adapt_cost
from wsinuc.workflows.adapt.gather import Material, check_classes
from wsinuc.workflows.adapt.networks import parts_of, rebuilt
from wsinuc.workflows.adapt.run import UNMEASURED_SHARE, Outcome, adapt
from wsinuc.workflows.adapt.settings import Refit
from wsinuc.workflows.adapt.sight import Sight
from wsinuc.workflows.adapt.trials import Choice, mixture
from wsinuc.workflows.adapt.windows import Field, field_of
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.evaluate.run import predict_labels
from wsinuc.workflows.training.folds import kin_of
from wsinuc_cli.commands.adapt import adapt as command
from wsinuc_cli.commands.adapt import measured

SHAPE = {"classes": 2, "maps": 1, "base": 4, "levels": 2, "smooth": True}
MPP = 0.5
QUICK = AdaptConfig(
    fit=FitConfig(steps=25, lr=3e-2, warmup=4, cosine=True, ema=0.9, bf16=False),
    crop=48,
    labelled=3,
    taught=2,
    augmentation=Augmentation(zoom=1.0, stain=0.0),
    shares=(0.5, 1.0),
    folds=2,
)


def annotated(seed: int, side: int = 160) -> LabelledImage:
    """Dark discs on a pale ground."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), (225, 190, 215), np.uint8)
    labels = np.zeros((side, side), np.int32)
    for y in range(16, side, 32):
        for x in range(16, side, 32):
            rows, columns = disk((y + rng.integers(-4, 5), x + rng.integers(-4, 5)), 9, shape=labels.shape)
            labels[rows, columns] = labels.max() + 1
            image[rows, columns] = (90, 60, 140)
    noisy = (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
    return LabelledImage(name=f"image{seed}", image=noisy, labels=labels, attributes={"name": f"image{seed}"}, mpp=MPP)


def fields(count: int) -> list[Field]:
    """As many images with a window each; their nuclei have classes, which a model of one class leaves alone."""
    images = [annotated(seed) for seed in range(count)]
    typed = [replace(image, classes=np.arange(image.labels.max() + 1, dtype=np.int32) % 4) for image in images]
    return [field_of(image, [Box(0, 0, 96, 96)], MPP) for image in typed]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that knows nothing."""
    torch.manual_seed(3)
    network = build_network("unet", SHAPE)
    described = NetworkConfig.describe("unet", SHAPE, mpp=MPP, separation="distance", classes=(NUCLEUS,))
    path = tmp_path_factory.mktemp("models") / "student.safetensors"
    save_checkpoint(network_checkpoint(described, network.state_dict(), {"data": "none"}), path)
    return path


@pytest.fixture(scope="module")
def joint(student: Path) -> Path:
    """The same twice, one of them enlarged, as a joint model that names its file."""
    first = load_segmenter(str(student), device="cpu")
    assert isinstance(first, NetworkSegmenter)
    sha256 = load_checkpoint(student, "segmenter").sha256
    config = JointConfig(
        members=(Member(model=str(student), sha256=sha256, sizes=("1", "3/2"), blur=3),),
        watershed=first.config.watershed,
        separation="distance",
        classes=first.classes,
        tile=192,
        margin=64,
        mpp_range=(0.1, 1.1),
    )
    path = student.with_name("joint.safetensors")
    save_checkpoint(joint_checkpoint(config, {}), path)
    return path


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: value.float() for name, value in load_checkpoint(path, "segmenter").tensors.items()}


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_an_adapted_model_is_better_on_windows_and_images_that_it_did_not_see(
    bf16: bool, student: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.safetensors"
    before = {path.name for path in tmp_path.iterdir()}
    quick = replace(QUICK, fit=replace(QUICK.fit, bf16=bf16))
    outcome = adapt(str(student), fields(3), out, quick, device="cpu")
    assert outcome.written
    assert outcome.gain is not None
    assert outcome.gain > 0.3
    assert {path.name for path in tmp_path.iterdir()} - before == {"mine.safetensors"}, "nothing else is left"
    unseen = annotated(50)
    found = {
        model: predict_labels(unseen, segmenter=load_segmenter(str(model), device="cpu")) for model in (student, out)
    }
    covered = {model: float(((labels > 0) == (unseen.labels > 0)).mean()) for model, labels in found.items()}
    assert covered[out] > covered[student] + 0.05
    origin = load_checkpoint(out, "segmenter").provenance
    assert origin["share"] == outcome.share
    assert origin["windows"] == [f"image{seed}_0_0" for seed in range(3)]
    assert origin["start"]["sha256"] == load_checkpoint(student, "segmenter").sha256
    assert np.mean(origin["held_out_aji"]["after"]) - np.mean(origin["held_out_aji"]["before"]) == pytest.approx(
        outcome.gain
    )


def test_what_is_not_better_is_not_written(student: Path, tmp_path: Path) -> None:
    idle = replace(QUICK, fit=replace(QUICK.fit, steps=1, lr=1e-12))
    out = tmp_path / "mine.safetensors"
    outcome = adapt(str(student), fields(2), out, idle, device="cpu")
    assert (outcome.written, outcome.share, outcome.gain) == (False, 0.0, 0.0)
    assert not list(tmp_path.iterdir())
    assert adapt(str(student), fields(2), out, idle, device="cpu", anyway=True).written
    assert out.exists()


def test_one_window_measures_nothing(student: Path, tmp_path: Path) -> None:
    short = replace(QUICK, fit=replace(QUICK.fit, steps=2))
    out = tmp_path / "mine.safetensors"
    outcome = adapt(str(student), fields(1), out, short, device="cpu")
    assert (outcome.written, outcome.gain, outcome.choice) == (False, None, None)
    assert not out.exists()
    outcome = adapt(str(student), fields(1), out, short, device="cpu", anyway=True)
    assert (outcome.written, outcome.share) == (True, UNMEASURED_SHARE)


def test_nuclei_in_one_window_alone_measure_nothing(student: Path, tmp_path: Path) -> None:
    blank = replace(annotated(1), labels=np.zeros((160, 160), np.int32))
    windows = [*fields(1), field_of(blank, [Box(0, 0, 96, 96)], MPP)]
    outcome = adapt(str(student), windows, tmp_path / "mine.safetensors", QUICK, device="cpu")
    assert (outcome.written, outcome.choice, outcome.empty) == (False, None, 1)
    assert "nuclei in a single window" in measured(outcome, "mine")


def test_the_figures_say_what_was_held_out_and_how_windows_without_nuclei_count() -> None:
    choice = Choice(0.5, Refit(), before=np.array([0.5, 0.7, 0.9]), after=np.array([0.6, 0.7, 1.0]))
    kin = kin_of([{"patient": name} for name in "aba"], [True, True, False])
    outcome = Outcome(windows=("a", "b", "c"), nuclei=9, empty=1, held_out=kin, choice=choice, share=0.5, written=True)
    line = measured(outcome, "mine")
    assert "held out in turn (2 patients, each whole): AJI 0.700 with mine, 0.767 adapted" in line
    assert line.endswith("better in 2, worse in 0; 1 window without nuclei: by the area that is taken for nuclei there")


def test_a_mixture_is_as_far_from_one_end_as_its_share_says(joint: Path) -> None:
    start = load_checkpoint(joint, "segmenter")
    (part,) = parts_of(start)
    tuned = {
        name: value.float() + 1 if value.is_floating_point() else value
        for name, value in part.checkpoint.tensors.items()
    }
    mixed = mixture(start, [tuned], 0.25)
    for name, value in part.checkpoint.tensors.items():
        step = 0.25 if value.is_floating_point() else 0.0
        assert torch.allclose(mixed.tensors[f"0.{name}"].float(), value.float() + step, atol=2e-3)
        assert mixed.tensors[f"0.{name}"].dtype == value.dtype


def test_a_joint_model_with_its_members_inside_is_the_same_model_in_one_file(joint: Path, tmp_path: Path) -> None:
    start = load_checkpoint(joint, "segmenter")
    path = tmp_path / "alone.safetensors"
    save_checkpoint(rebuilt(start, [part.checkpoint.tensors for part in parts_of(start)], {}), path)
    pixels = annotated(1, 192).image[None]
    expected = load_segmenter(str(joint), device="cpu").predict(pixels)
    elsewhere = tmp_path / "other" / "copied.safetensors"
    elsewhere.parent.mkdir()
    shutil.move(path, elsewhere)
    assert np.array_equal(load_segmenter(str(elsewhere), device="cpu").predict(pixels), expected)
    assert outline_model(str(elsewhere)).tile == 192
    assert model_size(elsewhere).files == (elsewhere,)
    assert model_size(elsewhere).parameters == sum(
        part.checkpoint.tensors[name].numel()
        for part in parts_of(start)
        for name in part.checkpoint.tensors
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )


def test_members_inside_that_do_not_fit_their_header_are_refused(joint: Path, tmp_path: Path) -> None:
    start = load_checkpoint(joint, "segmenter")
    whole = rebuilt(start, [part.checkpoint.tensors for part in parts_of(start)], {})
    path = tmp_path / "damaged.safetensors"
    save_checkpoint(replace(whole, tensors=dict(list(whole.tensors.items())[1:])), path)
    with pytest.raises(CheckpointError, match="is missing"):
        load_segmenter(str(path), device="cpu")
    save_checkpoint(replace(whole, tensors=whole.tensors | {"7.more": torch.zeros(2)}), path)
    with pytest.raises(CheckpointError, match=r"'7\.more' belong to none of its members"):
        load_segmenter(str(path), device="cpu")
    save_checkpoint(replace(whole, config=whole.config | {"inside": [*whole.config["inside"]] * 2}), path)
    with pytest.raises(CheckpointError, match="members lie inside, or none, got 2"):
        load_segmenter(str(path), device="cpu")


def test_a_joint_model_is_adapted_as_a_whole(joint: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    outcome = adapt(
        str(joint), fields(2), out, replace(QUICK, fit=replace(QUICK.fit, steps=3)), anyway=True, device="cpu"
    )
    assert outcome.written
    config = load_checkpoint(out, "segmenter").config
    assert config["method"] == "joint"
    assert len(config["inside"]) == 1
    assert predict_labels(annotated(50), segmenter=load_segmenter(str(out), device="cpu")).shape == (160, 160)


def test_a_denoiser_is_tuned_with_its_classifiers_in_fewer_steps(tmp_path: Path) -> None:
    torch.manual_seed(1)
    shape = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)
    features = FeatureConfig(timesteps=(0,), blocks=(1, 2))
    unet = UNet(shape)
    channels = FeatureExtractor(unet, GaussianDiffusion(named_betas("linear")), features).channels
    ensemble = EnsembleConfig(channels=tuple(channels.items()), classes=2, maps=1, members=2, hidden=8, inner=8)
    described = DdpmConfig(
        unet=shape,
        features=features,
        ensemble=ensemble,
        watershed=WatershedSettings(mpp=MPP),
        separation="distance",
        classes=(NUCLEUS,),
        tile=128,
    )
    start = DdpmSegmenter(described, unet, PixelClassifierEnsemble(ensemble), device=torch.device("cpu"))
    path = tmp_path / "a.safetensors"
    save_checkpoint(start.to_checkpoint({}), path)
    lines: list[str] = []
    out = tmp_path / "mine.safetensors"
    config = replace(QUICK, fit=replace(QUICK.fit, steps=10))
    adapt(str(path), fields(1), out, config, anyway=True, device="cpu", on_event=lines.append)
    assert "step 2 " in lines[-1], "a fifth of the steps"
    before = weights(path)
    after = weights(out)
    assert before.keys() == after.keys()
    moved = {name.split(".")[0] for name, value in before.items() if (value - after[name]).abs().max() > 1e-4}
    assert moved == {"denoiser", "ensemble"}
    assert load_segmenter(str(out), device="cpu").mpp == MPP


@pytest.mark.parametrize(
    ("method", "says"),
    [("typed", "give it classes again"), ("measured", "give it classes again"), ("hovernet", "train it anew")],
)
def test_other_kinds_of_models_are_refused(method: str, says: str, tmp_path: Path) -> None:
    model = Checkpoint(kind="segmenter", config={"method": method}, provenance={}, tensors={"a": torch.zeros(1)})
    with pytest.raises(ConfigError, match=f"method '{method}': .*{says}"):
        parts_of(model)
    # Before its classes are asked for, and so before anything is read of the data.
    save_checkpoint(model, tmp_path / "base.safetensors")
    with pytest.raises(ConfigError, match=f"method '{method}': .*{says}"):
        adapt(str(tmp_path / "base.safetensors"), [], tmp_path / "x.safetensors", QUICK)
    words = [str(tmp_path / "base.safetensors"), str(tmp_path), "-o", str(tmp_path / "x.safetensors")]
    refused = CliRunner().invoke(command, words)
    assert says in str(refused.exception)


def test_windows_without_nuclei_or_of_one_name_are_refused(student: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mine tells A, B apart, and the windows have Nucleus"):
        check_classes(["A", "B"], ["Nucleus"], "mine")
    blank = replace(annotated(1), labels=np.zeros((160, 160), np.int32))
    with pytest.raises(DataError, match="no annotated nucleus"):
        adapt(str(student), [field_of(blank, [Box(0, 0, 96, 96)], MPP)], tmp_path / "a.safetensors", QUICK)
    with pytest.raises(DataError, match="two windows are called 'image0_0_0'"):
        adapt(str(student), fields(1) * 2, tmp_path / "a.safetensors", QUICK)


def test_a_plan_asks_the_model_of_one_field_and_counts_all(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sight] = []
    scores = Sight.scores

    def counted(sight: Sight) -> NDArray[np.uint8]:
        asked.append(sight)
        time.sleep(0.2)
        return scores(sight)

    monkeypatch.setattr(Sight, "scores", counted)
    windows = tuple(fields(2))
    # PyTorch's first steps are slower than others.
    adapt_cost(str(student), Material(windows, ()), QUICK, device="cpu")
    small = adapt_cost(str(student), Material(windows, ()), QUICK, device="cpu")
    large = adapt_cost(str(student), Material(windows, windows * 20), QUICK, device="cpu")
    assert len(asked) == 3
    # Forty fields more, of 0.2 s and something each; steps vary by some tenths.
    assert large.seconds - small.seconds > 0.5 * 40 * 0.2


def test_the_command_says_what_it_measured(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsinuc.workflows.adapt.config.AdaptConfig", lambda: QUICK)
    data = write_images(tmp_path / "set", [annotated(seed, 96) for seed in range(2)])
    rest = write_images(tmp_path / "rest", [annotated(9)])
    out = tmp_path / "mine.safetensors"
    given = [str(student), str(data), "--mpp", str(MPP), "-o", str(out), "--device", "cpu"]
    planned = CliRunner().invoke(command, [*given, "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "2 windows, tuned 3 times for 25 steps" in planned.output
    assert not out.exists()
    idle = CliRunner().invoke(command, [*given, "--steps", "1", "--lr", "1e-12"])
    assert idle.exit_code == 0, idle.output
    assert "held out in turn (2 windows; patients are not known): AJI 0" in idle.output
    assert "(+0.000, standard error 0.000); better in 0, worse in 0" in idle.output
    assert "Nothing was written: the model as it is does as well" in idle.output
    done = CliRunner().invoke(command, [*given, "--steps", "15", "--rest", str(rest / "images")])
    assert done.exit_code == 0, done.output
    assert "better in 2, worse in 0" in done.output
    assert f"Written to {out}" in done.output
    assert out.exists()
