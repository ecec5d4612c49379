"""``wsinuc pretrain --method``: which options reach which training, and which are refused."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.files.datasets import write_set
from helpers.files.generators import write_cosyn, write_nudiff
from wsinuc.datasets import open_dataset
from wsinuc.datasets.sampling.split import Split, few_patches
from wsinuc.errors import ConfigError, DataError
from wsinuc.models.checkpoints.generators import load_structure_model
from wsinuc.workflows.data.training_set import ImageSelection, gather_training_set
from wsinuc.workflows.generators import cosyn as train_cosyn
from wsinuc.workflows.generators import nudiff as train_nudiff
from wsinuc.workflows.generators import report as generator_report
from wsinuc_cli.commands.pretrain.settings import METHODS, presets, pretrain_config
from wsinuc_cli.main import main
from wsinuc_cli.texts.next_command import next_command

pytestmark = pytest.mark.usefixtures("unpainted")
SHORT = ["--steps", "1", "--patch", "16", "--batch", "1"]


@pytest.fixture(autouse=True)
def quick_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of samples in two steps of the sampler."""
    monkeypatch.setattr(generator_report, "SAMPLING_STEPS", 2)


def pretrain(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["pretrain", *map(str, arguments)])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What reaches the training, which does not take place."""
    seen: list[tuple[Any, ...]] = []

    def train(kind: str, images: Any, out: Path, config: Any, **options: Any) -> None:
        seen.append((kind, images, out, config, options))

    monkeypatch.setattr(train_nudiff, "train_generator", train)
    return seen


def test_a_generator_is_trained_from_data_sets(tmp_path: Path) -> None:
    data, out = write_set(tmp_path / "data", images=2), tmp_path / "out.safetensors"
    result = pretrain(data, "--method", "nudiff-structure", "-o", out, "--device", "cpu", *SHORT)
    assert result.exit_code == 0, result.output
    assert "2 images, 8 nuclei" in result.output
    assert load_structure_model(out).config["size"] == 16


def test_options_reach_the_training(tmp_path: Path, calls: list[tuple[Any, ...]]) -> None:
    data, out = write_set(tmp_path / "data"), tmp_path / "out.safetensors"
    chosen = ["--where", "patient=p0,p1", "--where-not", "patient=p1", "--device", "cpu"]
    settings = [
        "--steps",
        "50",
        "--batch",
        "2",
        "--lr",
        "0.01",
        "--drop-rate",
        "0.3",
        "--seed",
        "4",
        "--model-mpp",
        "0.25",
    ]
    result = pretrain(
        data, "--method", "nudiff-image", "-o", out, *chosen, *settings, "--learn-variance", "--base", "64"
    )
    assert result.exit_code == 0, result.output
    ((kind, images, path, config, options),) = calls
    assert (kind, path) == ("nudiff-image", out)
    assert [image.name for image in images] == ["folder/i0"]
    assert (config.fit.steps, config.fit.lr, config.batch, config.mpp, config.seed) == (50, 0.01, 2, 0.25, 4)
    assert (config.drop_rate, config.drop_from) == (0.3, 25)
    assert (config.network.base, config.network.out_channels) == (64, 6)
    assert options["session"].device == "cpu"
    assert options["provenance"]["data"][0]["images"] == ["i0"]


def test_dry_run_says_what_it_takes_and_writes_nothing(tmp_path: Path, calls: list[tuple[Any, ...]]) -> None:
    data, out = write_set(tmp_path / "data"), tmp_path / "out.safetensors"
    result = pretrain(data, "--method", "nudiff-image", "--preset", "paper", "-o", out, "--device", "cpu", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "652.08 M parameters to learn" in result.output
    assert "300000 steps of 1 patches" in result.output
    assert not calls
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "nudiff-image", "--memory", "2"], "--memory means nothing to --method nudiff-image"),
        (["--method", "nudiff-structure", "--drop-rate", "0.2"], "--drop-rate means nothing"),
        (["--method", "cosyn", "--learn-variance"], "--learn-variance means nothing to --method cosyn"),
        (["--fraction", "0.1"], "--fraction means nothing to --method ddpm"),
        (["--method", "nudiff-image", "--without", "text"], "--without means nothing to --method nudiff-image"),
        (["--tissue", "breast"], "--tissue means nothing to --method ddpm"),
        (["--method", "text-encoder", "--preset", "genselfdiff"], "text-encoder has cpu and small"),
        (["--method", "nudiff-image", "--preset", "genselfdiff"], "genselfdiff is of --method ddpm"),
    ],
)
def test_options_of_other_methods_are_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = pretrain(tmp_path, "-o", tmp_path / "out.safetensors", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("|", " ").split())


def test_steps_and_images_seen_are_one_setting() -> None:
    assert pretrain_config("nudiff-structure", "cpu", {"images_seen": 80}).fit.steps == 20
    with pytest.raises(ConfigError, match="say the same"):
        pretrain_config("nudiff-structure", "cpu", {"images_seen": 80, "steps": 3})


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_is_overlaid_with_just_what_was_given(method: str) -> None:
    """Whatever the method, and fields that must suit each other are checked together."""
    for name, preset in presets(method).items():
        assert pretrain_config(method, name, {}) == preset
        config = pretrain_config(method, name, {"accumulate": 3, "batch": 6, "lr": 0.5, "steps": 7, "seed": 0})
        assert config == replace(
            preset.lasting(7), batch=6, fit=replace(preset.lasting(7).fit, accumulate=3, lr=0.5), seed=0
        )
    with pytest.raises(ConfigError, match="no preset"):
        pretrain_config(method, "absent", {})


def test_a_patch_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    data = write_set(tmp_path / "data", images=1)
    result = pretrain(data, "--method", "nudiff-image", "-o", tmp_path / "out.safetensors", "--patch", "100")
    assert result.exit_code == 1
    assert result.output.startswith("error: patches must be a multiple of 8 px")


def test_a_fraction_of_the_patches_is_taken_and_recorded(
    tmp_path: Path, calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for the features and the clustering: what is asked of them, and what becomes of their answer."""
    asked = []

    def choose(dataset: Any, network: Any, config: SimpleNamespace) -> SimpleNamespace:
        asked.append(config)
        return SimpleNamespace(split=few_patches(dataset, 2, size_px=48, seed=0))

    monkeypatch.setattr("wsinuc.workflows.data.training_set.choose_subset", choose)
    monkeypatch.setattr("wsinuc.workflows.data.training_set.load_feature_network", lambda path, device: None)
    data, out = write_set(tmp_path / "data"), tmp_path / "out.safetensors"
    result = pretrain(
        data, "--method", "nudiff-image", "-o", out, "--fraction", "0.1", "--seed", "3", "--device", "cpu"
    )
    assert result.exit_code == 0, result.output
    assert (asked[0].fraction, asked[0].seed, asked[0].size_px, asked[0].stride) == (0.1, 3, 256, 128)
    ((_, images, _, _, options),) = calls
    assert [image.labels.shape for image in images] == [(48, 48)] * 2
    assert options["provenance"]["data"][0]["fraction"] == 0.1
    written = Split.load(tmp_path / "out.split.json").of(open_dataset(str(data)), "train")
    assert [len(image.labels) for image in written] == [48, 48]


def test_a_fraction_is_of_one_data_set_and_not_a_number_too(tmp_path: Path) -> None:
    everything = {"wanted": {}, "unwanted": {}}
    with pytest.raises(DataError, match="--fraction"):
        gather_training_set(["a", "b"], mpp=None, selection=ImageSelection(fraction=0.1, **everything))
    with pytest.raises(ConfigError, match="not both"):
        gather_training_set(["a"], mpp=None, selection=ImageSelection(fraction=0.1, few=2, **everything))


def closing_command(result: Result) -> list[str]:
    """The arguments of the command that the last line recommends."""
    assert result.exit_code == 0, result.output
    said = shlex.split(result.output.splitlines()[-1].partition("Next: ")[2])
    assert said[0] == "wsinuc"
    return said[1:]


CHOSEN = ["--where", "patient=p0,p1", "--where-not", "patient=p1", "--mpp", "0.5", "--device", "cpu"]


def test_after_structures_the_closing_line_trains_images_on_the_same_data(
    tmp_path: Path, calls: list[tuple[Any, ...]]
) -> None:
    data, split = write_set(tmp_path / "my data"), tmp_path / "split.json"
    few_patches(open_dataset(str(data)), 3, size_px=48, seed=0).save(split)
    options = [*CHOSEN, "--split", split, "--preset", "small", "--model-mpp", "0.3"]
    result = pretrain(data, "--method", "nudiff-structure", "-o", tmp_path / "s.safetensors", *options)
    again = CliRunner().invoke(main, [*closing_command(result), "--device", "cpu"])
    assert again.exit_code == 0, again.output
    (_, first, _, config, _), (kind, second, _, other, _) = calls
    assert kind == other.kind == "nudiff-image"
    assert [image.name for image in first] == [image.name for image in second]
    assert (config.mpp, config.network.base) == (other.mpp, other.network.base) == (0.3, 64)


@pytest.mark.parametrize("method", ["nudiff-image", "cosyn"])
def test_after_images_the_closing_line_makes_some(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is printed but for the time that it takes; only the training is a stand-in."""
    data, out = write_set(tmp_path / "my data"), tmp_path / "out.safetensors"

    def train(*arguments: Any, **options: Any) -> None:
        shutil.copy(write_nudiff(tmp_path)[1], out) if method != "cosyn" else write_cosyn(out)

    monkeypatch.setattr(train_nudiff, "train_generator", train)
    monkeypatch.setattr("wsinuc.workflows.generators.cosyn.train_cosyn", train)
    command = closing_command(pretrain(data, "--method", method, "-o", out, *CHOSEN))
    assert command[0] == "synthesize"
    made = CliRunner().invoke(main, [*command, "-n", "2", "--steps", "2", "--workers", "1", "--device", "cpu"])
    assert made.exit_code == 0, made.output
    assert len(open_dataset(tmp_path / "out-synthetic")) == 2


def test_after_a_text_encoder_the_closing_line_trains_a_generator_on_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsinuc.workflows.generators.text_encoder.train_text_encoder", lambda *given, **more: None)
    data = write_set(tmp_path / "my data", classes=("round", "long"))
    told = ["--method", "text-encoder", "--tissue", "colon", "-o", tmp_path / "t.safetensors", *CHOSEN]
    command = closing_command(pretrain(data, *told))
    assert command[command.index("--tissue") + 1] == "colon"
    assert command[command.index("--where") :] == [*CHOSEN[:4], "-o", command[-1]]
    assert command[command.index("--mpp") + 1] == "0.5"


def test_what_is_said_of_regions_can_be_said_to_synthesize(tmp_path: Path) -> None:
    """The closing line of a training on a slide's regions names them."""
    asked = ["--method", "nudiff", "--image-model", "x", "--structures-from", "nowhere", "-n", "1", "-o", "y"]
    refused = CliRunner().invoke(main, ["synthesize", *asked, "--regions", "Hotspot"])
    assert "No such option" not in refused.output
    assert "nowhere" in refused.output


def test_patches_that_were_drawn_are_named_by_their_file(tmp_path: Path) -> None:
    options = {"mpp": None, "split": Path("a.json"), "part": "train", "wanted": (), "unwanted": (), "model_mpp": None}
    said = next_command("nudiff-image", Path("i.safetensors"), ("d",), "cpu", Path("i.split.json"), options)
    assert "--split i.split.json -n" in said
    assert "--part test -o" in next_command(
        "nudiff-structure", Path("s.safetensors"), ("d",), "cpu", None, options | {"part": "test"}
    )


def test_switches_tissue_and_words_of_a_joint_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(train_cosyn, "train_cosyn", lambda images, classes, out, config, **more: seen.append(config))
    data, out = write_set(tmp_path / "data", images=1), tmp_path / "out.safetensors"
    words = ["--method", "cosyn", "-o", out, "--device", "cpu", "--tissue", "Human_Bladder"]
    result = pretrain(data, *words, "--without", "augmentation", "--without", "points")
    assert result.exit_code == 0, result.output
    assert "without augmentation, points" in result.output
    assert "tissues: human bladder" in " ".join(result.output.split())
    assert (seen[0].without, seen[0].tissue) == (("augmentation", "points"), "Human_Bladder")
