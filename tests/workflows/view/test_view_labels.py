"""Labels given in a viewer: on the disk at once, never at the cost of others', in the form that classify reads."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from wsinuc.errors import DataError, OutputError
from wsinuc.workflows.reclassify.marks import read_marks
from wsinuc.workflows.view.opened import Opened, Source
from wsinuc.workflows.view.teach.labels import IGNORE, labels_path
from wsinuc.workflows.view.teach.teaching import Teaching


@pytest.fixture
def result(reference: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "plane.wsinuc"
    shutil.copytree(reference, folder)
    return folder


def opened_teaching(result: Path) -> Teaching:
    teaching = Opened(Source(result)).teaching
    assert teaching is not None
    return teaching


def test_a_label_is_on_the_disk_as_a_detection_of_qupath(result: Path) -> None:
    teaching = opened_teaching(result)
    teaching.give([3], "Tumour")
    written = json.loads(labels_path(result).read_text())
    (feature,) = written["features"]
    assert feature["properties"]["classification"]["name"] == "Tumour"
    assert feature["properties"]["objectType"] == "detection"
    assert feature["id"] == teaching.table.record(3)["uuid"]
    ring = feature["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    assert (np.array(ring[:-1])[:, ::-1] == teaching.table.outline(3)).all()
    assert {path.name for path in result.parent.iterdir()} == {"plane.wsinuc", "plane.labels.geojson"}


def test_classify_reads_the_file(result: Path) -> None:
    teaching = opened_teaching(result)
    teaching.give([1, 2], "Tumour")
    teaching.give([7], "Stroma")
    teaching.give([9], IGNORE)
    marks = read_marks(labels_path(result)).marks
    assert sorted(mark.class_name for mark in marks) == ["Stroma", "Tumour", "Tumour"]
    assert {mark.uuid for mark in marks} == {teaching.table.record(row)["uuid"] for row in (1, 2, 7)}


def test_two_windows_keep_each_others_labels(result: Path) -> None:
    one, other = opened_teaching(result), opened_teaching(result)
    one.give([1], "Tumour")
    other.give([2], "Stroma")
    one.give([3], "Tumour")
    expected = {1: "Tumour", 2: "Stroma", 3: "Tumour"}
    assert one.labelled() == other.labelled() == expected
    # What the other window did is not taken back.
    one.labels.take_back()
    one.labels.take_back()
    assert other.labelled() == {2: "Stroma"}
    assert one.labels.take_back() == 0


def test_disks_that_lock_no_folders_keep_labels_as_well(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many network disks answer so."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    teaching = opened_teaching(result)
    teaching.give([1], "Tumour")
    assert teaching.labelled() == {1: "Tumour"}


def test_a_label_replaces_the_one_before_and_is_taken_off(result: Path) -> None:
    teaching = opened_teaching(result)
    teaching.give([4], "Tumour")
    teaching.give([4], IGNORE)
    assert teaching.labelled() == {4: IGNORE}
    teaching.give([4], None)
    assert teaching.labelled() == {}
    teaching.labels.take_back()
    assert teaching.labelled() == {4: IGNORE}


def test_what_others_have_put_into_the_file_stays(result: Path) -> None:
    drawn = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [5, 5]},
        "properties": {"objectType": "annotation", "name": "<script>alert(1)</script>", "note": ["kept"]},
    }
    labels_path(result).write_text(json.dumps({"type": "FeatureCollection", "features": [drawn]}))
    teaching = opened_teaching(result)
    teaching.give([1], "Tumour")
    assert json.loads(labels_path(result).read_text())["features"][0] == drawn
    assert teaching.labelled() == {1: "Tumour"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"features": 3}', '{"features": [7]}', "[" * 100_000])
def test_a_file_that_cannot_be_read_is_never_replaced(result: Path, content: str) -> None:
    labels_path(result).write_text(content)
    teaching = opened_teaching(result)
    with pytest.raises(DataError):
        teaching.give([1], "Tumour")
    assert labels_path(result).read_text() == content


def test_hostile_features_do_no_harm(result: Path) -> None:
    odd = [
        {"id": 3, "geometry": {"coordinates": [[["a", "b"]]]}},
        {"id": "x", "geometry": {"coordinates": [[[1e400, 2], [3, 4], [5, 6]]]}, "properties": "none"},
        {"id": None, "geometry": None, "properties": {"classification": {"name": {}}}},
        {"id": [], "geometry": {"type": "Polygon", "coordinates": []}},
    ]
    text = json.dumps({"type": "FeatureCollection", "features": odd}).replace("Infinity", "1e400")
    labels_path(result).write_text(text)
    teaching = opened_teaching(result)
    assert teaching.labelled() == {}
    teaching.give([1], "Tumour")
    assert teaching.labelled() == {1: "Tumour"}


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a: b", "x" * 101, "\x1b[2J"])
def test_a_class_needs_a_name_that_qupath_takes(result: Path, name: str) -> None:
    with pytest.raises(DataError):
        opened_teaching(result).give([1], name)
    assert not labels_path(result).exists()


def test_a_link_is_not_written_through(result: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text('{"type": "FeatureCollection", "features": []}')
    os.symlink(target, labels_path(result))
    with pytest.raises(OutputError, match="symbolic link"):
        opened_teaching(result).give([1], "Tumour")
    assert target.read_text() == '{"type": "FeatureCollection", "features": []}'


def test_learning_names_all_nuclei_and_writes_nothing(result: Path) -> None:
    teaching = opened_teaching(result)
    table = teaching.table
    for kind, name in enumerate(("Round ones", "Long ones")):
        teaching.give(np.flatnonzero(table.classes == kind)[::12].tolist(), name)
    before = {path: path.stat().st_mtime_ns for path in result.rglob("*")}
    report = teaching.learn()
    assert {path: path.stat().st_mtime_ns for path in result.rglob("*")} == before
    learned = teaching.learned
    assert learned is not None
    assert report["score"] > 0.7
    truth = np.array(["Round ones", "Long ones"])[table.classes]
    assert (np.array(learned.names)[learned.classes] == truth).mean() > 0.8
    assert len(teaching.doubt()) == len(table)


def test_too_few_labels_are_a_sentence(result: Path) -> None:
    teaching = opened_teaching(result)
    with pytest.raises(DataError, match="no labels yet"):
        teaching.learn()
    teaching.give([1], "Tumour")
    with pytest.raises(DataError, match="two classes"):
        teaching.learn()
