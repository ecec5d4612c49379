"""What AnnData and SpatialData are made of, without their packages; ``tests/clients`` reads the whole with them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from wsinuc.errors import ConfigError, DataError, OutputError
from wsinuc.exports.atomic import appearing
from wsinuc.exports.scverse.neighbours import neighbour_graph
from wsinuc.exports.scverse.spatial import to_spatialdata, write_spatialdata
from wsinuc.exports.scverse.table import to_anndata, write_anndata
from wsinuc.exports.scverse.whole import read_whole


def lengths(points: list[tuple[float, float]], reach: float) -> list[list[float]]:
    connectivities, distances = neighbour_graph(np.array(points, float).reshape(-1, 2), reach)
    assert connectivities.dtype == np.float32
    assert ((connectivities.toarray() != 0) == (distances.toarray() != 0)).all()
    return distances.toarray().tolist()


def test_a_square_with_a_centre_has_its_sides_and_half_diagonals():
    square = [(0, 0), (0, 2), (2, 2), (2, 0), (1, 1)]
    side, half = 2.0, pytest.approx(2**0.5)
    assert lengths(square, 10) == [
        [0, side, 0, side, half],
        [side, 0, side, 0, half],
        [0, side, 0, side, half],
        [side, 0, side, 0, half],
        [half, half, half, half, 0],
    ]
    assert lengths(square, 1.5)[0] == [0, 0, 0, 0, half]


def test_an_edge_as_long_as_the_reach_counts():
    assert lengths([(0, 0), (3, 4)], 5.0) == [[0, 5], [5, 0]]
    assert lengths([(0, 0), (3, 4)], 4.99) == [[0, 0], [0, 0]]


@pytest.mark.parametrize("points", [[], [(1, 1)]])
def test_too_few_for_an_edge(points: list[tuple[float, float]]):
    assert lengths(points, 5.0) == [[0.0] * len(points)] * len(points)


def test_on_a_line_the_next_one_is_the_neighbour():
    # In no order: the middle one last, on a line that falls.
    assert lengths([(0, 4), (4, 0), (1, 3)], 10) == [
        [0, 0, pytest.approx(2**0.5)],
        [0, 0, pytest.approx(18**0.5)],
        [pytest.approx(2**0.5), pytest.approx(18**0.5), 0],
    ]


def test_the_whole_table_is_read_with_the_name_of_its_run(reference: Path):
    import json

    from wsinuc.nuclei.uuids import nucleus_uuids

    whole = read_whole(reference)
    features = json.loads((reference / "nuclei.geojson").read_text())["features"]
    assert len(whole.nuclei) == len(features)
    assert nucleus_uuids(whole.run_id, whole.nuclei.ids) == [feature["id"] for feature in features]
    assert whole.slide == "plane.tiff"


def test_no_result_is_none(tmp_path: Path):
    with pytest.raises((OutputError, DataError), match="no summary"):
        read_whole(tmp_path)


@pytest.mark.parametrize(
    ("function", "package"),
    [(to_anndata, "anndata"), (to_spatialdata, "spatialdata")],
)
def test_a_missing_package_names_its_extra(
    function: object, package: str, reference: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"pip install 'wsinuc\[{package}\]'"):
        function(reference)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("write", "name"),
    [(write_anndata, "slide.h5ad"), (write_anndata, "slide.zarr"), (write_spatialdata, "slide.zarr")],
)
def test_nothing_is_left_of_an_export_that_failed(
    write: object, name: str, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for package in ("anndata", "spatialdata"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError):
        write(reference, tmp_path / name)  # type: ignore[operator]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["slide.csv", "slide", "h5ad"])
def test_another_suffix_is_refused(name: str, reference: Path, tmp_path: Path):
    with pytest.raises(OutputError, match=r"\.h5ad or \.zarr"):
        write_anndata(reference, tmp_path / name)


def test_a_folder_that_is_there_is_nobodys_to_remove(tmp_path: Path):
    (tmp_path / "slide.zarr").mkdir()
    with pytest.raises(OutputError, match="is there already"), appearing(tmp_path / "slide.zarr"):
        pass


def test_a_missing_parent_is_told_before_the_work(reference: Path, tmp_path: Path):
    with pytest.raises(OutputError, match="make it first"):
        write_spatialdata(reference, tmp_path / "no" / "slide.zarr")


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path):
    def fill() -> None:
        with appearing(tmp_path / "slide.zarr") as partial:
            partial.mkdir()
            (partial / "zarr.json").write_text("{}")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        fill()
    assert not list(tmp_path.iterdir())


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path):
    target = tmp_path / "slide.h5ad"
    target.write_text("old")
    with appearing(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]
