"""``wsinuc train`` as a user types it: data sets in, a model that ``segment`` loads out, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from helpers.files.datasets import write_set
from helpers.files.denoisers import SMALL, write_denoiser
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import parse_conditions
from wsinuc.datasets.sampling.split import Split
from wsinuc.errors import CheckpointError, ConfigError, DataError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.networks.attention_unet import AttentionUNet, AttentionUNetConfig
from wsinuc.models.networks.unet import UNet
from wsinuc.segmenters import load_segmenter, shipped
from wsinuc.workflows.data.training_set import NUCLEUS, ImageSelection, gather_training_set
from wsinuc.workflows.train import ddpm, networks
from wsinuc_cli.commands.train import train
from wsinuc_cli.texts.next_command import after_few_windows

EVERYTHING = ImageSelection(wanted={}, unwanted={})
DDPM = ["--timesteps", "10", "--blocks", "1,2", "--visits", "1", "--members", "2"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set")


def run(*arguments: object):
    return CliRunner().invoke(train, [*map(str, arguments), "--device", "cpu"])


def no_threshold(segmenter: object, images: object) -> float:
    """In place of the search for one, which scores a whole tile."""
    return 0.5


@pytest.fixture(scope="module")
def pixel_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of method A that has learned from one small patch; its denoiser lies beside it."""
    folder = tmp_path_factory.mktemp("pixel model")
    start = write_denoiser(folder / "denoiser.safetensors", UNet(SMALL))
    few = ["--few", 1, "--patch", 32]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ddpm, "fit_threshold", no_threshold)
        done = run(write_set(folder / "set"), "--denoiser", start, *DDPM, *few, "-o", folder / "model.safetensors")
    assert done.exit_code == 0, done.output
    return folder / "model.safetensors"


METHODS = {
    "ddpm": [*DDPM, "--folds", "0"],
    "finetune": ["--steps", "2", "--crop", "32", "--batch", "2"],
    "hovernet": ["--steps", "1", "--crop", "112", "--batch", "1", "--width", "0.0625"],
    "unet": ["--steps", "2", "--crop", "32", "--batch", "2", "--base", "8"],
}

PATCHES = {"ddpm": 32, "finetune": 64, "hovernet": 64, "unet": 64}
"""Of the pixels of a patch method A learns from every single one."""


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_a_model_that_loads(
    method: str, data: Path, denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method != "unet":  # of all networks it is the smallest that searches
        monkeypatch.setattr(networks, "fit_threshold", no_threshold)
    out = tmp_path / "model.safetensors"
    start = ["--denoiser", denoiser] if method in ("ddpm", "finetune") else []
    few = ["--few", 2, "--patch", PATCHES[method], "--seed", 3]
    done = run(data, "--method", method, *few, *start, *METHODS[method], "-o", out)
    assert done.exit_code == 0, done.output
    assert "2 images" in done.output
    segmenter = load_segmenter(str(out), device="cpu")
    assert segmenter.classes == (NUCLEUS,)
    assert segmenter.mpp == 0.5
    provenance = load_checkpoint(out, "segmenter").provenance
    assert provenance["data"][0]["few"] == 2
    drawn = Split.load(tmp_path / "model.split.json")
    assert [box.shape for _, box in drawn.parts["train"]] == [(PATCHES[method], PATCHES[method])] * 2


def test_the_noise_schedule_of_the_denoiser_is_kept(pixel_model: Path) -> None:
    segmenter = load_segmenter(str(pixel_model), device="cpu")
    assert segmenter.config.betas == "quadratic"  # type: ignore[attr-defined]
    assert segmenter.extractor.process.betas[0] == pytest.approx(1e-4)  # type: ignore[attr-defined]
    assert float(segmenter.extractor.process.betas[1]) < 1.1e-4  # type: ignore[attr-defined]


def test_method_d_tunes_its_own_network_and_a_leaves_it_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "fit_threshold", no_threshold)
    start = write_denoiser(
        tmp_path / "d.safetensors", AttentionUNet(AttentionUNetConfig(dim=16, heads=2, head_width=8))
    )
    out = tmp_path / "model.safetensors"
    done = run(data, "--method", "finetune", "--denoiser", start, *METHODS["finetune"], "-o", out)
    assert done.exit_code == 0, (done.output, done.exception)
    assert load_segmenter(str(out), device="cpu").config.method == "finetune"  # type: ignore[attr-defined]
    refused = run(data, "--denoiser", start, *DDPM, "-o", out)
    assert "use the method finetune" in str(refused.exception)


def test_from_scratch_takes_the_shape_only(
    data: Path, denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "fit_threshold", no_threshold)
    first = {}
    for name, option in (("tuned", []), ("scratch", ["--from-scratch"])):
        out = tmp_path / f"{name}.safetensors"
        settings = ["--steps", "1", "--crop", "32", "--batch", "1", "--lr", "1e-9", "--few", "1", "--patch", "32"]
        assert run(data, "--method", "finetune", "--denoiser", denoiser, *settings, *option, "-o", out).exit_code == 0
        first[name] = load_checkpoint(out, "segmenter").tensors
    key = next(name for name in first["tuned"] if name.endswith("stem.weight"))
    start = load_checkpoint(denoiser, "denoiser").tensors["stem.weight"]
    assert torch.allclose(first["tuned"][key].float(), start, atol=1e-3)
    assert not torch.allclose(first["scratch"][key].float(), start, atol=1e-2)


def test_features_come_from_a_sweep(
    data: Path, denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddpm, "fit_threshold", no_threshold)
    best = tmp_path / "best.json"
    best.write_text(json.dumps({"timesteps": [7], "blocks": [2], "dice": 0.5}))
    out = tmp_path / "model.safetensors"
    few = ["--few", 1, "--patch", 32, "--visits", 1, "--members", 1]
    done = run(data, "--denoiser", denoiser, "--features", best, *few, "-o", out)
    assert done.exit_code == 0, done.output
    features = load_checkpoint(out, "segmenter").config["features"]
    assert (features["timesteps"], features["blocks"]) == ([7], [2])
    best.write_text("[]")
    assert "no best.json" in str(run(data, "--denoiser", denoiser, "--features", best, "-o", out).exception)


def test_dry_run_trains_nothing_and_says_what_it_takes(data: Path, denoiser: Path, tmp_path: Path) -> None:
    done = run(data, "--denoiser", denoiser, *DDPM, "--dry-run", "-o", tmp_path / "model.safetensors")
    assert done.exit_code == 0, done.output
    assert "3 images, 12 nuclei; classes: Nucleus" in done.output
    assert "64 features (t = 10; blocks 1, 2), 2 classifiers, 1 views of each image" in done.output
    assert "M parameters to learn" in done.output
    network = run(data, "--method", "unet", "--base", 8, "--dry-run", "-o", tmp_path / "model.safetensors")
    assert network.exit_code == 0, network.output
    assert "2000 steps of 8 crops of 128 px at 0.5 um per px" in network.output
    assert not (tmp_path / "model.safetensors").exists()


def test_dry_run_opens_what_it_is_given(data: Path, denoiser: Path, tmp_path: Path) -> None:
    beyond = run(data, "--denoiser", denoiser, "--dry-run", "-o", tmp_path / "model.safetensors")
    assert "decoder blocks run from 0 to 3" in str(beyond.exception)
    missing = run(data, "--denoiser", tmp_path / "none", *DDPM, "--dry-run", "-o", tmp_path / "m.safetensors")
    assert missing.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "unet", "--timesteps", "50"], "--timesteps means nothing to --method unet"),
        (["--denoiser", "d", "--crop", "64"], "--crop means nothing to --method ddpm"),
        (["--denoiser", "d", "--timesteps", "fifty"], "whole numbers"),
        (["--method", "unet", "--split", "s.json", "--validation", "train"], "are both 'train'"),
    ],
)
def test_mistakes_on_the_command_line(data: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(data, *arguments, "-o", tmp_path / "model.safetensors")
    assert done.exit_code == 2
    assert message in done.output


def test_without_a_denoiser_the_shipped_one_is_taken(
    data: Path, denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    out = tmp_path / "model.safetensors"
    for method in ("ddpm", "finetune"):
        shown = run(data, "--method", method, *METHODS[method], "--dry-run", "-o", out)
        assert shown.exit_code == 0, shown.output
    denoiser.unlink()
    missing = run(data, *DDPM, "-o", out)
    assert isinstance(missing.exception, CheckpointError)
    assert "ships no denoiser (denoiser.safetensors is not there)" in str(missing.exception)


def test_the_denoiser_of_a_trained_model_serves_again(
    data: Path, pixel_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddpm, "fit_threshold", no_threshold)
    out = tmp_path / "again.safetensors"
    done = run(data, "--denoiser", pixel_model, "--dry-run", "-o", out)
    assert "64 features (t = 10; blocks 1, 2)" in done.output
    few = ["--few", 1, "--patch", 32, "--visits", 1, "--folds", 0]
    done = run(data, "--denoiser", pixel_model, *few, "-o", out)
    assert done.exit_code == 0, done.output
    first, again = (load_checkpoint(path, "segmenter") for path in (pixel_model, out))
    assert again.config["features"] == first.config["features"]
    assert torch.equal(again.tensors["denoiser.stem.weight"], first.tensors["denoiser.stem.weight"])
    assert again.provenance["denoiser"]["sha256"] == first.sha256


def test_a_few_windows_measure_themselves(data: Path, denoiser: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    done = run(data, "--denoiser", denoiser, *DDPM, "-o", out)
    assert done.exit_code == 0, done.output
    assert "a model predicts it that has not seen it (3 folds of 3 patients, each whole):" in done.output
    rows = done.output.splitlines()[-5:-1]
    assert [row.split()[0] for row in rows] == ["folder/i0", "folder/i1", "folder/i2", "all"]
    assert done.output.splitlines()[-1].endswith(f"Next: wsinuc segment SLIDE --model {out}")
    assert "folder/i1" in (tmp_path / "mine.windows.html").read_text(encoding="utf-8")
    model = load_checkpoint(out, "segmenter")
    assert model.provenance["cross_validation"]["windows"] == 3
    assert 0.2 <= model.config["watershed"]["foreground_threshold"] <= 0.8
    assert load_segmenter(str(out), device="cpu").mpp == 0.5


def test_one_window_cannot_measure_itself(data: Path, denoiser: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ddpm, "fit_threshold", no_threshold)
    few = ["--few", 1, "--patch", 32]
    done = run(data, "--denoiser", denoiser, *DDPM, *few, "-o", tmp_path / "mine.safetensors")
    assert "could not measure itself, because there is none that it has not seen" in done.output
    assert not (tmp_path / "mine.windows.html").exists()
    asked = run(data, "--denoiser", denoiser, *DDPM, *few, "--folds", 2, "-o", tmp_path / "mine.safetensors")
    assert "annotate a second one" in str(asked.exception)


def test_the_next_command_names_the_slide_of_the_windows(tmp_path: Path) -> None:
    slide = tmp_path / "a slide.svs"
    slide.write_bytes(b"")
    model = Path("mine.safetensors")
    assert after_few_windows(str(slide), None, model) == f"wsinuc segment '{slide}' --model mine.safetensors"
    assert after_few_windows(f"{slide}=a.geojson", 0.25, model).endswith("' --mpp 0.25 --model mine.safetensors")
    (tmp_path / "slides.csv").write_text("slide,annotations\n")
    for source in (tmp_path, tmp_path / "slides.csv"):
        assert after_few_windows(str(source), 0.25, model) == "wsinuc segment SLIDE --model mine.safetensors"


def test_several_sets_are_mixed_when_their_classes_agree(tmp_path: Path) -> None:
    one, two = (write_set(tmp_path / name, images=2, classes=("tumor", "other")) for name in "ab")
    both = gather_training_set([str(one), str(two)], mpp=None, selection=EVERYTHING)
    assert len(both.images) == 4
    assert [c.name for c in both.classes] == ["tumor", "other"]
    turned = write_set(tmp_path / "d", images=1, classes=("Other", "tumor"))
    mixed = gather_training_set([str(one), str(turned)], mpp=None, selection=EVERYTHING)
    assert mixed.images[-1].classes.tolist() == [0, 1, 2, 1, 2], "label 1 is a tumor there, too"
    assert mixed.notes == (f"{turned}: the class 'Other' is taken for 'other'",)
    third = write_set(tmp_path / "c", classes=("tumor", "lymphocyte"))
    with pytest.raises(DataError, match=r"tumor, other, .*tumor, lymphocyte; give both the same"):
        gather_training_set([str(one), str(third)], mpp=None, selection=EVERYTHING)


def test_points_teach_no_outlines(tmp_path: Path) -> None:
    for name in ("images", "points"):
        (tmp_path / "nucls" / name).mkdir(parents=True)
    Image.fromarray(np.full((32, 32, 3), 200, np.uint8)).save(tmp_path / "nucls" / "images" / "a.png")
    (tmp_path / "nucls" / "points" / "a.csv").write_text("x,y,class\n4,5,0\n")
    with pytest.raises(DataError, match="no outlines to learn from"):
        gather_training_set([f"nucls={tmp_path / 'nucls'}"], mpp=0.2, selection=EVERYTHING)


def test_selection_by_split_and_attribute(data: Path, tmp_path: Path) -> None:
    dataset = open_dataset(data)
    split = Split(parts={"train": (("i0", None), ("i1", None)), "test": (("i2", None),)}, dataset="folder", seed=0)
    split.save(tmp_path / "split.json")
    chosen = ImageSelection(
        wanted={}, unwanted=parse_conditions(["patient=p0"]), split=tmp_path / "split.json", part="train"
    )
    found = gather_training_set([str(data)], mpp=None, selection=chosen)
    assert [image.name for image in found.images] == ["folder/i1"]
    assert len(dataset) == 3


def test_nothing_is_chosen_from_what_is_added(data: Path, tmp_path: Path) -> None:
    chosen = ImageSelection(wanted=parse_conditions(["patient=p0"]), unwanted={}, few=1, patch=32)
    more = write_set(tmp_path / "made", images=4)
    alone = gather_training_set([str(data)], mpp=None, selection=chosen)
    both = gather_training_set([str(data)], mpp=None, selection=chosen, whole=[str(more)])
    assert (len(alone.images), len(both.images)) == (1, 5)
    assert both.weights is None
    third = gather_training_set([str(data)], mpp=None, selection=chosen, whole=[str(more)], whole_share=0.3)
    assert third.weights is not None
    assert len(third.weights) == 5
    assert sum(third.weights[:1]) == pytest.approx(0.7)
    assert sum(third.weights[1:]) == pytest.approx(0.3)
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        gather_training_set([str(data)], mpp=None, selection=chosen, whole_share=0.3)
    assert [origin["few"] for origin in both.origin] == [1, None]
    done = run(
        data,
        "--few",
        1,
        "--patch",
        32,
        "--add",
        more,
        "--add-share",
        0.3,
        "--method",
        "unet",
        "--steps",
        1,
        "--crop",
        32,
        "--base",
        8,
        "-o",
        tmp_path / "m.safetensors",
    )
    assert done.exit_code == 0, done.output
