"""spatialdata reads what wsinuc writes: the same nuclei, areas and pixels, in both coordinate systems."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import dask.array
import numpy as np
import pytest
import spatialdata
import zarr
from spatialdata import SpatialData

from helpers.killed import DONE, in_child
from wsinuc.exports.scverse import spatial
from wsinuc.exports.scverse.spatial import to_spatialdata, write_spatialdata
from wsinuc.exports.scverse.whole import read_whole
from wsinuc.nuclei import Nuclei

MICROMETRES = "um"


@pytest.fixture(scope="module")
def store(result: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("spatialdata") / "plane.zarr"
    write_spatialdata(result, out)
    return out


@pytest.fixture(scope="module", params=["written", "in memory"])
def data(request: pytest.FixtureRequest, result: Path) -> SpatialData:
    if request.param == "written":
        return spatialdata.read_zarr(request.getfixturevalue("store"))
    return to_spatialdata(result)


def test_every_nucleus_is_a_polygon_of_its_area(data: SpatialData, nuclei: Nuclei):
    shapes = data["nuclei"]
    assert shapes.index.tolist() == nuclei.ids.tolist()
    assert shapes.geometry.is_valid.all()
    in_um = spatialdata.transform(shapes, to_coordinate_system=MICROMETRES)
    np.testing.assert_allclose(in_um.area, nuclei.measurements["area_um2"], rtol=1e-6)
    downsample = nuclei.frame.downsample
    np.testing.assert_allclose(shapes.area, nuclei.areas_px * downsample[0] * downsample[1], rtol=1e-6)


def test_the_label_image_holds_the_same_ids(data: SpatialData, result: Path, nuclei: Nuclei):
    levels = [data["nuclei_labels"][name]["image"].to_numpy() for name in data["nuclei_labels"]]
    for number, pixels in enumerate(levels):
        ours = zarr.open_array(result / "labels.ome.zarr" / "labels" / "nuclei" / str(number), mode="r")
        np.testing.assert_array_equal(pixels, ours[:])
    ids, areas = np.unique(levels[0], return_counts=True)
    assert ids[1:].tolist() == nuclei.ids.tolist()
    assert areas[1:].tolist() == nuclei.areas_px.tolist()


@pytest.mark.parametrize("system", ["global", MICROMETRES])
def test_pixels_lie_under_their_polygons(data: SpatialData, system: str, nuclei: Nuclei):
    pixels = spatialdata.get_centroids(data["nuclei_labels"], coordinate_system=system).compute()
    polygons = spatialdata.get_centroids(data["nuclei"], coordinate_system=system).compute()
    pixels = pixels[pixels.index != 0]
    np.testing.assert_allclose(pixels.loc[polygons.index], polygons, atol=1e-6)
    if system == "global":
        np.testing.assert_allclose(polygons[["y", "x"]], nuclei.level0_centroids(), atol=1e-6)
    else:
        np.testing.assert_allclose(polygons[["y", "x"]], nuclei.centroids * nuclei.frame.mpp, atol=1e-6)


def test_the_table_annotates_the_shapes(data: SpatialData, nuclei: Nuclei):
    table = spatialdata.match_table_to_element(data, element_name="nuclei", table_name="table")
    assert table.n_obs == len(nuclei)
    assert table.obs["id"].tolist() == nuclei.ids.tolist()
    joined, rows = spatialdata.join_spatialelement_table(
        sdata=data, spatial_element_names="nuclei", table_name="table", how="inner"
    )
    assert len(joined["nuclei"]) == rows.n_obs == len(nuclei)


def test_a_box_in_micrometres_cuts_shapes_and_table_alike(data: SpatialData, nuclei: Nuclei):
    corner = [50.0, 60.0]
    box = data.query.bounding_box(
        axes=("y", "x"), min_coordinate=[0.0, 0.0], max_coordinate=corner, target_coordinate_system=MICROMETRES
    )
    # The query takes every polygon that shares anything with the box.
    low = np.minimum.reduceat(nuclei.outlines, nuclei.offsets[:-1]) * nuclei.frame.mpp
    assert sorted(box["nuclei"].index) == nuclei.ids[(low <= corner).all(axis=1)].tolist()
    assert len(box["nuclei"]) == box["table"].n_obs > 0


def test_the_slide_has_its_pixels_and_covers_the_labels(data: SpatialData, result: Path):
    image = data["slide"]["scale0"]["image"]
    ours = zarr.open_array(result / "labels.ome.zarr" / "0", mode="r")
    np.testing.assert_array_equal(image.to_numpy(), ours[:])
    assert image.coords["c"].to_numpy().tolist() == ["r", "g", "b"]
    for system in ("global", MICROMETRES):
        whole = spatialdata.get_extent(data["slide"], coordinate_system=system)
        labels = spatialdata.get_extent(data["nuclei_labels"], coordinate_system=system)
        for axis in ("y", "x"):
            np.testing.assert_allclose(whole[axis], labels[axis], rtol=0.01)


def test_a_second_time_nothing_is_written_over(store: Path, result: Path):
    from wsinuc.errors import OutputError

    before = sorted(path.name for path in store.parent.iterdir())
    with pytest.raises(OutputError, match="is there already: remove it"):
        write_spatialdata(result, store)
    assert sorted(path.name for path in store.parent.iterdir()) == before


def test_classes_may_have_any_name(result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = read_whole(result)
    names = ("Immune cells", "CD3/CD8 (+)")
    named = replace(whole, nuclei=replace(whole.nuclei, class_names=names))
    monkeypatch.setattr(spatial, "read_whole", lambda path: named)
    write_spatialdata(result, tmp_path / "named.zarr")
    table = spatialdata.read_zarr(tmp_path / "named.zarr").tables["table"]
    assert tuple(table.obs["class"].cat.categories) == names
    own = ["probability_Immune_cells", "probability_CD3_CD8____"]
    np.testing.assert_array_equal(table.obs[own], whole.nuclei.class_probabilities)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_of_a_process_that_has_used_dask_writes_as_well(result: Path, tmp_path: Path):
    dask.array.zeros(4, chunks=2).sum().compute()
    assert in_child(lambda: write_spatialdata(result, tmp_path / "forked.zarr")).code == DONE
    assert len(spatialdata.read_zarr(tmp_path / "forked.zarr")["nuclei"])
