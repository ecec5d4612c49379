"""geopandas, DuckDB and polars read the table as it lies in a result: the same nuclei, and polygons of their areas."""

from __future__ import annotations

from pathlib import Path

import duckdb
import geopandas
import numpy as np
import polars
import pytest
import shapely

from wsinuc.nuclei import Nuclei


def area_um2(areas: np.ndarray, nuclei: Nuclei) -> np.ndarray:
    """Areas in level-0 px^2 as um^2."""
    y, x = nuclei.frame.downsample
    return areas * nuclei.frame.mpp**2 / (y * x)


def test_geopandas_reads_the_folder(result: Path, nuclei: Nuclei):
    frame = geopandas.read_parquet(result / "nuclei")
    assert frame["id"].tolist() == nuclei.ids.tolist()
    assert frame.crs is None
    assert frame.geometry.is_valid.all()
    np.testing.assert_allclose(area_um2(frame.area, nuclei), frame["area_um2"], rtol=1e-6)
    np.testing.assert_allclose(frame.area.sum(), nuclei.areas_px.sum() * np.prod(nuclei.frame.downsample), rtol=1e-6)


def test_geopandas_reads_a_box_alone(result: Path, nuclei: Nuclei):
    box = (0.0, 0.0, 200.0, 300.0)
    frame = geopandas.read_parquet(result / "nuclei", bbox=box)
    everything = geopandas.read_parquet(result / "nuclei")
    inside = everything[everything.bounds["minx"].le(box[2]) & everything.bounds["miny"].le(box[3])]
    assert 0 < len(frame) < len(nuclei)
    assert frame["id"].tolist() == inside["id"].tolist()


def test_positions_and_names_are_those_of_other_outputs(result: Path, nuclei: Nuclei):
    import json

    frame = geopandas.read_parquet(result / "nuclei")
    np.testing.assert_allclose(frame[["y_um", "x_um"]], nuclei.centroids * nuclei.frame.mpp, rtol=1e-9)
    features = json.loads((result / "nuclei.geojson").read_text())["features"]
    assert frame["uuid"].tolist() == [feature["id"] for feature in features]


def test_duckdb_counts_classes_and_adds_areas(result: Path, nuclei: Nuclei):
    query = "SELECT class, count(*), sum(area_um2::DOUBLE) FROM read_parquet($1) GROUP BY class ORDER BY class"
    rows = duckdb.execute(query, [str(result / "nuclei" / "*.parquet")]).fetchall()
    assert [row[0] for row in rows] == sorted(nuclei.class_names)
    for name, count, area in rows:
        of_class = nuclei.classes == nuclei.class_names.index(name)
        assert count == of_class.sum()
        assert area == pytest.approx(nuclei.measurements["area_um2"][of_class].sum(dtype=np.float64), rel=1e-6)


def test_polars_reads_polygons(result: Path, nuclei: Nuclei):
    frame = polars.read_parquet(result / "nuclei" / "*.parquet")
    assert frame["id"].to_list() == nuclei.ids.tolist()
    areas = shapely.area(shapely.from_wkb(frame["geometry"].to_numpy()))
    np.testing.assert_allclose(area_um2(areas, nuclei), frame["area_um2"].to_numpy(), rtol=1e-6)


def test_polars_scans_the_folder_lazily(result: Path, nuclei: Nuclei):
    counts = (
        polars.scan_parquet(result / "nuclei" / "*.parquet")
        .group_by(polars.col("class").cast(polars.String))
        .agg(polars.len(), polars.col("area_um2").cast(polars.Float64).sum())
        .collect()
    )
    assert counts["len"].sum() == len(nuclei)
    total = nuclei.measurements["area_um2"].sum(dtype=np.float64)
    assert counts["area_um2"].sum() == pytest.approx(total, rel=1e-6)
