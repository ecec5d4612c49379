"""Files from strangers that are made to fill the memory, or to reach outside their folder."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from helpers.odd.no_files import ODD_TABLES
from wsinuc import limits
from wsinuc.datasets import files
from wsinuc.datasets.layouts.aperio import read_regions
from wsinuc.datasets.layouts.folder import FolderLayout
from wsinuc.datasets.layouts.mat import read_mat
from wsinuc.datasets.sampling.split import Split
from wsinuc.errors import DataError
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.slides.resolution import mpp_from_ome
from wsinuc.store.files import read_json
from wsinuc.synthesis.layout_files import read_layout
from wsinuc.tissue import load_region
from wsinuc.workflows.cohort.slide_list import read_slide_table

BOMB = 300 * 2**20
LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TEXT", 1000)


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


@pytest.mark.parametrize("name", ODD_TABLES)
def test_odd_tables_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(ODD_TABLES[name])
    for read in (
        lambda: files.read_table(path, ("name",)),
        lambda: read_layout(path, ("a", "b")),
        lambda: read_slide_table(path),
    ):
        with pytest.raises(DataError) as caught:
            read()
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 600
        assert str(caught.value).isprintable()


def traced(read: Callable[[], object]) -> int:
    """Peak of the memory that Python and NumPy take while reading, in bytes."""
    tracemalloc.start()
    read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_tables_and_annotations_of_any_length_take_little_memory(tmp_path: Path) -> None:
    """What they become is two or three numbers a line; beside it there is a line, or an element, at a time."""
    (tmp_path / "layout.csv").write_text("x,y,class\n" + "12.5,7.25,a\n" * 10_000)
    vertices = '<Vertex X="12.5" Y="7.25"/>' * 60
    regions = "".join(f'<Region Id="{k}"><Vertices>{vertices}</Vertices></Region>' for k in range(150))
    (tmp_path / "a.xml").write_text(f"<Annotations><Annotation><Regions>{regions}</Regions></Annotation></Annotations>")
    layout, xml = tmp_path / "layout.csv", tmp_path / "a.xml"
    assert traced(lambda: read_layout(layout, ("a", "b"), (99, 99))) < 4 * layout.stat().st_size + (1 << 18)
    assert traced(lambda: read_regions(xml)) < 4 * xml.stat().st_size + (1 << 18)
    assert [outline.shape for outline in read_regions(xml)] == [(60, 2)] * 150


def test_annotation_xml_without_end_or_of_countless_corners(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    corner = '<Vertex X="1" Y="1"/>'
    start, end = (
        "<Annotations><Annotation><Regions><Region Id='7'><Vertices>",
        "</Vertices></Region></Regions></Annotation>",
    )
    for text, said in (
        ("<Annotations>" + "<a>" * 100_000, "without end"),
        ("<a>" * 100_000, "root Annotations"),
        (f"{start}{corner * 5001}{end}</Annotations>", "region 7 has 5,001 corners"),
        (f"{start}<Vertex X='nan' Y='1'/>{end}</Annotations>", "no finite number"),
        (f"{start}<Vertex X='1'/>{end}</Annotations>", "needs the numbers X and Y"),
        (f"{start}{corner}", "no whole XML"),
        ("\0", "no whole XML"),
        ("<?xml version='1.0' encoding='klingon'?><Annotations/>", "no whole XML"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=said) as caught:
            read_regions(path)
        assert "\n" not in str(caught.value)


def test_json_of_nothing_but_brackets_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" + "{}," * 500_000 + "{}]")
    assert traced(lambda: read_json(path)) < 4 * path.stat().st_size
    assert read_json(path) == {}
    with pytest.raises(DataError, match="anything but brackets"):
        limits.read_json(path)
    path.write_text(json.dumps({"unreadable": [[k, k, k, k] for k in range(200_000)]}, indent=1))
    assert len(limits.read_json(path)["unreadable"]) == 200_000
    for text in ("[" * 100_000, "9" * 5000, "{", "\0"):
        path.write_text(text)
        with pytest.raises(DataError, match="no JSON file") as caught:
            limits.read_json(path)
        assert "\n" not in str(caught.value)
