"""Classes of pixels before nuclei are separated, against annotation: what is scored, written, read again, refused."""

from __future__ import annotations

import csv
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from helpers.known_sets import NAMES, ORIGINS, Marked, known_classes
from helpers.oracle import MPP, OracleSegmenter, scores_of
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.errors import DataError
from wsinuc.metrics.boundaries import hausdorff
from wsinuc.metrics.pixels import count_pixels
from wsinuc.semantic.verdict import class_map
from wsinuc.workflows.evaluate.classes import match_classes
from wsinuc.workflows.evaluate.run import (
    Evaluation,
    Scoring,
    evaluate,
    evaluate_folders,
    predict_nuclei,
)
from wsinuc_cli.commands.evaluate import evaluate as command

SEMANTIC = Scoring(semantic=True)
ORACLE = partial(predict_nuclei, segmenter=OracleSegmenter(), semantic=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two fields whose annotation is moved by two pixels, so that not all is right, and named in another order."""
    path = tmp_path_factory.mktemp("data") / "set"
    for part in ("images", "labels", "classes"):
        (path / part).mkdir(parents=True)
    (path / "manifest.csv").write_text("name\na\nb\n")
    (path / "classes.csv").write_text("name\nlong\nround\n")
    for name in ORIGINS:
        pixels, labels, classes = known_classes(name)
        Image.fromarray(pixels).save(path / "images" / f"{name}.png")
        Image.fromarray(np.roll(labels, 2, axis=1).astype(np.uint16)).save(path / "labels" / f"{name}.png")
        rows = "".join(f"{i},{NAMES[c - 1]}\n" for i, c in enumerate(classes) if c)
        (path / "classes" / f"{name}.csv").write_text("label,class\n" + rows)
    return open_dataset(path, mpp=MPP)


@pytest.fixture(scope="module")
def evaluated(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    """What is found, and the folder of its files."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    return evaluate(dataset, ORACLE, predicted_classes=NAMES, scoring=SEMANTIC, out=out, worst=0), out


def expected(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Annotated and predicted classes (1 long, 2 round) of a field."""
    pixels, labels, classes = known_classes(name)
    swapped = np.array([0, 2, 1])
    return swapped[np.roll(classes[labels], 2, axis=1)], swapped[class_map(scores_of(pixels), 2)]


def test_figures_are_those_of_the_maps(dataset: Dataset, evaluated: tuple[Evaluation, Path]) -> None:
    evaluation, out = evaluated
    found = json.loads((out / "summary.json").read_text())["semantic"]
    maps = [expected(name) for name in ORIGINS]
    pooled = count_pixels(np.hstack([one for one, _ in maps]), np.hstack([other for _, other in maps]), 2)
    each = [count_pixels(*pair, 2) for pair in maps]
    assert found["miou_pooled_nuclei"] == pytest.approx(pooled.mean_iou)
    assert 0.3 < pooled.mean_iou < 0.9
    assert found["iou_pooled"]["long"] == pytest.approx(pooled.iou[1])
    assert found["iou_image_mean"]["round"] == pytest.approx(np.mean([counts.iou[2] for counts in each]))
    assert found["pixel_accuracy_image_mean"] == pytest.approx(np.mean([counts.accuracy for counts in each]))
    assert found["pixel_confusion"]["rows_annotated"] == pooled.confusion.tolist()
    apart = [MPP * hausdorff(one == 1, other == 1) for one, other in maps]
    assert found["hausdorff_um_image_mean"]["long"] == pytest.approx(np.mean(apart))
    assert found["hausdorff_95_um_image_mean"]["long"] <= found["hausdorff_um_image_mean"]["long"]
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [float(row["semantic_hausdorff_um_long"]) for row in rows] == pytest.approx(apart)
    assert [float(row["semantic_miou"]) for row in rows] == pytest.approx([counts.mean_iou for counts in each])
    # The figures of nuclei stand beside them, as without.
    plain = evaluate(dataset, ORACLE, predicted_classes=NAMES).summary()
    assert "semantic" not in plain
    assert {name: value for name, value in evaluation.summary().items() if name != "semantic"} == plain


def test_written_maps_score_the_same(dataset: Dataset, evaluated: tuple[Evaluation, Path], tmp_path: Path) -> None:
    first = evaluated[0].summary()
    out = tmp_path / "out"
    shutil.copytree(evaluated[1], out)
    again = evaluate(dataset, out / "predictions", scoring=SEMANTIC).summary()
    folders = evaluate_folders(out / "predictions", dataset.path / "labels", mpp=MPP, scoring=SEMANTIC).summary()
    assert again["semantic"] == first["semantic"] == folders["semantic"]
    (out / "predictions/semantic/b.png").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of . maps of classes of pixels, which --sem.*: semantic/b\.png"):
        evaluate(dataset, out / "predictions", scoring=SEMANTIC)
    Image.fromarray(np.full((110, 130), 300, np.uint16)).save(out / "predictions/semantic/b.png")
    with pytest.raises(DataError, match="0 to 255, got 300"):
        evaluate(dataset, out / "predictions", scoring=SEMANTIC)


def test_without_classes_it_is_nucleus_against_background(dataset: Dataset) -> None:
    scoring = Scoring(semantic=True, classes=False)
    found = evaluate(dataset, ORACLE, predicted_classes=NAMES, scoring=scoring).summary()["semantic"]
    pooled = sum(count_pixels(one > 0, other > 0, 1).confusion for one, other in map(expected, ORIGINS))
    assert found["iou_pooled"]["nucleus"] == pytest.approx(pooled[1, 1] / (pooled.sum() - pooled[0, 0]))


@pytest.mark.parametrize("zoom", [1, 2, 3])
def test_maps_have_the_size_of_the_image(zoom: int) -> None:
    pixels, labels, _ = known_classes("a")
    fine = pixels.repeat(zoom, 0).repeat(zoom, 1)[:-1]
    truth = labels.repeat(zoom, 0).repeat(zoom, 1)[:-1]
    image = LabelledImage(name="a", image=fine, labels=truth, attributes={}, mpp=MPP / zoom)
    found = ORACLE(image).semantic
    wanted = class_map(scores_of(pixels), 2).repeat(zoom, 0).repeat(zoom, 1)[:-1]
    assert found.shape == wanted.shape
    assert (found == wanted).mean() > 0.99


class Naming(OracleSegmenter):
    """Names whole nuclei: all of them the second class."""

    def classify(self, labels, scores):
        painted = scores[:4].copy()
        painted[2] = 0
        painted[3] = np.where(labels > 0, 255, 0)
        return painted


def test_pixels_have_the_class_of_their_nucleus_where_a_model_names_these() -> None:
    pixels, labels, _ = known_classes("a")
    image = LabelledImage(name="a", image=pixels, labels=labels, attributes={}, mpp=MPP)
    prediction = predict_nuclei(image, segmenter=Naming(), semantic=True)
    inside = class_map(scores_of(pixels), 2) > 0
    assert set(np.unique(prediction.semantic[inside])) <= {2, 3}
    np.testing.assert_array_equal(prediction.semantic == 2, inside & (prediction.labels > 0))
    # What belongs to no nucleus is no class's, and still nucleus where classes are not scored.
    values = np.array([0, 1, 2, 3])
    assert match_classes(("long", "round"), NAMES).translate_map(values).tolist() == [0, 2, 1, 0]
    assert match_classes((), NAMES).translate_map(values).tolist() == [0, 1, 1, 1]


def test_points_have_no_pixels() -> None:
    with pytest.raises(DataError, match="points"):
        evaluate(Dataset.open(Marked(Path())), ORACLE, predicted_classes=NAMES, scoring=SEMANTIC)


def test_command(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsinuc.segmenters.load_segmenter", lambda model, device: OracleSegmenter())
    done = CliRunner().invoke(command, [str(dataset.path), "--mpp", str(MPP), "--semantic"])
    assert done.exit_code == 0, done.output
    assert "pixels before separation: mean IoU of nuclei 0." in done.output
    assert "HD95 um" in done.output
    lines = [line.split()[0] for line in done.output.splitlines() if line.split()]
    assert lines.count("long") == 2
