"""Evaluation with a segmenter that knows the answer: what it writes, and that the path to the numbers loses nothing."""

from __future__ import annotations

import csv
import json
import shutil
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from helpers.known_sets import SHAPE, known, write_known_dataset
from helpers.oracle import MPP, OracleSegmenter
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.errors import ConfigError, DataError, OutputError
from wsinuc.grid import Box
from wsinuc.metrics.segmentation import score
from wsinuc.nuclei import Frame
from wsinuc.nuclei.measure import measure
from wsinuc.workflows.evaluate.predictions import Prediction, write_label_image
from wsinuc.workflows.evaluate.run import (
    PredictionFolder,
    evaluate,
    evaluate_folders,
    paint_level0,
    predict_labels,
    predict_nuclei,
)
from wsinuc.workflows.evaluate.thresholds import evaluate_thresholds, threshold_rows
from wsinuc_cli.commands.evaluate import evaluate as command


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return open_dataset(write_known_dataset(tmp_path / "set", spoil="b"), mpp=MPP)


def test_the_whole_path_gives_back_the_pixels():
    """Tiled, scored, owned, traced, painted back: at the model's own resolution nothing may be lost on the way."""
    pixels, truth = known((40, 60))
    image = LabelledImage(name="a", image=pixels, labels=truth, attributes={}, mpp=MPP)
    predicted = predict_labels(image, segmenter=OracleSegmenter())
    assert predicted.dtype == np.int32
    np.testing.assert_array_equal(predicted > 0, truth > 0)
    pairs = np.unique(np.stack([predicted.ravel(), truth.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(truth)) == len(np.unique(predicted)) > 10  # the same, but for the numbers


@pytest.mark.parametrize("zoom", [2, 3])
def test_finer_images_are_read_coarser_and_painted_finer(zoom):
    pixels, truth = known((40, 60), zoom)
    image = LabelledImage(name="a", image=pixels, labels=truth, attributes={}, mpp=MPP / zoom)
    scores = score(truth, predict_labels(image, segmenter=OracleSegmenter()))
    assert scores.dice > 0.999
    assert scores.aji > 0.99  # resampling mixes neighbours, so a pixel between touching nuclei may change sides
    assert scores.found == scores.true_nuclei == scores.predicted_nuclei


@pytest.mark.parametrize("downsample", [(1.0, 1.0), (2.0, 2.0), (2.0, 3.0)])
def test_painting_at_whole_multiples_is_exact_whatever_the_axis(downsample):
    _, found = known((40, 60))
    scores = np.zeros((4, *found.shape), np.uint8)
    frame = Frame(mpp=MPP, downsample=downsample)
    nuclei = measure(found, scores, Box.of_shape(found.shape), frame, OracleSegmenter().classes)
    expected = found.repeat(int(downsample[0]), 0).repeat(int(downsample[1]), 1)[:-3, :-3]  # cut by the image's edge
    np.testing.assert_array_equal(paint_level0(nuclei, expected.shape), expected)
    assert not paint_level0(nuclei.select(np.zeros(len(nuclei), bool)), (4, 4)).any()


def test_scores_files_and_pages(dataset, tmp_path):
    seen = []
    out = tmp_path / "out"
    evaluation = evaluate(
        dataset, partial(predict_labels, segmenter=OracleSegmenter()), out=out, on_image=lambda s: seen.append(s.name)
    )
    assert seen == ["a", "b", "c"]
    perfect, spoilt = evaluation.images[0].scores, evaluation.images[1].scores
    assert (perfect.dice, perfect.aji, perfect.aji_plus, perfect.pq) == (1.0,) * 4
    assert spoilt.aji < 0.9
    assert evaluation.means["aji"] == pytest.approx((2 + spoilt.aji) / 3)
    assert evaluation.ranked()[0] == 1
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert rows[1]["patient"] == "02"
    assert float(rows[1]["aji"]) == spoilt.aji
    summary = json.loads((out / "summary.json").read_text())
    assert summary["images"] == 3
    assert summary["means"] == evaluation.means
    assert summary["totals"]["true_nuclei"] == sum(int(row["true_nuclei"]) for row in rows)
    page = Image.open(out / "comparison.png")
    assert page.width == 2 * 2 * SHAPE[1]
    assert page.height > 3 * 2 * SHAPE[0]


def test_a_model_stands_for_its_predictions(dataset):
    predict = partial(predict_nuclei, segmenter=OracleSegmenter())
    expected = evaluate(dataset, predict, predicted_classes=["round", "long"])
    evaluation = evaluate(dataset, OracleSegmenter())
    assert evaluation.means == expected.means
    assert evaluation.notes == expected.notes


def test_calibration_is_part_of_it(dataset, tmp_path):
    out = tmp_path / "out"
    predict = partial(predict_nuclei, segmenter=OracleSegmenter())
    evaluation = evaluate(dataset, predict, predicted_classes=("round", "long"), out=out, worst=2)
    found = json.loads((out / "summary.json").read_text())["calibration"]
    totals = evaluation.totals
    assert (found["nuclei"], found["right"]) == (totals["predicted_nuclei"], totals["found"])
    assert 0 < found["right"] < found["nuclei"]  # of the image whose annotation is shifted
    assert sum(row["nuclei"] for row in found["reliability"]) == found["nuclei"]
    assert all(row["from"] <= row["mean_probability"] <= row["to"] for row in found["reliability"])
    assert 0 <= found["auc_one_minus_probability"] <= 1
    assert "auc_disagreement" in found
    for page in ("reliability.png", "doubt.png", "worst.png"):
        with Image.open(out / page) as picture:
            assert min(picture.size) > 300
    labels_alone = evaluate(dataset, out / "predictions")
    assert labels_alone.verdicts is None
    assert "calibration" not in labels_alone.summary()
    with pytest.raises(ConfigError, match="0 or more, got -1"):
        evaluate(dataset, predict, worst=-1)


def test_written_predictions_score_the_same(dataset, tmp_path):
    out = tmp_path / "out"
    first = evaluate(dataset, partial(predict_labels, segmenter=OracleSegmenter()), out=out)
    again = evaluate(dataset, out / "predictions")
    as_object = evaluate(dataset, PredictionFolder(out / "predictions"))
    folders = evaluate_folders(out / "predictions", dataset.path / "labels", out=tmp_path / "folders")
    assert [i.scores for i in first.images] == [i.scores for i in again.images] == [i.scores for i in folders.images]
    assert as_object.summary() == again.summary()
    assert sorted(p.name for p in (tmp_path / "folders").iterdir()) == ["scores.csv", "summary.json"]


def test_a_folder_in_use_is_refused_before_any_work(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="--overwrite"):
        evaluate(dataset, lambda image: pytest.fail("worked all the same"), out=tmp_path / "out")
    evaluate(dataset[:1], lambda image: image.labels, out=tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
    with pytest.raises(OutputError, match="cannot write to"):
        evaluate(dataset, lambda image: image.labels, out=tmp_path / "out" / "mine.txt" / "deeper")


def test_misfits_are_named(dataset, tmp_path):
    with pytest.raises(DataError, match=r"a: the annotation is \(150, 210\) .* prediction \(3, 3\)"):
        evaluate(dataset, lambda image: np.zeros((3, 3), np.int32))
    with pytest.raises(DataError, match="no PNG files"):
        evaluate_folders(dataset.path / "labels", tmp_path / "set")


def test_missing_predictions_are_named_before_any_is_scored(dataset, tmp_path):
    whole, some = tmp_path / "whole", tmp_path / "some"
    for image in dataset:
        known_classes = np.zeros(image.labels.max() + 1, np.int32)
        write_label_image(Prediction(image.labels, known_classes), whole, image.name, ("round", "long"))
    names = [image.name for image in dataset]
    assert len(names) > 1
    told = []

    def scored(folder, chosen=dataset):
        return evaluate(chosen, folder, out=tmp_path / "scored", on_image=told.append)

    for gone, message in [
        (f"{names[-1]}.png", rf"some lacks 1 of {len(names)} label images: {names[-1]}\.png; files are found by"),
        (f"classes/{names[-1]}.csv", rf"lacks 1 of {len(names)} tables of classes: classes/{names[-1]}\.csv"),
    ]:
        shutil.copytree(whole, some)
        (some / gone).unlink()
        with pytest.raises(DataError, match=message):
            scored(some)
        with pytest.raises(DataError, match=message):
            evaluate_folders(some, dataset.path / "labels", on_image=told.append)
        shutil.rmtree(some)
    assert not told
    assert not (tmp_path / "scored").exists()
    with pytest.raises(DataError, match=rf"lacks {len(names)} of .* images: a\.png, .*, and it holds nothing"):
        scored(some)
    # The names of patches are those that a saved prediction has.
    patch = dataset.patches([("a", Box(0, 0, 40, 50))])
    (whole / "a_0_0.png").write_bytes((whole / "a.png").read_bytes())
    with pytest.raises(DataError, match=r"lacks 1 of 1 tables of classes: classes/a_0_0\.csv"):
        scored(whole, patch)


def test_command_on_label_images(dataset, tmp_path):
    labels = str(dataset.path / "labels")
    done = CliRunner().invoke(command, ["--truth", labels, "--pred", labels, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "mean of 3 images" in done.output
    assert (tmp_path / "out" / "summary.json").is_file()
    data = [str(dataset.path), "--mpp", "0.5", "--where", "patient=02", "--pred", labels]
    done = CliRunner().invoke(command, data)
    assert done.exit_code == 0, done.output
    assert "mean of 2 images" in done.output


def test_command_measures_a_model(dataset, monkeypatch):
    monkeypatch.setattr("wsinuc.segmenters.load_segmenter", lambda model, device: OracleSegmenter())
    done = CliRunner().invoke(command, [str(dataset.path), "--mpp", "0.5", "--where-not", "patient=02"])
    assert done.exit_code == 0, done.output
    assert "mean of 1 images" in done.output
    assert "1.000" in done.output


def test_a_table_over_thresholds(dataset, tmp_path):
    out = tmp_path / "out"
    unspoilt = dataset.where({"patient": {"01"}})
    settings = {"worst": 0, "predicted_classes": ("round", "long")}
    # The oracle's nuclei have a probability of 235 / 255, so the last threshold finds none.
    oracle = OracleSegmenter()
    rows = threshold_rows(evaluate_thresholds(unspoilt, oracle, (0.9, 0.95), out=out, **settings))
    once = OracleSegmenter()
    predict_nuclei(unspoilt[0], segmenter=once)
    assert oracle.batches == once.batches, "the network is asked once for an image"
    assert [row["threshold"] for row in rows] == [0.9, 0.95]
    assert [row["dice"] for row in rows] == [1, 0]
    assert rows[0]["predicted_nuclei"] > rows[1]["predicted_nuclei"] == 0
    assert [float(row["aji"]) for row in csv.DictReader((out / "thresholds.csv").open())] == [1, 0]
    assert json.loads((out / "thresholds.json").read_text())["thresholds"][0]["threshold"] == 0.9
    assert json.loads((out / "threshold_0.95" / "summary.json").read_text())["means"]["dice"] == 0


def test_command_measures_thresholds(dataset, monkeypatch):
    monkeypatch.setattr("wsinuc.segmenters.load_segmenter", lambda model, device: OracleSegmenter())
    given = [str(dataset.path), "--mpp", "0.5", "--where", "patient=01"]
    several = CliRunner().invoke(command, [*given, "--threshold", "0.5,0.95"])
    assert several.exit_code == 0, several.output
    assert "threshold       dice        aji" in several.output
    assert "    0.950      0.000" in several.output
    one = CliRunner().invoke(command, [*given, "--threshold", "0.95"])
    assert one.exit_code == 0, one.output
    assert "mean of 1 images                     0.000" in one.output
    few = CliRunner().invoke(command, [*given, "--min-area", "10000"])
    assert few.exit_code == 0, few.output
    assert "mean of 1 images                     0.000" in few.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--threshold", "0.5,1.5"], "at most 1, got 1.5"),
        (["--threshold", "half"], "thresholds are different numbers above 0, such as 0.3"),
        (["--threshold", "0.5,0.6", "--at-mpp", "0.5"], "give one threshold"),
        (["--threshold", "0.5", "--pred", "."], "are for a model"),
        (["--min-area", "-1"], "got -1"),
    ],
)
def test_command_refuses_thresholds_that_mean_nothing(options, says):
    done = CliRunner().invoke(command, [".", *options])
    assert done.exit_code
    assert says in f"{done.output} {done.exception}"


def test_command_names_missing_folders(tmp_path):
    done = CliRunner().invoke(command, [str(tmp_path / "nowhere"), "--mpp", "0.5"])
    assert isinstance(done.exception, DataError)
    assert "nowhere is no folder" in str(done.exception)


@pytest.mark.parametrize(
    "options",
    [
        ["set", "--pred", ".", "--model", "fast"],
        ["--truth", ".", "--pred", ".", "--where", "patient=1"],
        ["--truth", ".", "--pred", ".", "--where-not", "patient=1"],
        ["--truth", ".", "--pred", ".", "--regions", "a"],
    ],
)
def test_no_option_is_passed_over(options):
    done = CliRunner().invoke(command, options)
    assert done.exit_code == 2
    assert f"{options[-2]} has no say in label images" in done.output


@pytest.mark.parametrize("options", [[], ["--pred", "."], ["--truth", "."], [".", "--truth", "."]])
def test_command_asks_for_what_is_missing(options):
    done = CliRunner().invoke(command, options)
    assert done.exit_code == 2
    assert "give DATA" in done.output
