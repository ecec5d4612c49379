"""Data sets at other resolutions: shapes, labels, points; and the table of accuracy over them."""

from __future__ import annotations

import csv
import json
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from helpers.known_sets import Marked, write_known_dataset
from helpers.oracle import MPP, OracleSegmenter
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset
from wsinuc.datasets.sampling.resampled import resampled
from wsinuc.errors import ConfigError, DataError, MppError
from wsinuc.grid import Box
from wsinuc.workflows.evaluate.resolutions import evaluate_resolutions, parse_resolutions, resolution_rows
from wsinuc.workflows.evaluate.run import predict_nuclei
from wsinuc_cli.commands.evaluate import evaluate as command

FINE = MPP / 2


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return open_dataset(write_known_dataset(tmp_path / "set"), mpp=FINE)


def test_twice_as_coarse(dataset):
    fine, coarse = dataset[0], resampled(dataset, MPP)[0]
    assert coarse.mpp == MPP
    assert coarse.name == fine.name
    assert coarse.attributes["patient"] == "01"
    assert coarse.image.shape == (75, 105, 3)
    np.testing.assert_array_equal(
        coarse.labels, fine.labels[1::2, 1::2]
    )  # the centre is a corner of four; the last of them
    means = fine.image.reshape(75, 2, 105, 2, 3).mean((1, 3))
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(coarse.image[inner] - means[inner]).mean() < 8


def test_nearly_the_same_resolution_stays_as_it_is(dataset):
    same = resampled(dataset, FINE * 1.04)[1]
    np.testing.assert_array_equal(same.image, dataset[1].image)
    np.testing.assert_array_equal(same.labels, dataset[1].labels)
    assert same.mpp == FINE


def test_detail_is_not_made_up(dataset):
    with pytest.raises(DataError, match=r"a has 0\.25 um per pixel, too coarse .* 0\.2.* ask for 0\.25 or more"):
        resampled(dataset, 0.2)
    with pytest.raises(MppError, match="between"):
        resampled(dataset, 30.0)


def test_patches_and_points_are_moved_along(dataset):
    box = Box(10, 20, 110, 180)
    patch = resampled(dataset.patches([("b", box)]), MPP)[0]
    assert patch.name == "b_10_20"
    np.testing.assert_array_equal(patch.labels, dataset[1].labels[11:110:2, 21:180:2])
    marked = Dataset.open(Marked(dataset.path))
    coarse = resampled(marked, 1.0)
    assert coarse.layout.kind == "points"
    # The centre of the first pixel is (0, 0) at either resolution, so corners lie half a pixel before.
    np.testing.assert_allclose(coarse[0].points + 0.5, (marked[0].points + 0.5) / 2)


def test_classes_that_a_set_may_lack_are_those_of_the_same_set_at_other_resolutions(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "points").mkdir()
    Image.new("RGB", (64, 64), "white").save(tmp_path / "images" / "a.png")
    (tmp_path / "points" / "a.csv").write_text("x,y,class\n10,20,Tumor\n40,30,Stroma\n")
    marked = open_dataset(tmp_path, mpp=FINE)
    coarse = resampled(marked, MPP)
    assert (coarse.layout.open_classes, coarse.layout.annotated) == (True, marked.layout.annotated)
    three = ("Tumor", "Stroma", "Other")
    found = evaluate_resolutions(marked, lambda image: image.labels, (MPP,), predicted_classes=three)
    assert found[MPP].classes == ("Stroma", "Tumor", "Other")


def test_a_table_over_resolutions(dataset, tmp_path):
    predict = partial(predict_nuclei, segmenter=OracleSegmenter(mpp=FINE))
    seen, out = [], tmp_path / "out"
    settings = {"on_resolution": seen.append, "worst": 0, "predicted_classes": ("round", "long")}
    found = evaluate_resolutions(dataset, predict, (FINE, MPP), out=out, **settings)
    assert seen == [FINE, MPP]
    rows = resolution_rows(found)
    assert [row["mpp"] for row in rows] == [FINE, MPP]
    assert rows[0]["dice"] == 1 > rows[1]["dice"] > 0.5
    assert [float(row["aji"]) for row in csv.DictReader((out / "resolutions.csv").open())] == [r["aji"] for r in rows]
    assert json.loads((out / "resolutions.json").read_text())["compared_at"] == "the resampled resolution"
    summary = json.loads((out / "mpp_0.5" / "summary.json").read_text())
    assert summary["means"]["dice"] == rows[1]["dice"]
    assert not (out / "mpp_0.5" / "worst.png").exists()


def test_resolutions_are_read_from_text():
    assert parse_resolutions("0.25, 1") == (0.25, 1.0)
    for bad in ("", "a", "0.5,0.5", "0.5;1", "0.5,0", "-1", "nan", "inf"):
        with pytest.raises(ConfigError, match="such as"):
            parse_resolutions(bad)


def test_command(dataset, monkeypatch):
    monkeypatch.setattr("wsinuc.segmenters.load_segmenter", lambda model, device: OracleSegmenter(mpp=FINE))
    given = [str(dataset.path), "--mpp", str(FINE), "--where", "patient=01", "--at-mpp", "0.25,0.5"]
    done = CliRunner().invoke(command, given)
    assert done.exit_code == 0, done.output
    assert "compared at the resampled resolution" in done.output
    assert "0.250      1.000" in done.output
    done = CliRunner().invoke(command, ["--truth", ".", "--pred", ".", "--at-mpp", "0.5"])
    assert done.exit_code == 2
    assert "--at-mpp" in done.output
