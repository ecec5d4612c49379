"""What all trainings have in common on the command line: DATA, a dry run that opens every file, a hint that runs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from helpers.files.datasets import write_set
from wsinuc.datasets.sampling.split import Split
from wsinuc.segmenters.shipped import shipped_path
from wsinuc_cli.main import main
from wsinuc_cli.texts.next_command import (
    after_denoiser,
    after_distilling,
    after_sweep,
    measuring_command,
    next_command,
)

TRAININGS = ("pretrain", "train", "classify", "join", "distill", "sweep")
CHOSEN = {"mpp": 0.5, "model_mpp": 0.25, "split": Path("s.json"), "part": "test", "wanted": ("a=1",), "unwanted": ()}


def parsed(line: str) -> click.Context:
    """The command of a hint with its options, as the command line takes them apart; raises for wrong usage."""
    program, name, *words = shlex.split(line)
    assert program == "wsinuc"
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command.make_context(name, words)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_set(tmp_path / "my set")


@pytest.mark.parametrize("name", TRAININGS)
def test_data_is_an_argument_and_there_is_a_dry_run(name: str):
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert any(isinstance(each, click.Argument) and "DATA" in (each.metavar or "") for each in command.params)
    assert "dry_run" in {each.name for each in command.params}


@pytest.mark.parametrize(
    ("preset", "method", "of"),
    [("cpu", "ddpm", "quick"), ("paper", "ddpm", "paper"), ("genselfdiff", "finetune", "quick")],
)
def test_after_a_denoiser_a_segmenter_is_trained_on_the_same_images(preset: str, method: str, of: str, data: Path):
    options = {**CHOSEN, "unwanted": ("b=2", "c=3")}
    hint = parsed(after_denoiser(Path("d.safetensors"), ("slide.svs", str(data)), preset, options)).params
    assert hint["data"] == (str(data),)
    assert (hint["method"], hint["preset"], hint["denoiser"]) == (method, of, "d.safetensors")
    assert (hint["mpp"], hint["split"], hint["part"]) == (0.5, Path("s.json"), "test")
    assert (hint["wanted"], hint["unwanted"]) == (("a=1",), ("b=2", "c=3"))


def test_slides_alone_leave_the_data_to_the_user(tmp_path: Path):
    slide = tmp_path / "slide.png"
    Image.new("RGB", (64, 64)).save(slide)
    assert parsed(after_denoiser(Path("d.safetensors"), (str(slide),), "cpu", CHOSEN)).params["data"] == ("DATA",)


@pytest.mark.parametrize("method", ["nudiff-structure", "nudiff-image", "cosyn"])
def test_after_a_generator(method: str):
    hint = parsed(next_command(method, Path("g.safetensors"), ("one", "two"), "small", None, CHOSEN))
    assert hint.info_name == ("pretrain" if method == "nudiff-structure" else "synthesize")


def test_after_a_sweep_its_features_are_trained_on(tmp_path: Path, data: Path):
    (tmp_path / "best.json").write_text(json.dumps({"timesteps": [5], "blocks": [1], "denoiser": "d x.safetensors"}))
    options = {"mpp": 0.5, "regions": None, "split": None, "part": "train"}
    hint = parsed(after_sweep(str(data), tmp_path, options)).params
    assert (hint["denoiser"], hint["features"]) == ("d x.safetensors", tmp_path / "best.json")
    # What the sweep has scored on, and the rest of the split, is no training data.
    hint = parsed(after_sweep(str(data), tmp_path, options | {"split": Path("s.json"), "part": "few"})).params
    assert (hint["split"], hint["part"]) == (Path("s.json"), "few")
    # A shipped one is named, wherever its file lies.
    best = {"timesteps": [5], "blocks": [1], "denoiser": str(shipped_path("diffusion"))}
    (tmp_path / "best.json").write_text(json.dumps(best))
    assert parsed(after_sweep(str(data), tmp_path, options)).params["denoiser"] == "diffusion"


def test_after_distilling_the_student_is_measured_or_shown(tmp_path: Path, data: Path):
    slide = tmp_path / "slide.png"
    Image.new("RGB", (64, 64)).save(slide)
    measured = parsed(after_distilling((str(slide),), (str(data),), 0.5, Path("s.safetensors")))
    assert (measured.info_name, measured.params["model"]) == ("evaluate", "s.safetensors")
    assert parsed(after_distilling((str(slide),), (), None, Path("s.safetensors"))).info_name == "segment"


def test_after_a_training_images_that_it_has_not_seen_measure_the_model(tmp_path: Path, data: Path):
    model = Path("m.safetensors")
    taught = {"mpp": 0.5, "split": None, "part": "train", "wanted": (), "unwanted": ()}

    def hint(**options: object) -> dict[str, object]:
        context = parsed(measuring_command(str(data), taught | options, model))
        assert (context.info_name, context.params["model"]) == ("evaluate", "m.safetensors")
        return context.params

    assert hint()["data"] == "OTHER_DATA"
    kept_back = hint(unwanted=("patient=09,10",))
    assert (kept_back["data"], kept_back["mpp"], kept_back["wanted"]) == (str(data), 0.5, ("patient=09,10",))
    assert hint(wanted=("patient=01",))["unwanted"] == ("patient=01",)
    # Of two conditions nobody knows which one keeps images back.
    assert hint(wanted=("patient=01",), unwanted=("organ=brain",))["data"] == "OTHER_DATA"
    split = tmp_path / "split.json"
    Split(parts={"train": (), "validation": (), "test": ()}, dataset="folder", seed=0).save(split)
    part = hint(split=split, validation="validation")
    assert (part["split"], part["part"]) == (split, "test")
    Split(parts={"train": ()}, dataset="folder", seed=0).save(split)
    assert hint(split=split)["data"] == "OTHER_DATA"


def dry(*words: object) -> str:
    done = CliRunner().invoke(main, [*map(str, words), "--device", "cpu", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "to learn" in done.output
    return done.output


def test_a_dry_run_of_a_sweep_counts_its_choices(data: Path, denoiser: Path, tmp_path: Path):
    words = ["sweep", data, "--where", "patient=p0", "--denoiser", denoiser, "-o", tmp_path / "out"]
    assert "10 choices of 2 denoisers" in dry(*words, "--denoiser", denoiser)
    assert "2 choices of 1 denoisers" in dry(*words, "--timesteps", "5", "--blocks", "1;1,2")
    assert not (tmp_path / "out").exists()
    beyond = CliRunner().invoke(main, [*map(str, words), "--blocks", "9", "--dry-run"])
    assert "decoder blocks run from 0 to 3" in beyond.output


def test_a_dry_run_of_joint_generators_knows_their_size(data: Path, tmp_path: Path):
    said = dry("pretrain", data, "--method", "cosyn", "-o", tmp_path / "c.safetensors")
    assert "20000 steps of 4 patches" in said
    assert "GiB of memory" in said


def test_a_dry_run_opens_the_weights_to_start_from(data: Path, denoiser: Path, tmp_path: Path):
    words = ["pretrain", data, "-o", tmp_path / "d.safetensors", "--init", denoiser]
    refused = CliRunner().invoke(main, [*map(str, words), "--dry-run"])
    assert refused.exit_code == 1
    assert "another shape" in refused.output
    assert "tensors fit" in dry(*words, "--method", "nudiff-image", "--base", 32)


def test_a_dry_run_counts_what_is_tuned(data: Path, denoiser: Path, tmp_path: Path):
    words = ["train", data, "--denoiser", denoiser, "--blocks", "1,2", "-o", tmp_path / "m.safetensors"]
    assert "tuned together for 40 steps" in dry(*words, "--tune", 30)


@pytest.mark.parametrize("name", ["pretrain", "train", "join"])
def test_a_dry_run_looks_for_the_folder_of_its_output(name: str, data: Path, tmp_path: Path):
    more = ["--method", "unet"] if name == "train" else []
    words = [name, data, *more, "-o", tmp_path / "absent" / "m.safetensors", "--dry-run"]
    assert "there is no folder" in CliRunner().invoke(main, [*map(str, words)]).output
