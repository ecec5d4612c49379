"""``wsinuc classify``: which nucleus a point marks, what is learnt, what the model then says,
and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from helpers.files.datasets import write_set
from helpers.files.point_sets import CLASSES, MPP, NAMES, DarkSegmenter, draw, labelled, write_point_set
from wsinuc.config import SegmentConfig
from wsinuc.errors import CheckpointError, ConfigError, DataError
from wsinuc.grid import Box
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.features.nucleus_classifier import ClassifierConfig, fit_classifier
from wsinuc.nuclei import concatenate
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.parquet import read_nuclei
from wsinuc.pipeline.block import score_box
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Classifying
from wsinuc.segmenters.typed import TypedSegmenter
from wsinuc.slides.array import ArraySlide
from wsinuc.tissue import whole
from wsinuc.workflows.classify.cost import classify_cost
from wsinuc.workflows.classify.cross_validate import assign_folds, cross_validate, permutation_test
from wsinuc.workflows.classify.marked import classes_of_nuclei, mark, nuclei_at_points
from wsinuc.workflows.classify.nuclei import describe_marked
from wsinuc.workflows.classify.run import PointTrainConfig, gather_points, train_points
from wsinuc.workflows.distill.teacher import load_teacher
from wsinuc.workflows.segment.run import segment_slide
from wsinuc_cli.commands.classify.command import classify

QUICK = PointTrainConfig(classifier=ClassifierConfig(members=2), views=1, folds=3, permutations=3)
IMAGES = tuple(labelled(seed) for seed in range(4))


@pytest.fixture
def typed(base: Path) -> Path:
    path = base.with_name("typed.safetensors")
    train_points(IMAGES, CLASSES, str(base), path, replace(QUICK, folds=0))
    return path


def table_of(images=IMAGES, classes=CLASSES):
    segmenter = TypedSegmenter(DarkSegmenter(), classes)
    return describe_marked(mark(images, segmenter.base), classes, segmenter, views=0, stain=0, seed=0)


# --- points and nuclei
# -------------------------------------------------------------------------------------------------


def test_a_point_marks_the_nucleus_it_lies_in_or_the_nearest_unmarked_one():
    labels = np.zeros((20, 40), np.int32)
    labels[5:10, 5:10], labels[5:10, 20:25] = 1, 2
    points = np.array([[7.5, 7.5], [7.5, 11.5], [7.5, 18.5], [19.5, 39.5]])
    label, inside = nuclei_at_points(points, labels, reach_px=3)
    assert label.tolist() == [1, 0, 2, 0]  # nucleus 1 holds a point, so the one beside it is another nucleus' point
    assert inside.tolist() == [True, False, False, False]


@given(st.integers(0, 7), st.integers(0, 9))
def test_matching_turns_with_the_image(turn, seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((32, 32), np.int32)
    for i in range(4):
        y, x = 8 * i + 1, int(rng.integers(0, 26))
        labels[y : y + 5, x : x + 5] = i + 1
    cells = np.stack([rng.integers(0, 32, 12), rng.integers(0, 32, 12)], axis=1)
    inside = cells[labels[cells[:, 0], cells[:, 1]] > 0]
    before, _ = nuclei_at_points(inside + 0.5, labels, 0)
    assert np.array_equal(before, labels[inside[:, 0], inside[:, 1]])
    moved = np.stack([inside[:, 1], 31 - inside[:, 0]], axis=1) if turn % 2 else inside
    after, _ = nuclei_at_points(moved + 0.5, np.rot90(labels, -1) if turn % 2 else labels, 0)
    assert np.array_equal(before, after)


def test_points_of_several_classes_give_none():
    classes, conflicts = classes_of_nuclei(np.array([1, 1, 2, 2, 0], np.int32), np.array([1, 2, 2, 2, 1]), 3)
    assert classes.tolist() == [0, 2, 0]
    assert conflicts == 1


def test_every_point_is_counted():
    missed = replace(IMAGES[0], points=np.vstack([IMAGES[0].points, [[0, 0]]]))
    missed = replace(missed, point_classes=np.append(IMAGES[0].point_classes, 1).astype(np.int32))
    unknown = replace(IMAGES[1], point_classes=np.where(np.arange(len(IMAGES[1].points)) == 0, 0, 1).astype(np.int32))
    counts = table_of((missed, unknown, IMAGES[2])).counts
    assert counts.points == counts.inside + counts.near + counts.alone == 3 * len(IMAGES[0].points)
    assert (counts.alone, counts.unknown, counts.conflicts) == (1, 1, 0)
    assert counts.nuclei == counts.points - 1


# --- learning -------------------------------------------------------------------------------------
# ---------------------


def test_two_kinds_are_told_apart_and_shuffled_ones_are_not():
    table = table_of()
    scores = cross_validate(table, QUICK.classifier, folds=4)
    assert scores.confusion.sum() == len(table.classes)
    assert scores.balanced_accuracy > 0.9
    tested = permutation_test(table, QUICK.classifier, folds=4, times=19)
    assert tested["p"] == 0.05
    assert abs(tested["shuffled_mean"] - 0.5) < 0.12


def test_what_a_fold_holds_out_is_never_learnt_from():
    table = table_of()
    fold = assign_folds(table.groups, 3, seed=1)
    assert all(len(np.unique(fold[table.groups == group])) == 1 for group in np.unique(table.groups))
    assert sorted(np.unique(fold)) == [0, 1, 2]


def test_patients_are_held_out_together():
    images = [replace(image, attributes={"patient": "a" if i < 3 else "b"}) for i, image in enumerate(IMAGES)]
    assert np.array_equal(np.unique(table_of(images).groups), [0, 1])
    # Regions of a slide as well, but for those of a single one.
    images = [replace(image, attributes={"slide": "a" if i < 3 else "b"}) for i, image in enumerate(IMAGES)]
    assert np.array_equal(np.unique(table_of(images).groups), [0, 1])
    assert np.array_equal(np.unique(table_of(images[:3]).groups), [0, 1, 2])
    # A patient may have several slides, which are apart where there is one patient alone.
    of_one = [replace(image, attributes={**image.attributes, "patient": "p"}) for image in images]
    assert np.array_equal(np.unique(table_of(of_one).groups), [0, 1])
    assert "all of one patient" in str(table_of(of_one).kin)
    of_two = [replace(image, attributes={"slide": str(i), "patient": "pq"[i % 2]}) for i, image in enumerate(images)]
    assert table_of(of_two).kin.groups == (0, 1, 0, 1)


def test_a_classifier_says_of_a_nucleus_the_same_whatever_stands_beside_it():
    rng = np.random.default_rng(0)
    x, classes = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    classifier = fit_classifier(x, classes, np.arange(60) // 10, 3, ClassifierConfig(members=3))
    together, disagreement = classifier(x)
    assert np.array_equal(np.concatenate([classifier(row[None])[0] for row in x]), together)
    assert np.allclose(together.sum(axis=1), 1)
    assert ((disagreement >= 0) & (disagreement <= 1)).all()
    assert not fit_classifier(x, classes, np.arange(60) // 10, 3, ClassifierConfig(members=1))(x)[1].any()


# --- the model ------------------------------------------------------------------------------------
# ---------------------


def test_the_table_of_a_run_says_what_the_classifier_says(typed: Path, tmp_path: Path):
    image, points, classes = draw((300, 420), 9)
    segmenter = load_segmenter(str(typed), device="cpu")
    assert isinstance(segmenter, Classifying)
    slide = ArraySlide(image, mpp=MPP)
    scores = score_box(slide.at(MPP), Box.of_shape((300, 420)), segmenter, batch_size=2, tissue=whole(slide.at(MPP)))
    labels = segmenter.separate(scores)
    p, _ = segmenter.classifier(segmenter.describe(labels, scores))
    found = run(image, tmp_path, segmenter, 512)
    y, x = np.floor(found.centroids).astype(int).T
    assert found.class_names == ("round", "long")
    assert np.array_equal(found.classes, p[labels[y, x] - 1].argmax(axis=1))
    assert np.allclose(found.class_probabilities, p[labels[y, x] - 1], atol=0.5 / 255 + 1e-6)
    of_point = found.classes[[np.hypot(*(found.centroids - point - 0.5).T).argmin() for point in points]]
    assert (of_point + 1 == classes).mean() > 0.9


def run(image, folder: Path, segmenter, block: int):
    from PIL import Image

    path, out = folder / "slide.png", folder / f"{block}.wsinuc"
    Image.fromarray(image).save(path)
    config = SegmentConfig(tissue="none", block=block, workers=2, mpp=MPP)
    segment_slide(path, out, config, segmenter=segmenter)
    return concatenate([read_nuclei(shard) for shard in sorted((out / "nuclei").glob("*.parquet"))])


def test_blocks_change_no_class(typed: Path, tmp_path: Path):
    image, *_ = draw((420, 420), 5)
    segmenter = load_segmenter(str(typed), device="cpu")
    whole_, parts = (run(image, tmp_path, segmenter, block) for block in (512, 128))
    keys = [
        sorted(zip(map(tuple, n.centroids), map(tuple, n.class_probabilities), n.disagreements, strict=True))
        for n in (whole_, parts)
    ]
    assert keys[0] == keys[1]


def test_training_twice_gives_the_same_file(base: Path, typed: Path):
    again = base.with_name("again.safetensors")
    train_points(IMAGES, CLASSES, str(base), again, replace(QUICK, folds=0))
    assert again.read_bytes() == typed.read_bytes()


# --- the command and its errors
# ----------------------------------------------------------------------------------------


def test_the_command_reports_and_records(base: Path, tmp_path: Path):
    data, out = write_point_set(tmp_path / "set"), tmp_path / "breast.safetensors"
    log = tmp_path / "training.log"
    arguments = ["--model", str(base), "--folds", "2", "--permutations", "2", "--mpp", "0.5", "--log", str(log)]
    planned = CliRunner().invoke(classify, [str(data), *arguments, "-o", str(out), "--dry-run"], catch_exceptions=False)
    assert "parameters to learn" in planned.output
    assert "one image took" in planned.output
    assert not out.exists()
    done = CliRunner().invoke(classify, [str(data), *arguments, "-o", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "balanced accuracy" in done.output
    assert "classes: Immune cells, Stroma, Tumor, Vessel wall;" in done.output
    assert [c.name for c in load_segmenter(str(out), device="cpu").classes] == sorted(NAMES)
    assert "shuffled classes: 2 of 2 trainings" in log.read_text()
    report = json.loads(out.with_suffix(".json").read_text())
    assert list(report["nuclei"]) == sorted(NAMES)
    confusion = np.loadtxt(out.with_suffix(".confusion.csv"), delimiter=",", skiprows=1, usecols=(1, 2, 3, 4))
    assert np.array_equal(confusion, report["cross_validation"]["confusion"])
    assert confusion.sum() == report["points"]["nuclei"] == sum(report["nuclei"].values())
    assert out.with_suffix(".confusion.png").stat().st_size > 1000
    provenance = load_checkpoint(out, "segmenter").provenance
    assert provenance["cross_validation"] == report["cross_validation"]
    assert provenance["permutation_test"]["times"] == 2
    assert provenance["base"]["sha256"] == load_checkpoint(base, "segmenter").sha256


def test_too_little_to_learn_from_is_an_error_that_says_so():
    with pytest.raises(DataError, match="no point with a class"):
        table_of([replace(IMAGES[0], points=np.zeros((0, 2)), point_classes=np.zeros(0, np.int32))])
    with pytest.raises(DataError, match="the class third has 0 segmented nuclei"):
        table_of(classes=(*CLASSES, NucleusClass("third", (0, 0, 0))))
    with pytest.raises(DataError, match="needs 2 images"):
        cross_validate(table_of(IMAGES[:1]), QUICK.classifier, folds=5)
    with pytest.raises(ConfigError, match="folds"):
        PointTrainConfig(folds=1)


def test_sets_without_points_or_classes_are_refused(tmp_path: Path, base: Path):
    data = write_set(tmp_path / "outlines")
    done = CliRunner().invoke(classify, [str(data), "--model", str(base), "-o", "x.safetensors"])
    assert isinstance(done.exception, DataError)
    assert "has no points" in str(done.exception)
    named = write_point_set(tmp_path / "named", images=1)
    for table in named.glob("points/*.csv"):
        table.write_text(table.read_text().replace(NAMES[0], "Tumor: Positive"))
    with pytest.raises(DataError, match="refused or misread by QuPath"):
        gather_points(named, mpp=MPP, wanted={}, unwanted={})


def test_only_a_plain_segmenter_can_be_the_base(typed: Path, tmp_path: Path):
    for refusing in (
        lambda: train_points(IMAGES, CLASSES, str(typed), tmp_path / "x.safetensors", QUICK),
        lambda: classify_cost(IMAGES, CLASSES, str(typed), QUICK, device="cpu"),
        lambda: load_teacher(str(typed), device="cpu"),
    ):
        with pytest.raises(CheckpointError, match=r"give the model below it, base\.safetensors"):
            refusing()
    other = tmp_path / "denoiser.safetensors"
    save_checkpoint(Checkpoint(kind="denoiser", config={}, provenance={}, tensors={"a": torch.zeros(1)}), other)
    with pytest.raises(CheckpointError, match="holds a denoiser"):
        train_points(IMAGES, CLASSES, str(other), tmp_path / "x.safetensors", QUICK)


def test_a_damaged_classifier_is_refused(typed: Path):
    checkpoint = load_checkpoint(typed, "segmenter")
    smaller = {**checkpoint.tensors, "biases": checkpoint.tensors["biases"][:, :1]}
    save_checkpoint(replace(checkpoint, tensors=smaller, sha256=""), typed)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_segmenter(str(typed), device="cpu")
    config = {**checkpoint.config, "descriptors": ["other"]}
    save_checkpoint(replace(checkpoint, config=config, sha256=""), typed)
    with pytest.raises(CheckpointError, match="other descriptors"):
        load_segmenter(str(typed), device="cpu")
