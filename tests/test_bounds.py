"""Bounds of SECURITY.md that a test of their own subject does not reach: what lies within is read,
one more is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from helpers.files.tiff_dialects import picture, write
from wsinuc.annotations import events, features, read_features
from wsinuc.datasets import files, label_files
from wsinuc.errors import DataError, SlideError
from wsinuc.exports.qupath import check as qupath_check
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.slides import open_slide
from wsinuc.slides.tiff import directories
from wsinuc.workflows.cohort import slide_list


@pytest.mark.parametrize(("bound", "enough"), [("MAX_SIDE", 420), ("MAX_TILE_SIDE", 128), ("MAX_SAMPLES", 3)])
def test_sizes_in_a_tiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, enough: int) -> None:
    write(tmp_path / "a.tif", picture())
    monkeypatch.setattr(directories, bound, enough)
    open_slide(tmp_path / "a.tif").close()
    monkeypatch.setattr(directories, bound, enough - 1)
    with pytest.raises(SlideError, match="claims"):
        open_slide(tmp_path / "a.tif")


def test_samples_of_a_label_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.eye(20, dtype=np.uint16))
    monkeypatch.setattr(label_files, "MAX_PIXELS", 400)
    assert label_files.read_labels(tmp_path / "a.tif").labels.shape == (20, 20)
    monkeypatch.setattr(label_files, "MAX_PIXELS", 399)
    with pytest.raises(DataError, match="too large for a label picture"):
        label_files.read_labels(tmp_path / "a.tif")


def test_cells_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("name,mpp\n" + "a,1\n" * 10)
    monkeypatch.setattr(files, "MAX_CELLS", 30)  # a line counts as one more
    assert len(files.read_table(tmp_path / "a.csv", ("name",))) == 10
    monkeypatch.setattr(files, "MAX_CELLS", 29)
    with pytest.raises(DataError, match="more than 29 cells"):
        files.read_table(tmp_path / "a.csv", ("name",))


def test_lines_of_a_table_of_slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("slide\n" + "".join(f"{number}.svs\n" for number in range(9)))
    monkeypatch.setattr(slide_list, "MAX_SLIDES", 10)
    assert len(slide_list.read_slide_table(tmp_path / "a.csv")) == 9
    monkeypatch.setattr(slide_list, "MAX_SLIDES", 9)
    with pytest.raises(DataError, match="more than 9 lines"):
        slide_list.read_slide_table(tmp_path / "a.csv")


def feature(properties: object) -> dict[str, object]:
    ring = [[0, 0], [9, 0], [9, 9], [0, 0]]
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}


def test_values_and_depth_of_a_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(feature({"a": list(range(100))})))
    assert len(list(read_features(path))) == 1
    monkeypatch.setattr(features, "MAX_VALUES", 100)
    with pytest.raises(DataError, match="more than 100 values"):
        list(read_features(path))
    monkeypatch.undo()
    deep = "[" * events.MAX_DEPTH + "]" * events.MAX_DEPTH
    path.write_text(json.dumps(feature({"a": 0})).replace('"a": 0', f'"a": {deep[2:-2]}'))
    assert len(list(read_features(path))) == 1
    path.write_text(json.dumps(feature({"a": 0})).replace('"a": 0', f'"a": [{deep}]'))
    with pytest.raises(DataError, match="without end"):
        list(read_features(path))


def test_bytes_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(feature({}))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a", "b"):
            archive.writestr(f"{name}.geojson", text)
    monkeypatch.setattr(qupath_check, "MAX_ARCHIVE", 2 * len(text))
    assert check_geojson(tmp_path / "a.zip").count == 2
    monkeypatch.setattr(qupath_check, "MAX_ARCHIVE", 2 * len(text) - 1)
    assert "are not looked at" in check_geojson(tmp_path / "a.zip").problems[0].reason
