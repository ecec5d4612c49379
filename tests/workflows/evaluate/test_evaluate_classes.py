"""Evaluation where nuclei have classes, or are points: whose class is whose, what is written, what is refused."""

from __future__ import annotations

import csv
import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from helpers.known_sets import NAMES, ORIGINS, Marked, known_classes
from helpers.oracle import MPP, OracleSegmenter
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Annotation, Dataset, LabelledImage, Row
from wsinuc.errors import ConfigError, DataError
from wsinuc.exports.pictures.comparison import CELL_PX, Comparison, write_overlays
from wsinuc.workflows.evaluate.classes import match_classes
from wsinuc.workflows.evaluate.run import (
    Prediction,
    Scoring,
    evaluate,
    evaluate_folders,
    predict_nuclei,
)
from wsinuc_cli.commands.evaluate import evaluate as command

ORACLE = partial(predict_nuclei, segmenter=OracleSegmenter())


def write_class_table(folder: Path, name: str, classes: np.ndarray, names: tuple[str, ...]) -> None:
    (folder / "classes").mkdir(parents=True, exist_ok=True)
    (folder / "classes.csv").write_text("name\n" + "".join(f"{each}\n" for each in names))
    lines = [f"{i},{names[c - 1]}\n" for i, c in enumerate(classes) if c]
    (folder / "classes" / f"{name}.csv").write_text("label,class\n" + "".join(lines))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two fields of two tissues; the annotation names the classes in another order and in capitals."""
    path = tmp_path / "set"
    for part in ("images", "labels"):
        (path / part).mkdir(parents=True)
    (path / "manifest.csv").write_text("name,tissue\na,breast\nb,colon\n")
    for name in ORIGINS:
        pixels, labels, classes = known_classes(name)
        Image.fromarray(pixels).save(path / "images" / f"{name}.png")
        Image.fromarray(labels.astype(np.uint16)).save(path / "labels" / f"{name}.png")
        write_class_table(path, name, np.where(classes > 0, 3 - classes, 0), ("LONG", "Round"))
    return path


@pytest.fixture
def dataset(folder) -> Dataset:
    return open_dataset(folder, mpp=MPP)


# --- names


def test_classes_are_matched_by_name():
    match = match_classes(["Epithelial", "Stromal"], ["stromal", "EPITHELIAL"])
    assert match.translate(np.array([0, 1, 2])).tolist() == [0, 2, 1]
    with pytest.raises(DataError, match="names 2 classes, but nuclei are of class 0 to 3"):
        match.translate(np.array([0, 3]))


@pytest.mark.parametrize(("annotated", "predicted"), [(["x", "y"], ["Nucleus"]), (["x"], ["a", "b"]), (["x", "y"], [])])
def test_one_class_against_many_is_scored_without_and_said_so(annotated, predicted):
    match = match_classes(annotated, predicted)
    assert match.names == ()
    assert "has 2 (" in match.note


def test_a_model_may_know_classes_that_points_of_free_names_do_not_show():
    match = match_classes(["immune cells", "Tumor"], ["Tumor", "Stroma", "Immune cells"], seen=True)
    assert match.names == ("immune cells", "Tumor", "Stroma")
    assert match.number.tolist() == [0, 2, 3, 1]
    assert match.note == "the annotation has no nucleus of Stroma: one that is called so counts as wrong"
    with pytest.raises(DataError, match="names must be the same"):
        match_classes(["Immune cells", "Tumor"], ["Tumor", "Stroma", "Other"], seen=True)


@pytest.mark.parametrize("predicted", [["round", "square"], ["round", "long", "square"]])
def test_other_classes_are_refused_before_any_work(dataset, predicted, tmp_path):
    with pytest.raises(DataError, match=r"2 classes \(LONG, Round\), the prediction .* \(round, .*square\).* rename"):
        evaluate(dataset, lambda image: pytest.fail("worked"), predicted_classes=predicted, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- figures


def test_a_perfect_prediction_is_perfect_in_every_figure(dataset, tmp_path):
    out = tmp_path / "out"
    evaluate(dataset, ORACLE, predicted_classes=NAMES, out=out)
    summary = json.loads((out / "summary.json").read_text())
    for name in (
        "f_detection",
        "type_accuracy",
        "bpq_pannuke",
        "mpq_pannuke",
        "mpq_pooled_conic",
        "miou_pooled_nuclei",
    ):
        assert summary[name] == 1.0, name
    for name in ("f_classification", "pq_pannuke", "pq_pooled_conic"):
        assert summary[name] == {"LONG": 1.0, "Round": 1.0}, name
    assert summary["iou_pooled"] == {"background": 1.0, "LONG": 1.0, "Round": 1.0}
    assert summary["mpq_pannuke_by_tissue"] == {"breast": 1.0, "colon": 1.0}
    assert summary["match_radius"] == {"um": 3.0}
    assert summary["notes"] == []
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [row["mpq_pannuke"] for row in rows] == ["1.0", "1.0"]
    assert rows[0]["tissue"] == "breast"
    for name in ("confusion.png", "confusion_pixels.png", "comparison.png", "overlays.png"):
        assert Image.open(out / name).width > 100


def test_swapped_classes_leave_detection_alone(dataset):
    evaluation = evaluate(dataset, ORACLE, predicted_classes=NAMES[::-1])
    summary = evaluation.summary()
    assert (summary["f_detection"], summary["means"]["pq"], summary["bpq_pannuke"]) == (1.0, 1.0, 1.0)
    assert (summary["type_accuracy"], summary["mpq_pooled_conic"], summary["miou_pooled_nuclei"]) == (0.0, 0.0, 0.0)
    assert set(summary["f_classification"].values()) == {0.0}


def test_written_predictions_bring_their_classes(dataset, tmp_path):
    first = evaluate(dataset, ORACLE, predicted_classes=NAMES, out=tmp_path / "out")
    again = evaluate(dataset, tmp_path / "out" / "predictions")
    folders = evaluate_folders(tmp_path / "out" / "predictions", dataset.path / "labels", mpp=MPP)
    assert first.summary()["f_classification"] == again.summary()["f_classification"]
    assert folders.classes == ("LONG", "Round")
    assert folders.summary()["mpq_pooled_conic"] == folders.summary()["type_accuracy"] == 1.0


def test_folders_without_a_resolution_leave_detection_out(dataset):
    labels = dataset.path / "labels"
    evaluation = evaluate_folders(labels, labels)
    assert evaluation.detection is None
    assert "--radius-px" in evaluation.notes[0]
    assert evaluate_folders(labels, labels, scoring=Scoring(radius_px=5)).summary()["match_radius"] == {"px": 5}


def test_classes_can_be_left_out(dataset):
    evaluation = evaluate(dataset, ORACLE, predicted_classes=("a", "b"), scoring=Scoring(classes=False))
    assert evaluation.classes == ()
    assert "as asked for" in evaluation.notes[0]
    assert evaluation.summary()["iou_pooled"] == {"background": 1.0, "nucleus": 1.0}
    with pytest.raises(ConfigError, match="above 0, got -1"):
        Scoring(radius_px=-1)


def test_empty_predictions_give_numbers_and_valid_json(dataset, tmp_path):
    out = tmp_path / "out"
    nothing = Prediction(np.zeros((110, 130), np.int32), np.zeros(1, np.int32))
    evaluate(dataset, lambda image: nothing, predicted_classes=NAMES, out=out)
    summary = json.loads((out / "summary.json").read_text(), parse_constant=lambda text: pytest.fail(text))
    assert (summary["f_detection"], summary["mpq_pannuke"], summary["type_accuracy"]) == (0.0, 0.0, None)


def test_nuclei_of_unknown_class_count_for_detection_alone(dataset):
    first = next(iter(dataset))
    whole = evaluate(dataset[:1], ORACLE, predicted_classes=NAMES)
    path = dataset.path / "classes" / "a.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))  # three nuclei lose their class
    part = evaluate(dataset[:1], ORACLE, predicted_classes=NAMES)
    assert part.detection.matched.sum() == whole.detection.matched.sum() == first.labels.max()
    assert part.panoptic.true_positives.sum() == whole.panoptic.true_positives.sum() - 3
    assert part.summary()["mpq_pooled_conic"] == part.summary()["miou_pooled_nuclei"] == 1.0


# --- points


def test_points_are_scored_by_detection_alone(tmp_path):
    dataset = Dataset.open(Marked(tmp_path))
    evaluation = evaluate(dataset, ORACLE, predicted_classes=NAMES, out=tmp_path / "out")
    nuclei = sum(int(known_classes(name)[1].max()) for name in ORIGINS)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["detection"] == {"matched": nuclei - 2, "missed": 0, "invented": 2}
    assert summary["f_detection"] == pytest.approx(2 * (nuclei - 2) / (2 * (nuclei - 2) + 2))
    assert summary["type_accuracy"] == 1.0
    assert not {"means", "totals", "bpq_pannuke", "iou_pooled"} & set(summary)
    assert evaluation.means == evaluation.totals == {}
    assert next(csv.DictReader((tmp_path / "out" / "scores.csv").open()))["invented"] == "1"
    assert Image.open(tmp_path / "out" / "overlays.png").width > 100


def test_a_point_on_the_pixel_of_a_nucleus_has_no_distance_to_it(tmp_path):
    """Tables count from the centre of the first pixel, QuPath from its corner; centroids are measured from there."""
    (tmp_path / "images").mkdir()
    (tmp_path / "points").mkdir()
    labels = np.zeros((40, 40), np.int32)
    labels[20, 10] = 1
    drawn = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [10.5, 20.5]}, "properties": {}}
    for name, content in (("a.csv", "x,y,class\n10,20,\n"), ("b.geojson", json.dumps([drawn]))):
        Image.new("RGB", (40, 40), "white").save(tmp_path / "images" / f"{name[0]}.png")
        (tmp_path / "points" / name).write_text(content)
    dataset = open_dataset(tmp_path, mpp=0.25)
    evaluation = evaluate(dataset, lambda image: labels, scoring=Scoring(radius_px=0.01))
    assert [image.detection.f_detection for image in evaluation.images] == [1.0, 1.0]


def test_points_with_x_and_y_exchanged_are_noted(tmp_path):
    """Scores of such points are merely low, which looks like a bad model."""
    (tmp_path / "images").mkdir()
    (tmp_path / "points").mkdir()
    labels = np.zeros((40, 40), np.int32)
    labels[:10, 20:30] = 1
    rows = "".join(f"{y},{x},\n" for y, x in np.argwhere(labels))
    Image.new("RGB", (40, 40), "white").save(tmp_path / "images" / "a.png")
    (tmp_path / "points" / "a.csv").write_text("x,y,class\n" + rows)
    evaluation = evaluate(open_dataset(tmp_path, mpp=0.25), lambda image: labels)
    assert [note for note in evaluation.notes if "x and y" in note] == [
        "0 % of the points lie in a nucleus, and 100 % would if x and y were exchanged: the columns are probably the "
        "wrong way round; x counts columns from the left, y rows from the top"
    ]


def test_an_image_without_its_points_is_named(tmp_path, monkeypatch):
    read = Marked.read

    def spoilt(self: Marked, row: Row) -> Annotation:
        annotation = read(self, row)
        return Annotation(image=annotation.image, labels=annotation.labels)

    monkeypatch.setattr(Marked, "read", spoilt)
    with pytest.raises(DataError, match="a: its data set marks nuclei with points"):
        evaluate(Dataset.open(Marked(tmp_path)), lambda image: image.labels)


# --- pages and command


def test_a_page_of_overlays_has_a_cell_per_image(tmp_path):
    labels = np.zeros((40, 20), int)
    labels[5:15, 5:15] = 1
    cell = Comparison(caption="x" * 200, image=np.zeros((40, 20, 3), np.uint8), truth=labels, predicted=labels * 0)
    write_overlays(iter([cell] * 5), 5, tmp_path / "page.png")
    page = np.asarray(Image.open(tmp_path / "page.png"))
    assert page.shape[1] > 4 * CELL_PX
    assert page.shape[0] > 2 * CELL_PX
    assert (page == (0, 230, 70)).all(2).any()
    assert not (page == (255, 0, 220)).all(2).any()


def test_command_prints_the_table_of_classes(folder, monkeypatch):
    monkeypatch.setattr("wsinuc.segmenters.load_segmenter", lambda model, device: OracleSegmenter())
    done = CliRunner().invoke(command, [str(folder), "--mpp", "0.5"])
    assert done.exit_code == 0, done.output
    assert "mPQ (PanNuke) 1.000" in done.output
    assert [line.split() for line in done.output.splitlines() if line.startswith("Round")] == [
        ["Round"] + ["1.000"] * 5
    ]


def test_command_takes_a_part_of_a_split(folder, monkeypatch, tmp_path):
    split = SimpleNamespace(of=lambda dataset, part: dataset.patches([("b", None)]))
    module = SimpleNamespace(Split=SimpleNamespace(load=lambda path: split))
    monkeypatch.setitem(sys.modules, "wsinuc.datasets.sampling.split", module)
    labels, options = str(folder / "labels"), ["--mpp", "0.5", str(folder)]
    done = CliRunner().invoke(command, [*options, "--pred", labels, "--split", "split.json", "--part", "test"])
    assert done.exit_code == 0, done.output
    assert "mean of 1 images" in done.output
    done = CliRunner().invoke(command, [*options, "--split", "split.json"])
    assert done.exit_code == 2
    assert "--part" in done.output


def test_prediction_of_a_model_without_nuclei_has_classes_all_the_same():
    image = LabelledImage(
        name="x",
        image=np.full((40, 40, 3), 255, np.uint8),
        labels=np.zeros((40, 40), np.int32),
        attributes={},
        mpp=MPP,
    )
    prediction = ORACLE(image)
    assert not prediction.labels.any()
    assert prediction.classes.tolist() == [0]
