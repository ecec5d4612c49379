"""Distilling: a student learns what its teacher says, from patches that are scored once; and every
way it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cc3d
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from helpers.training.knowing_teacher import (
    FIT,
    GROUND,
    IMAGES,
    NUCLEUS,
    ONE,
    TINY,
    KnowingTeacher,
    describe,
    discs,
    smooth,
    teacher,
)
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import CheckpointError, ConfigError, DataError, MppError, OutputError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.networks.by_name import build_network
from wsinuc.models.training.state import read_log
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.network import network_checkpoint
from wsinuc.workflows.data.sources import Choice
from wsinuc.workflows.distill.patches import images_apart, make_patches
from wsinuc.workflows.distill.run import distill
from wsinuc.workflows.distill.sources import gather_labels, gather_tissue
from wsinuc.workflows.distill.teacher import PatchTeacher, Scales, Spot, draw_spot
from wsinuc.workflows.train.soft_crops import COLORS
from wsinuc_cli.main import main


def test_a_student_comes_to_agree_with_its_teacher(tmp_path: Path) -> None:
    out, said = tmp_path / "student.safetensors", []
    found = distill(
        [teacher()], IMAGES, out, TINY, device="cpu", on_event=said.append, provenance={"sources": ["here"]}
    )
    before, after = read_log(out.with_suffix(".agreement.jsonl"))
    assert [before["step"], after["step"]] == [20, 40]
    begun = distill(
        [teacher()], IMAGES, tmp_path / "x.safetensors", replace(TINY, fit=replace(FIT, steps=1)), device="cpu"
    )
    assert found.dice > 0.85 > begun.dice
    assert found.loss < before["loss"]
    assert found.difference < begun.difference
    student = load_segmenter(str(out), device="cpu")
    assert (student.classes, student.mpp, student.channels) == (ONE, 0.5, 4)
    checkpoint = load_checkpoint(out, "segmenter")
    assert checkpoint.config["method"] == "unet"
    assert checkpoint.provenance["teachers"] == [
        {"name": "knowing", "sha256": "a" * 64, "provenance": {"licence": "none"}}
    ]
    assert checkpoint.provenance["sources"] == ["here"]
    assert checkpoint.provenance["agreement"]["dice"] == found.dice
    assert "12 of 12 patches" in said[0]
    assert any("Dice with the teacher" in line for line in said)


def test_post_processing_is_the_teachers_at_the_students_resolution(tmp_path: Path) -> None:
    knowing = KnowingTeacher("hv")
    knowing.config = replace(knowing.config, watershed=replace(knowing.config.watershed, foreground_threshold=0.4))
    config = replace(TINY, mpp=1.0, patch=32, crop=16, fit=replace(FIT, steps=1))
    distill([teacher(knowing)], IMAGES, tmp_path / "s.safetensors", config, device="cpu")
    student = load_segmenter(str(tmp_path / "s.safetensors"), device="cpu")
    assert student.config.watershed == replace(knowing.config.watershed, mpp=1.0)
    assert student.config.separation == "hv"
    assert student.mpp_range == pytest.approx((0.1, 2.2))


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    config, calls = replace(TINY, fit=replace(FIT, steps=4)), iter([False, True])
    distill([teacher()], IMAGES, tmp_path / "one.safetensors", config, device="cpu")
    for stop in (lambda: next(calls), lambda: False):
        distill([teacher()], IMAGES, tmp_path / "two.safetensors", config, device="cpu", should_stop=stop)
    once, twice = (load_checkpoint(tmp_path / f"{n}.safetensors", "segmenter") for n in ("one", "two"))
    assert all(torch.equal(once.tensors[name], twice.tensors[name]) for name in once.tensors)


def test_every_patch_is_scored_once(tmp_path: Path) -> None:
    knowing, folder = KnowingTeacher(), tmp_path / "patches"
    scales = Scales(patch=64, student=0.5, teacher=0.5)
    small = PatchTeacher(knowing, scales).segmenter
    assert small.tile == 64 + 2 * knowing.margin, "tiles shrink to what a patch needs"
    made = make_patches([teacher(knowing)], IMAGES, folder, TINY)
    assert sum(knowing.seen) == 12
    kept = {k: made.patch(k).copy() for k in (*made.training, *made.apart)}
    make_patches([teacher(knowing)], IMAGES, folder, TINY)
    assert sum(knowing.seen) == 12
    (folder / "000003.npy").write_bytes((folder / "000003.npy").read_bytes()[:999])
    (folder / "000007.npy").unlink()
    again = make_patches([teacher(knowing)], IMAGES, folder, replace(TINY, patches=14))
    assert sum(knowing.seen) == 16, "a damaged one, a lost one, and two more"
    assert all(np.array_equal(again.patch(k), patch) for k, patch in kept.items())


def test_a_folder_of_other_scores_is_refused(tmp_path: Path) -> None:
    make_patches([teacher()], IMAGES, tmp_path / "p", TINY)
    for changed, images, words in (
        (teacher(sha256="b" * 64), IMAGES, "teacher was aaaaaaaaaaaa, now bbbbbbbbbbbb"),
        (teacher(), IMAGES[:3], "sources was"),
    ):
        with pytest.raises(CheckpointError, match=words):
            make_patches([changed], images, tmp_path / "p", TINY)
    with pytest.raises(CheckpointError, match="seed was 0, now 1"):
        make_patches([teacher()], IMAGES, tmp_path / "p", replace(TINY, seed=1))


@pytest.mark.parametrize(("student", "taught"), [(0.5, 0.5), (1.0, 0.5), (0.25, 0.5), (0.4, 0.5), (0.5, 0.3)], ids=str)
def test_scores_lie_on_their_pixels_at_every_resolution(student: float, taught: float) -> None:
    """The teacher reads single pixels, so what it says of a patch must follow from the patch's own pixels."""
    scales = Scales(patch=64, student=student, teacher=taught)
    image = smooth(1, 400)
    for spot in (Spot(source=0, y=37, x=110, zoom=1.0), Spot(source=0, y=200, x=-20, zoom=1.15)):
        (patch,) = PatchTeacher(KnowingTeacher(mpp=taught), scales).teach(image, [spot])
        expected = (GROUND - patch[0].astype(float)) / (GROUND - NUCLEUS) * 255
        assert np.abs(patch[COLORS] - expected).max() < 6


def test_pixels_of_a_patch_are_the_images_where_nothing_is_resampled() -> None:
    image = discs(3, 200)
    scales = Scales(patch=64, student=0.5, teacher=0.5)
    (patch,) = PatchTeacher(KnowingTeacher(), scales).teach(image, [Spot(source=0, y=50, x=70, zoom=1.0)])
    assert np.array_equal(np.moveaxis(patch[:COLORS], 0, 2), image[50:114, 70:134])


def test_images_smaller_than_a_patch_are_continued_by_mirroring() -> None:
    image, scales = discs(2, 40), Scales(patch=64, student=0.5, teacher=0.5)
    spot = draw_spot([image], np.ones(1), scales, 1.0, (0, 0))
    assert -24 <= spot.y <= 0 >= spot.x >= -24
    (patch,) = PatchTeacher(KnowingTeacher(), scales).teach(image, [spot])
    pixels = np.moveaxis(patch[:COLORS], 0, 2)
    y, x = -spot.y, -spot.x
    assert np.array_equal(pixels[y : y + 40, x : x + 40], image)
    assert np.array_equal(pixels[:y], pixels[y : 2 * y][::-1])


def test_a_large_image_fits_the_teacher_to_it() -> None:
    knowing, scales = KnowingTeacher(), Scales(patch=64, student=0.5, teacher=0.5)
    patches = PatchTeacher(knowing, scales)
    assert patches.fitted(discs(0, 256), (0, 0)) is patches
    patches.fitted(discs(0, 608), (0, 0))
    assert knowing.fitted[-1] == (5, 256, 256, 3)


def test_held_out_patches_lie_in_images_of_their_own(tmp_path: Path) -> None:
    apart = images_apart(np.full(20, 0.05), 0.1, seed=0)
    assert apart.sum() == 2
    assert not images_apart(np.array([0.5, 0.5]), 0.1, seed=0).any()
    grey = [np.full((64, 64, 3), 10 * i + 5, np.uint8) for i in range(8)]
    made = make_patches([teacher()], grey, tmp_path / "p", replace(TINY, patches=40))
    shown = [{int(made.patch(k)[0, 0, 0]) for k in numbers} for numbers in (made.training, made.apart)]
    assert not shown[0] & shown[1]
    assert len(shown[1]) == 2


def test_a_student_goes_on_from_an_earlier_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    good = distill([teacher()], IMAGES, first, TINY, device="cpu")
    brief = replace(TINY, fit=replace(FIT, steps=1, lr=1e-6))
    further = distill([teacher()], IMAGES, second, brief, device="cpu", start=first)
    assert further.dice == pytest.approx(good.dice, abs=0.02), "nothing is forgotten"
    assert load_checkpoint(second, "segmenter").provenance["start"] == load_checkpoint(first, "segmenter").sha256
    fine = replace(brief, fold=2, mpp=teacher().segmenter.mpp / 2, patch=2 * TINY.patch, crop=2 * TINY.crop)
    larger = [image.repeat(2, 0).repeat(2, 1) for image in IMAGES]
    unfolded = distill([teacher()], larger, tmp_path / "fine.safetensors", fine, device="cpu", start=first)
    assert unfolded.dice == pytest.approx(good.dice, abs=0.05), "each of its squares is a pixel of the earlier one"
    with pytest.raises(CheckpointError, match=r"cannot be gone on from: a student of these settings is .*'base': 8"):
        distill([teacher()], IMAGES, tmp_path / "x.safetensors", replace(brief, base=8), device="cpu", start=first)
    with pytest.raises(CheckpointError, match="start was"):
        distill([teacher()], IMAGES, second, replace(brief, fit=replace(FIT, steps=2)), device="cpu")


def labelled(classes: int = 0) -> LabelledImage:
    image = discs(9)
    labels = cc3d.connected_components(image[..., 0] < 150, connectivity=4).astype(np.int32)
    numbers = np.arange(labels.max() + 1)
    return LabelledImage(
        name="annotated",
        image=image,
        labels=labels,
        attributes={},
        mpp=0.5,
        classes=np.minimum(numbers, 1 + numbers % classes).astype(np.int32) if classes else None,
    )


def test_annotated_images_are_learnt_from_besides(tmp_path: Path) -> None:
    config = replace(TINY, fit=replace(FIT, steps=3), map_weight=0.0)
    names = ("without", "with", "idle")
    for name, images, weight in zip(names, ([], [labelled()], [labelled()]), (1.0, 1.0, 0.0), strict=True):
        out = tmp_path / f"{name}.safetensors"
        distill([teacher()], IMAGES, out, replace(config, label_weight=weight), device="cpu", labelled=images)
    heads = [load_checkpoint(tmp_path / f"{n}.safetensors", "segmenter").tensors["head.bias"] for n in names]
    assert not torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[1], heads[2])
    assert load_checkpoint(tmp_path / "with.safetensors", "segmenter").provenance["labels"] == ["annotated"]
    with pytest.raises(DataError, match="class 2, but only 1"):
        distill([teacher()], IMAGES, tmp_path / "x.safetensors", config, device="cpu", labelled=[labelled(2)])


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    out, config = tmp_path / "s.safetensors", replace(TINY, fit=replace(FIT, steps=1))
    with pytest.raises(OutputError, match="there is no folder"):
        distill([teacher()], IMAGES, tmp_path / "no" / "s.safetensors", config, device="cpu")
    with pytest.raises(DataError, match="no images to learn from"):
        distill([teacher()], [], out, config, device="cpu")
    with pytest.raises(DataError, match="no nucleus in any of 9 patches"):
        distill([teacher()], [np.full((99, 99, 3), 250, np.uint8)], tmp_path / "w.safetensors", config, device="cpu")
    with pytest.raises(ConfigError, match="no model is made with these settings: base"):
        distill([teacher()], IMAGES, out, replace(config, base=4000), device="cpu")
    distill([teacher()], IMAGES, out, config, device="cpu")
    with pytest.raises(CheckpointError, match="base was 4, now 8"):
        distill([teacher()], IMAGES, out, replace(config, base=8), device="cpu")
    out.with_suffix(".state").unlink()
    with pytest.raises(OutputError, match="there already"):
        distill([teacher()], IMAGES, out, config, device="cpu")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patch": 63}, "multiples of 2 px"),
        ({"crop": 128}, "do not fit into 64"),
        ({"zoom": 0.9}, "at least 1"),
        ({"batch": 0}, "at least 1"),
        ({"batch": 3}, "in pairs"),
        ({"consistency": -1.0}, "not negative"),
        ({"held_out": 0.0}, "above 0"),
        ({"patches": 4}, "more than 4, got 4"),
    ],
)
def test_settings_that_make_no_sense(change: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(TINY, **change)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of three annotated images with patients."""
    for name in ("images", "labels"):
        (tmp_path / "set" / name).mkdir(parents=True)
    lines = ["name,mpp,patient"]
    for i in range(3):
        Image.fromarray(discs(i)).save(tmp_path / "set" / "images" / f"{i}.png")
        Image.fromarray(labelled().labels.astype(np.uint16)).save(tmp_path / "set" / "labels" / f"{i}.png")
        lines.append(f"{i},0.5,p{i}")
    (tmp_path / "set" / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "set"


def test_sources_may_be_chosen_weighted_and_too_coarse(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(discs(5, 64)).save(tmp_path / "small.png")
    sources, scales = [str(folder), str(tmp_path / "small.png")], Scales(patch=64, student=0.5, teacher=0.5)
    shared = {"file_mpp": 0.5, "memory": 2**20}
    choice = Choice({}, {"patient": frozenset({"p0"})})
    tissue = gather_tissue(sources, scales, choice=choice, even=True, **shared)
    choice.check()
    assert len(tissue.images) == 3
    assert tissue.weights == pytest.approx((0.5, 0.5, 1.0))
    assert gather_tissue(sources, scales, choice=Choice({}, {}), even=False, **shared).weights is None
    with pytest.raises(MppError, match=r"0\.5 um per pixel and lacks the detail for training at 0\.25"):
        gather_tissue(sources, Scales(patch=64, student=0.25, teacher=0.5), choice=Choice({}, {}), even=False, **shared)
    misspelt = Choice({"pateint": frozenset({"p0"})}, {})
    gather_tissue(sources, scales, choice=misspelt, even=False, **shared)
    with pytest.raises(DataError, match="has the attribute pateint"):
        misspelt.check()


def test_a_value_is_left_out_of_the_sets_that_have_it(folder: Path) -> None:
    dataset = open_dataset(folder)
    choice = Choice({}, {"patient": frozenset({"p0", "elsewhere"})})
    assert all(row["patient"] != "p0" for row in choice(dataset).rows)
    with pytest.raises(DataError, match="no image of the sources has patient=elsewhere"):
        choice.check()
    other = Choice({}, {"patient": frozenset({"elsewhere"})})
    assert len(other(dataset)) == len(dataset)


def test_annotation_must_have_the_teachers_classes(folder: Path) -> None:
    choice = Choice({}, {"patient": frozenset({"p0"})})
    images, origin = gather_labels([str(folder)], ONE, mpp=None, choice=choice)
    assert len(images) == 2
    assert origin[0]["data"] == "set"
    with pytest.raises(DataError, match="the teacher round, long"):
        gather_labels(
            [str(folder)], (NucleusClass("round", (0, 0, 1)), NucleusClass("long", (0, 1, 0))), mpp=None, choice=choice
        )


def test_the_command_from_teacher_to_student(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    described = describe()
    network = build_network("unet", described.network)
    with torch.no_grad():
        network.head.bias[1] += 3.0  # it calls everything a nucleus
    model, out = tmp_path / "teacher.safetensors", tmp_path / "student.safetensors"
    save_checkpoint(network_checkpoint(described, network.state_dict(), {"of": "nothing"}), model)
    command = ["distill", str(model), str(folder), "-o", str(out), "--device", "cpu", "--labels", str(folder)]
    command += ["--patches", "12", "--patch", "64", "--crop", "32", "--batch", "2", "--base", "4"]
    command += ["--where-not", "patient=p0", "--mix", "sources"]
    planned = CliRunner().invoke(main, [*command, "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "2 images and slides" in planned.output
    assert "and 2 annotated images" in planned.output
    assert "the teacher took" in planned.output
    assert not list(tmp_path.glob("student*"))
    log = tmp_path / "training.log"
    done = CliRunner().invoke(main, [*command, "--steps", "2", "--log", str(log)])
    assert done.exit_code == 0, done.output
    assert f"Next: wsinuc evaluate {folder} --model {out}" in done.output
    for line in ("teacher: 12 of 12 patches", "student: step 2  loss"):
        assert f"  {line}" in log.read_text()
    provenance = load_checkpoint(out, "segmenter").provenance
    assert provenance["teachers"][0]["name"] == "teacher.safetensors"
    assert provenance["sources"] == ["set"]
    assert json.loads(out.with_suffix(".jsonl").read_text())["step"] == 2
    other = CliRunner().invoke(main, [*command, "--steps", "2", "--batch", "4"])
    assert other.exit_code == 1
    assert "batch was 2, now 4" in other.output


def test_a_teacher_must_be_a_segmenter(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "denoiser.safetensors"
    save_checkpoint(Checkpoint(kind="denoiser", config={}, provenance={}, tensors={"x": torch.zeros(1)}), model)
    command = ["distill", str(model), str(folder), "-o", str(tmp_path / "s.safetensors"), "--device", "cpu"]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 1
    assert "holds a denoiser, but a segmenter is needed" in refused.output
