"""Files from strangers that are made to fill the memory, or to reach outside their folder."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from wsinuc import limits
from wsinuc.datasets import files
from wsinuc.datasets.layouts.aperio import read_regions
from wsinuc.datasets.layouts.folder import FolderLayout
from wsinuc.datasets.layouts.mat import read_mat
from wsinuc.datasets.sampling.split import Split
from wsinuc.errors import DataError
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.slides.resolution import mpp_from_ome
from wsinuc.tissue import load_region

BOMB = 300 * 2**20
LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.read_bounded, "__defaults__", (1000,))


def test_what_fits_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x" * 100)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"x" * 100))
    for name in ("a.csv", "a.csv.gz"):
        assert limits.read_bounded(tmp_path / name, 100) == b"x" * 100
        with pytest.raises(DataError, match="holds more than"):
            limits.read_bounded(tmp_path / name, 99)
    with pytest.raises(FileNotFoundError):
        limits.read_bounded(tmp_path / "none")


@pytest.mark.parametrize("damage", [slice(0, -9), slice(5, None)])
def test_damaged_compression_is_said(tmp_path: Path, damage: slice) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x" * 100)[damage])
    with pytest.raises(DataError, match="damaged"):
        limits.read_bounded(tmp_path / "a.gz")


def test_a_region_that_unpacks_to_a_bomb(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "roi.geojson.gz", "wb", compresslevel=1) as file:
        for _ in range(BOMB // 2**20):
            file.write(bytes(2**20))
    with pytest.raises(DataError, match="when unpacked"):
        load_region(tmp_path / "roi.geojson.gz")


@pytest.mark.parametrize("name", ["bomb.geojson.gz", "bomb.zip"])
def test_a_checked_file_that_is_a_bomb_is_not_unpacked(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("a.geojson", bytes(64 * 2**20))
    else:
        path.write_bytes(gzip.compress(bytes(64 * 2**20), 1))
    tracemalloc.start()
    report = check_geojson(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any("200 times" in finding.reason for finding in report.problems)
    assert peak < 130 * 2**20


def test_a_zip_of_too_many_entries(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.geojson", b"[]")
    assert "10,001 entries" in check_geojson(tmp_path / "many.zip").problems[0].reason


def test_an_entry_that_names_another_folder_is_only_read(tmp_path: Path) -> None:
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}}
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w") as archive:
        archive.writestr("../../escaped.geojson", json.dumps(feature))
    assert check_geojson(tmp_path / "in" / "a.zip").count == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.zip"]


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000])
def test_brackets_without_end(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.geojson"
    path.write_text(text)
    assert not check_geojson(path).ok
    with pytest.raises(DataError):
        load_region(path)
    with pytest.raises(DataError):
        Split.load(path)


def test_entities_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(f"{LAUGHS}<Annotations>&b;</Annotations>")
    with pytest.raises(DataError, match="entities"):
        read_regions(tmp_path / "a.xml")
    assert mpp_from_ome(f"{LAUGHS}<OME>&b;</OME>") is None


@pytest.mark.usefixtures("small")
def test_large_tables_and_annotations_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name\n" + "a\n" * 600)
    (tmp_path / "a.xml").write_text("<Annotations>" + " " * 1000 + "</Annotations>")
    (tmp_path / "a.json").write_text("{" + " " * 1000 + "}")
    for read in (
        lambda: files.read_table(tmp_path / "a.csv", ("name",)),
        lambda: read_regions(tmp_path / "a.xml"),
        lambda: Split.load(tmp_path / "a.json"),
        lambda: load_region(tmp_path / "a.json"),
    ):
        with pytest.raises(DataError, match="holds more than"):
            read()


def test_a_matlab_variable_larger_than_its_image(tmp_path: Path) -> None:
    Image.new("RGB", (10, 8)).save(tmp_path / "a.png")
    savemat(tmp_path / "a.mat", {"inst_map": np.zeros((8, 10)), "id": np.zeros((1, 10**6))}, do_compression=True)
    with pytest.raises(DataError, match="more than the image has pixels"):
        read_mat(tmp_path / "a.mat", ("inst_map", "id"), tmp_path / "a.png")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "x/../../a", "..", ".", "a\0b", "a/b"])
def test_a_manifest_names_files_of_its_folder_only(tmp_path: Path, name: str) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / f"{folder}.png")
    (tmp_path / "set" / "manifest.csv").write_text(f"name\n{name}\n")
    layout = FolderLayout(tmp_path / "set")
    with pytest.raises(DataError):
        layout.read(layout.scan()[0])
