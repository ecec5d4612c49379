"""anndata, scanpy and squidpy read what wsinuc writes, and squidpy would build the same graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anndata
import matplotlib as mpl
import numpy as np
import pytest
import squidpy
from anndata import AnnData

from wsinuc.exports.scverse import table as table_module
from wsinuc.exports.scverse.table import to_anndata, write_anndata
from wsinuc.exports.scverse.whole import read_whole
from wsinuc.nuclei import Nuclei

mpl.use("agg")

READERS = {".h5ad": anndata.read_h5ad, ".zarr": anndata.read_zarr}


@pytest.fixture(scope="module", params=[*READERS, "in memory"])
def table(request: pytest.FixtureRequest, result: Path, tmp_path_factory: pytest.TempPathFactory) -> AnnData:
    if request.param == "in memory":
        return to_anndata(result)
    out = tmp_path_factory.mktemp("anndata") / f"plane{request.param}"
    write_anndata(result, out)
    return READERS[request.param](out)


def test_every_nucleus_is_a_row(table: AnnData, nuclei: Nuclei):
    assert table.obs["id"].tolist() == nuclei.ids.tolist()
    assert table.obs_names.is_unique
    assert list(table.obs["class"]) == [nuclei.class_names[index] for index in nuclei.classes]
    np.testing.assert_array_equal(table.obs["probability"], nuclei.probabilities)
    np.testing.assert_array_equal(table.obs[["y", "x"]], nuclei.level0_centroids())


def test_measurements_are_the_same_numbers(table: AnnData, nuclei: Nuclei):
    assert table.var_names.tolist() == list(nuclei.measurements)
    for name, values in nuclei.measurements.items():
        np.testing.assert_array_equal(table[:, name].X[:, 0], values)


def test_names_are_those_of_the_geojson(table: AnnData, result: Path):
    import json

    features = json.loads((result / "nuclei.geojson").read_text())["features"]
    assert [feature["id"] for feature in features] == table.obs_names.tolist()


def test_squidpy_finds_the_same_neighbours(table: AnnData, nuclei: Nuclei):
    np.testing.assert_allclose(table.obsm["spatial"], nuclei.centroids[:, ::-1] * nuclei.frame.mpp)
    again = table.copy()
    squidpy.gr.spatial_neighbors_delaunay(again, radius=(0.0, 50.0))
    for name in ("spatial_connectivities", "spatial_distances"):
        difference = abs(table.obsp[name] - again.obsp[name])
        assert difference.max() < 1e-9
        assert table.obsp[name].nnz == again.obsp[name].nnz > len(nuclei)


def test_squidpy_uses_our_graph_and_colours(table: AnnData, tmp_path: Path):
    counts = table.copy()
    squidpy.gr.nhood_enrichment(counts, cluster_key="class", seed=0, show_progress_bar=False)
    assert counts.uns["class_nhood_enrichment"]["count"].sum() == counts.obsp["spatial_connectivities"].nnz
    axes = squidpy.pl.spatial_scatter(table, shape=None, color="class", return_ax=True)
    drawn = {tuple(colour) for colour in np.round(axes.collections[0].get_facecolors()[:, :3] * 255).astype(int)}
    assert drawn == {(200, 40, 40), (40, 90, 200)}
    axes.figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.parametrize("ending", READERS)
def test_classes_may_have_any_name(ending: str, result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = read_whole(result)
    names = ("Immune cells", "CD3/CD8 (+)")
    named = replace(whole, nuclei=replace(whole.nuclei, class_names=names))
    monkeypatch.setattr(table_module, "read_whole", lambda path: named)
    write_anndata(result, tmp_path / f"named{ending}")
    table = READERS[ending](tmp_path / f"named{ending}")
    assert tuple(table.obs["class"].cat.categories) == names
    own = ["probability_Immune cells", "probability_CD3_CD8 (+)"]
    np.testing.assert_array_equal(table.obs[own], whole.nuclei.class_probabilities)
