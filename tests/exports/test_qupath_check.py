"""The checker agrees with what QuPath's readers really did, and says clearly what is wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from wsinuc.annotations.events import json_events
from wsinuc.annotations.features import raw_features
from wsinuc.errors import DataError
from wsinuc.exports.qupath import check as qupath_check
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.exports.qupath.geometry import geometry_issues
from wsinuc.exports.qupath.plain import plain_polygons

HERE = Path(__file__).parents[1]
CASES = HERE / "qupath_cases"
SHARED = HERE.parents[1] / "shared" / "qupath_cases"
VERSIONS = ("0.5.1", "0.6.0", "0.7.0")
RING = [[0, 0], [9, 0], [5, 9], [0, 0]]


def rows(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))[1:]


def feature(**properties: object) -> dict:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [RING]},
        "properties": {"objectType": "detection", **properties},
    }


def check(tmp_path: Path, document: object, name: str = "a.geojson") -> qupath_check.CheckReport:
    path = tmp_path / name
    path.write_text(json.dumps(document), encoding="utf-8")
    return check_geojson(path)


@pytest.mark.parametrize(("case", "refused", "imported"), rows(CASES / "outcomes.tsv"))
def test_agrees_with_recorded_outcomes(case: str, refused: str, imported: str) -> None:
    report = check_geojson(CASES / case)
    assert report.rejected_by == frozenset(refused.split()) - {"-"}
    if len(report.rejected_by) < len(VERSIONS):
        assert report.count == int(imported)
        assert report.count or not report.ok


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the full set of cases beside the repository")
def test_agrees_with_all_recorded_cases() -> None:
    """152 files, three readers: who refuses, how many objects of which type and class the others get."""
    table = rows(SHARED / "RESULTS.tsv")
    assert len(table) == 152
    for case, *outcomes in table:
        report = check_geojson(SHARED / case)
        refused = {v for v, outcome in zip(VERSIONS, outcomes, strict=True) if outcome.startswith("REJECT")}
        assert report.rejected_by == refused, case
        accepted = [outcome for outcome in outcomes if outcome.startswith("ACCEPT")]
        for outcome in accepted:
            assert report.count == int(re.match(r"ACCEPT n=(\d+)", outcome)[1]), case
            types = Counter(name.lower() for name in re.findall(r"\[(\w+)/", outcome))
            assert types == Counter(report.by_type), case
            classes = Counter(name.replace("null", "none") for name in re.findall(r"class=(.*?) meas", outcome))
            assert classes == Counter(report.by_class), case
            assert report.findings or "EMPTY" not in outcome, case
        if accepted and report.count == 0:
            assert not report.ok or report.warnings, case


def test_says_which_feature_and_counts_repeats(tmp_path: Path) -> None:
    bad = feature(name=None)
    report = check(tmp_path, {"type": "FeatureCollection", "features": [feature(), bad, bad]})
    (problem,) = report.problems
    assert (problem.count, problem.where, problem.versions) == (2, "feature 1", VERSIONS)


def test_warns_of_two_colors_for_one_class_and_of_repeated_ids(tmp_path: Path) -> None:
    red, green = ({"name": "Tumor", "color": color} for color in ([255, 0, 0], [0, 255, 0]))
    identity = {"id": "7b6f0b1e-9b7e-4a37-9c0b-0a4d9b9f7a01"}
    report = check(tmp_path, [feature(classification=red) | identity, feature(classification=green) | identity])
    assert report.ok
    assert {w.reason for w in report.warnings} == {
        "a class comes in two colors: QuPath uses the first",
        "an id occurs twice",
    }


def test_checks_children(tmp_path: Path) -> None:
    assert not check(tmp_path, feature(childObjects=[feature(name=None)])).ok


def test_fused_parts_are_a_warning(tmp_path: Path) -> None:
    squares = [[[[x, 0], [x + 9, 0], [x + 9, 9], [x, 9], [x, 0]]] for x in (0, 9)]
    report = check(tmp_path, feature() | {"geometry": {"type": "MultiPolygon", "coordinates": squares}})
    assert report.ok
    assert any("fused" in warning.reason for warning in report.warnings)


def test_empty_collection_is_fine_but_mentioned(tmp_path: Path) -> None:
    report = check(tmp_path, {"type": "FeatureCollection", "features": []})
    assert report.ok
    assert [w.reason for w in report.warnings] == ["the file holds no objects"]


def test_damaged_archives(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps(feature()).encode())
    (tmp_path / "cut.geojson.gz").write_bytes(whole[:-12])
    (tmp_path / "not.zip").write_bytes(b"nonsense")
    for name in ("cut.geojson.gz", "not.zip"):
        assert check_geojson(tmp_path / name).rejected_by == frozenset(VERSIONS)


def test_compression_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qupath_check, "MAX_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.geojson", b" " * 100_000)
    report = check_geojson(tmp_path / "bomb.zip")
    assert not report.ok
    assert report.heap_bytes <= 1001 * qupath_check.HEAP_PER_BYTE


def test_advises_shards_when_the_heap_would_be_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qupath_check, "HEAP_ADVICE", 100)
    report = check(tmp_path, feature())
    assert report.ok
    assert any("heap" in w.reason for w in report.warnings)


@pytest.mark.parametrize(
    "junk", [None, 3, "x", [None], [[]], {"type": "Feature"}, {"type": "FeatureCollection", "features": [1, None]}]
)
def test_never_raises_on_junk(tmp_path: Path, junk: object) -> None:
    assert not check(tmp_path, junk).ok


@pytest.mark.parametrize("key", ["id", "geometry", "properties", "nucleusGeometry"])
@pytest.mark.parametrize("junk", [3, "x", [], [None], {}, {"type": []}, {"type": "Polygon", "coordinates": {}}, True])
def test_never_raises_on_junk_inside_a_feature(tmp_path: Path, key: str, junk: object) -> None:
    check(tmp_path, feature() | {key: junk})


@pytest.mark.parametrize("key", ["objectType", "classification", "measurements", "name", "color", "childObjects"])
@pytest.mark.parametrize("junk", [3, "x", [], [None], {}, {"name": []}, {"name": {}, "color": [None]}, True, None])
def test_never_raises_on_junk_inside_properties(tmp_path: Path, key: str, junk: object) -> None:
    check(tmp_path, feature(**{key: junk}))


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        check_geojson(tmp_path / "none.geojson")


@pytest.mark.parametrize(
    ("ring", "plain"),
    [
        (RING, True),
        ([[0.25, 0], [9, 0], [5, 9.01], [0.25, 0]], True),
        ([[0.255, 0], [9, 0], [5, 9], [0.255, 0]], False),  # not on the grid
        ([[0, 0], [9, 0], [5, 9]], False),  # too short
        ([[0, 0], [9, 0], [5, 9], [1, 5]], False),  # open
        ([[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]], False),  # crosses itself
        ([[0, 0], [9, 0], [4, 0], [0, 0]], False),  # no area
        ([[0, 0], ["9", 0], [5, 9], [0, 0]], True),  # a number in quotes counts
        ([[0, 0], [9], [5, 9], [0, 0]], False),
        ([], False),
    ],
)
def test_what_is_called_plain_has_no_issues(ring: list, plain: bool) -> None:
    wrong = {"type": "Feature", "geometry": None}
    document = {
        "type": "FeatureCollection",
        "features": [wrong, _with([ring]), wrong, _with([RING]), _with([RING, RING])],
    }
    features = list(raw_features(json_events(io.BytesIO(json.dumps(document).encode()))))
    assert plain_polygons(features) == [False, plain, False, True, False]
    assert not plain or not any(geometry_issues(features[1]["geometry"], True))


def test_places_are_counted_through_portions(tmp_path: Path) -> None:
    features = [feature() for _ in range(50)]
    features[37] = _with([[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]])
    report = check(tmp_path, {"type": "FeatureCollection", "features": features})
    assert report.count == 50
    assert [finding.where for finding in report.problems] == ["feature 37"]


def _with(rings: list) -> dict:
    """A detection of this shape."""
    return {**feature(), "geometry": {"type": "Polygon", "coordinates": rings}}
