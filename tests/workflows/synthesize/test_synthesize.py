"""``wsinuc synthesize`` from checkpoints to data sets, with networks that are tiny and untrained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from helpers.files.datasets import files, write_set
from helpers.files.generators import write_cosyn, write_nudiff
from wsinuc.datasets import open_dataset
from wsinuc.errors import CheckpointError, ConfigError, DataError, OutputError, SynthesisError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.models.diffusion.samplers import SamplerConfig
from wsinuc.workflows.synthesize.config import SynthesisConfig, real_field
from wsinuc.workflows.synthesize.cosyn import CoSynRecipe
from wsinuc.workflows.synthesize.nudiff import NudiffRecipe
from wsinuc.workflows.synthesize.run import SampleDone, SynthesisStarted, synthesize_recipe
from wsinuc_cli.commands.synthesize import synthesize
from wsinuc_cli.commands.train import train

TWO_STEPS = SynthesisConfig(sampler=SamplerConfig("dpm++", 2), guidance=0.5, batch=2)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    structure, image = write_nudiff(folder)
    return {"structure": structure, "image": image, "cosyn": write_cosyn(folder / "cosyn.safetensors")}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data") / "real", classes=("round", "long"))


def run(command: Any, *arguments: object):
    return CliRunner().invoke(command, [*map(str, arguments), "--device", "cpu"])


def synthesize_nudiff(
    structure: Path | None, image: Path, out: Path, count: int, config: Any, *, structures: Any = None, **more: Any
) -> None:
    recipe = NudiffRecipe(
        structure_model=structure, image_model=image, structures=structures, config=config, device=more.pop("device")
    )
    synthesize_recipe(recipe, out, count, **more)


def synthesize_cosyn(model: Path, prompts: list[str], out: Path, count: int) -> None:
    recipe = CoSynRecipe(model=model, layouts=None, prompts=tuple(prompts), config=TWO_STEPS)
    synthesize_recipe(recipe, out, count)


def test_nudiff_makes_a_data_set_that_says_how(models: dict[str, Path], tmp_path: Path) -> None:
    out, seen = tmp_path / "new" / "set", []
    synthesize_nudiff(models["structure"], models["image"], out, 3, TWO_STEPS, device="cpu", on_event=seen.append)
    dataset = open_dataset(out)
    assert [image.image.shape for image in dataset] == [(32, 32, 3)] * 3
    assert len({image.image.tobytes() for image in dataset}) == 3
    assert seen[0] == SynthesisStarted(count=3, done=0)
    assert [event.done for event in seen if isinstance(event, SampleDone)] == [1, 2, 3]
    row = dataset.rows[2]
    assert row["checkpoints"] == f"{file_sha256(models['structure'])} {file_sha256(models['image'])}"
    assert [row[c] for c in ("method", "sampler", "steps", "guidance", "mpp", "source")] == [
        "nudiff",
        "dpm++",
        "2",
        "0.5",
        "0.5",
        "generated",
    ]
    assert (out / "contact_sheet.png").exists()


def test_interruption_and_more_samples_change_no_byte(models: dict[str, Path], tmp_path: Path) -> None:
    """Stopped within a batch, killed between image and manifest, continued, made longer: the set is the same."""
    arguments = (models["structure"], models["image"])
    synthesize_nudiff(*arguments, tmp_path / "whole", 5, TWO_STEPS, device="cpu")
    out, seen = tmp_path / "parts", []

    def kill(event: Any) -> None:
        if isinstance(event, SampleDone) and event.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize_nudiff(*arguments, out, 3, TWO_STEPS, device="cpu", on_event=kill)
    synthesize_nudiff(*arguments, out, 3, TWO_STEPS, device="cpu", should_stop=lambda: True)
    assert not (out / "contact_sheet.png").exists()
    synthesize_nudiff(*arguments, out, 3, TWO_STEPS, device="cpu", on_event=seen.append)
    assert seen[0] == SynthesisStarted(count=3, done=1)
    synthesize_nudiff(*arguments, out, 5, TWO_STEPS, device="cpu")
    assert files(out) == files(tmp_path / "whole")
    with pytest.raises(OutputError, match="seed: 0 there, 1 asked for"):
        synthesize_nudiff(*arguments, out, 5, dataclasses.replace(TWO_STEPS, seed=1), device="cpu")


def test_images_are_made_for_the_structure_of_their_labels(models: dict[str, Path], monkeypatch) -> None:
    from wsinuc.synthesis.structures import structure_map

    recipe = NudiffRecipe(
        structure_model=models["structure"], image_model=models["image"], structures=None, config=TWO_STEPS
    )
    found = recipe.open()._generated(range(2))
    for condition, draft in found:
        np.testing.assert_array_equal(condition, structure_map(draft.labels))
    raw = dataclasses.replace(recipe, condition="raw").open()._generated(range(2))
    assert any((a != b).any() for (a, _), (b, _) in zip(found, raw, strict=True))
    for (_, one), (_, other) in zip(found, raw, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)


def test_structure_and_image_have_noise_of_their_own(models: dict[str, Path], real: Path, tmp_path: Path) -> None:
    """Another image for the same nuclei: the structures of a seed stay when the guidance changes."""
    for name, guidance in (("a", 0.0), ("b", 2.0)):
        config = dataclasses.replace(TWO_STEPS, guidance=guidance)
        synthesize_nudiff(models["structure"], models["image"], tmp_path / name, 1, config, device="cpu")
    a, b = (open_dataset(tmp_path / name)[0] for name in "ab")
    assert np.array_equal(a.labels, b.labels)
    assert (a.image != b.image).any()


def test_real_structures_keep_their_labels_and_classes(models: dict[str, Path], real: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    done = run(
        synthesize, "--method", "nudiff", "--image-model", models["image"], "--structures-from", real, "-n", 2,
        "-o", out, "--steps", 2, "--workers", 1, "--size", 64,
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    dataset = open_dataset(out)
    assert [c.name for c in dataset.classes] == ["round", "long"]
    for image, row in zip(dataset, dataset.rows, strict=True):
        assert image.labels.any()
        assert row["source"] in ("i0", "i1", "i2")
        assert image.classes is not None
        assert set(image.classes[1:].tolist()) <= {1, 2}


def test_fields_of_real_images_keep_classes_of_cut_nuclei(real: Path) -> None:
    image = open_dataset(real)[0]
    field = real_field(image, np.random.default_rng(0), mpp=0.5, size=80)
    assert field.classes is not None
    areas = {c: sum(int((image.labels == i).sum()) for i in range(1, 5) if image.classes[i] == c) for c in (1, 2)}
    for c in (1, 2):
        assert 0 < (field.classes[field.labels] == c).sum() <= areas[c]


def test_synthetic_and_real_sets_train_together(models: dict[str, Path], real: Path, tmp_path: Path) -> None:
    out, plain = tmp_path / "synthetic", tmp_path / "plain"
    common = {"config": dataclasses.replace(TWO_STEPS, size=48), "device": "cpu"}
    synthesize_nudiff(None, models["image"], out, 2, structures=open_dataset(real), **common)
    synthesize_nudiff(models["structure"], models["image"], plain, 1, **common)
    tiny = ["--method", "unet", "--steps", 1, "--crop", 32, "--batch", 2, "--base", 8, "-o", tmp_path / "m.safetensors"]
    done = run(train, real, out, *tiny)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "5 images" in done.output
    assert len(load_checkpoint(tmp_path / "m.safetensors", "segmenter").provenance["data"]) == 2
    refused = run(train, real, plain, *tiny)
    assert isinstance(refused.exception, DataError)
    assert "round, long" in str(refused.exception)
    assert "has none" in str(refused.exception)


def test_cosyn_keeps_the_levels_that_its_checkpoint_names(models: dict[str, Path], tmp_path: Path) -> None:
    """Those of the models above are older and have none."""
    told, level = tmp_path / "told.safetensors", (0.6, 0.1, 0.4)
    known = load_checkpoint(models["cosyn"], "cosyn")
    levels = {"mean": level, "covariance": [[0.0] * 3] * 3}
    save_checkpoint(dataclasses.replace(known, config=known.config | {"levels": levels}), told)
    for name, path in (("old", models["cosyn"]), ("new", told)):
        synthesize_cosyn(path, [], tmp_path / name, 2)
    old, new = (
        np.array([image.image.mean((0, 1)) for image in open_dataset(tmp_path / name)]) for name in ("old", "new")
    )
    wanted = (np.array(level) + 1) * 127.5
    np.testing.assert_allclose(new, [wanted] * 2, atol=4)  # clipping to [0, 255] moves means a little
    assert np.abs(old - wanted).max() > 8
    broken = dataclasses.replace(known, config=known.config | {"levels": {"mean": [0.1]}})
    save_checkpoint(broken, told)
    with pytest.raises(CheckpointError, match="mean levels are damaged"):
        synthesize_cosyn(told, [], tmp_path / "no", 1)


@pytest.mark.parametrize("layouts", ["random", "file", "data"])
def test_cosyn_fills_layouts(models: dict[str, Path], real: Path, tmp_path: Path, layouts: str) -> None:
    out, points = tmp_path / "set", tmp_path / "points.csv"
    points.write_text("x,y,class\n4.5,9,long\n20,20,round\n")
    layout = {"random": "random", "file": points, "data": real}[layouts]
    tissue = ["--tissue", "colon"]
    done = run(
        synthesize, "--method", "cosyn", "--model", models["cosyn"], "--layout", layout, "-n", 2, "-o", out,
        "--steps", 2, "--workers", 1, "--batch-size", 2, *tissue,
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    dataset = open_dataset(out)
    assert [c.name for c in dataset.classes] == ["round", "long"]
    assert {row["tissue"] for row in dataset.rows} == {"colon"}
    assert all(row["prompt"].startswith("high-quality histopathology colon tissue image") for row in dataset.rows)
    if layouts == "file":
        assert {row["source"] for row in dataset.rows} == {"points.csv"}
        assert dataset.rows[0]["prompt"].endswith("nuclei types of round and long.")


def test_prompts_are_taken_in_turn_and_choose_tissue_and_classes(models: dict[str, Path], tmp_path: Path) -> None:
    text = "high-quality histopathology {} tissue image including nuclei types of {}."
    prompts = [text.format("breast", "long"), text.format("colon", "round")]
    synthesize_cosyn(models["cosyn"], prompts, tmp_path / "set", 3)
    rows = open_dataset(tmp_path / "set").rows
    assert [row["tissue"] for row in rows] == ["breast", "colon", "breast"]
    assert [row["prompt"] for row in rows] == [prompts[0], prompts[1], prompts[0]]


def test_a_dry_run_says_what_it_takes_and_writes_nothing(models: dict[str, Path], tmp_path: Path) -> None:
    command = ["--method", "nudiff", "--structure-model", models["structure"], "--image-model", models["image"]]
    flops = {}
    for guidance in (0, 1):
        out = tmp_path / "set"
        done = run(synthesize, *command, "-n", 512, "-o", out, "--guidance", guidance, "--dry-run", "--workers", 1)
        assert done.exit_code == 0, (done.output, done.exception)
        assert "512 of 32 x 32 px at 0.5 um per px" in done.output
        assert file_sha256(models["image"]) in done.output
        assert f"dpm++, 20 steps, guidance {guidance} (s = {guidance + 1})" in done.output
        flops[guidance] = float(done.output.split("GFLOP")[0].split()[-1])
        assert not out.exists()
    assert flops[0] < flops[1] < 2 * flops[0]
    cosyn = run(synthesize, "--method", "cosyn", "--model", models["cosyn"], "-n", 4, "-o", tmp_path / "c", "--dry-run")
    assert cosyn.exit_code == 0, (cosyn.output, cosyn.exception)
    assert "GFLOP per image" in cosyn.output


def refusal(*arguments: object) -> str:
    refused = run(synthesize, *arguments, "-n", 1, "--steps", 2, "--workers", 1)
    assert refused.exit_code != 0
    assert isinstance(refused.exception, (CheckpointError, ConfigError, DataError, SynthesisError)), refused.exception
    assert "\n" not in str(refused.exception)
    return str(refused.exception)


def test_checkpoints_of_other_methods_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    out = ["-o", tmp_path / "set"]
    swapped = ["--structure-model", models["image"], "--image-model", models["image"]]
    assert "holds a nudiff-image, but a nudiff-structure" in refusal("--method", "nudiff", *swapped, *out)
    assert "holds a nudiff-structure, but a cosyn" in refusal("--method", "cosyn", "--model", models["structure"], *out)
    assert not (tmp_path / "set").exists()


def test_guidance_needs_a_network_trained_for_it(tmp_path: Path) -> None:
    structure, image = write_nudiff(tmp_path, drop_rate=0.0)
    command = ["--method", "nudiff", "--structure-model", structure, "--image-model", image, "-o", tmp_path / "set"]
    assert "drop rate 0: use --guidance 0" in refusal(*command, "--guidance", 1)
    done = run(synthesize, *command, "-n", 1, "--steps", 2, "--workers", 1)
    assert done.exit_code == 0, (done.output, done.exception)
    assert open_dataset(tmp_path / "set").rows[0]["guidance"] == "0.0"


def test_networks_must_fit_each_other(models: dict[str, Path], tmp_path: Path) -> None:
    _, other = write_nudiff(tmp_path, mpp=0.25)
    command = ["--structure-model", models["structure"], "--image-model", other, "-o", tmp_path / "set"]
    assert "0.5 um per pixel, the image model at 0.25" in refusal("--method", "nudiff", *command)


def test_weights_that_are_no_numbers_are_named_by_step_and_sample(tmp_path: Path) -> None:
    structure, image = write_nudiff(tmp_path, broken=True)
    command = ["--structure-model", structure, "--image-model", image, "-o", tmp_path / "set"]
    said = refusal("--method", "nudiff", *command)
    assert "samples 0 to 0: step 1 of 2" in said
    assert "sample 0 of the batch" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tissue", "liver"], "no tissue 'liver'; it knows breast, colon"),
        (["--prompt", "a cat"], "cat"),
        (["--prompt", "high-quality histopathology liver tissue image with no nucleus."], "liver"),
        (["--prompt", "high-quality histopathology colon tissue image including nuclei types of star."], "star"),
        (
            ["--tissue", "breast", "--prompt", "high-quality histopathology colon tissue image with no nucleus."],
            "give one",
        ),
        (["--layout", "far.csv"], "outside the canvas"),
        (["--layout", "plain.csv"], "plain.csv names no tissue, and the model knows several: give --tissue"),
        (["--layout", "star.csv"], "star"),
        (["--layout", "nowhere"], "nowhere"),
    ],
)
def test_cosyn_names_what_it_does_not_know(
    models: dict[str, Path], tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "far.csv").write_text("x,y,class\n40,4,round\n")
    (tmp_path / "star.csv").write_text("x,y,class\n4,4,star\n")
    (tmp_path / "plain.csv").write_text("x,y,class\n4,4,round\n")
    options = [str(tmp_path / option) if option.endswith(".csv") else option for option in options]
    command = ["--method", "cosyn", "--model", models["cosyn"], "-o", tmp_path / "set"]
    assert said in refusal(*command, *options)
    assert not (tmp_path / "set").exists()


def test_layouts_of_data_with_other_classes_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    command = ["--method", "cosyn", "--model", models["cosyn"], "-o", tmp_path / "set", "--layout"]
    assert "no class 'star'" in refusal(*command, write_set(tmp_path / "a", classes=("round", "star")))
    assert "has no classes" in refusal(*command, write_set(tmp_path / "b"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "nudiff", "--model", "x"], "--model means nothing to --method nudiff"),
        (["--method", "cosyn", "--model", "x", "--condition", "raw"], "--condition means nothing"),
        (["--method", "nudiff", "--prompt", "x"], "--prompt means nothing"),
        (["--method", "nudiff", "--image-model", "x"], "either --structure-model or --structures-from"),
        (["--method", "cosyn"], "needs --model"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], said: str, tmp_path: Path) -> None:
    refused = run(synthesize, *options, "-n", 1, "-o", tmp_path / "set")
    assert refused.exit_code == 2
    assert said in refused.output


@pytest.mark.parametrize(
    "change", [{"size": 0}, {"batch": 0}, {"workers": -1}, {"guidance": -2.0}, {"guidance": float("nan")}]
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        SynthesisConfig(**change)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    """Generators by what they were trained without."""
    folder = tmp_path_factory.mktemp("blind")
    kinds: list[tuple[str, ...]] = [("points",), ("text",), ("points", "text")]
    return {kind: write_cosyn(folder / f"{'-'.join(kind)}.safetensors", without=kind) for kind in kinds}


@pytest.mark.parametrize(
    ("without", "options", "said"),
    [
        (("points",), {"layouts": "real"}, "trained without points and places no nuclei: leave --layout out"),
        (("points",), {"tissues": ("liver",)}, "no tissue 'liver'; it knows breast, colon"),
        (("text",), {"prompts": ("a cat",)}, "trained without text and reads no prompt: leave --prompt out"),
        (("text",), {"config": SynthesisConfig(guidance=0.5)}, "trained without text: leave --guidance out"),
        (("text",), {"text_encoder": Path("files")}, "trained without text; leave out the text encoder"),
        (("points", "text"), {"tissues": ("colon",)}, "no tissue can be asked for: leave --tissue out"),
    ],
)
def test_what_a_generator_never_learned_is_not_asked_of_it(
    without: tuple[str, ...], options: dict[str, Any], said: str, blind: dict[tuple[str, ...], Path], real: Path
) -> None:
    asked = {"layouts": None, "config": TWO_STEPS} | options
    if asked["layouts"]:
        asked["layouts"] = open_dataset(real)
    if "text" in without and "config" not in options:
        asked["config"] = dataclasses.replace(TWO_STEPS, guidance=0.0)
    with pytest.raises(ConfigError, match=said) as caught:
        CoSynRecipe(model=blind[without], **asked).open()
    assert "\n" not in str(caught.value)


def test_a_layout_for_a_generator_without_points_is_one_line(
    blind: dict[tuple[str, ...], Path], tmp_path: Path
) -> None:
    (tmp_path / "points.csv").write_text("x,y,class\n4,4,round\n")
    command = ["--method", "cosyn", "--model", blind["points",], "-o", tmp_path / "set"]
    assert "leave --layout out" in refusal(*command, "--layout", tmp_path / "points.csv")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("without", [("points",), ("text",), ("points", "text")])
def test_generators_draw_without_what_they_never_learned(
    without: tuple[str, ...], blind: dict[tuple[str, ...], Path]
) -> None:
    config = dataclasses.replace(TWO_STEPS, guidance=None)
    recipe = CoSynRecipe(model=blind[without], layouts=None, config=config)
    maker = recipe.open()
    scenes = [maker.source.scene(k) for k in range(40 if "points" in without else 2)]
    if "text" in without:
        assert {scene.text for scene in scenes} == {""}
        assert maker.guidance == 0
    else:
        shown = [scene.text for scene in scenes]
        colon = "high-quality histopathology colon tissue image including nuclei types of long."
        assert 20 <= shown.count(colon) < 40, "three crops of four were colon"
        asked = dataclasses.replace(recipe, tissues=("Breast",)).open().source.scene(0)
        assert asked.text == "high-quality histopathology breast tissue image with no nucleus."
    assert any(len(scene.layout.points) for scene in scenes) == ("points" not in without)
    (sample,) = maker(range(1))
    assert sample.labels.shape == (32, 32)
    assert sample.source == ("none" if "points" in without else "random")
