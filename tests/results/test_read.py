"""``wsinuc.read``: a result in one line as Arrow, Dask, a slide, and what optional packages make of it."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import shapely
from skimage.segmentation import find_boundaries

import wsinuc
from helpers.runs import SHAPE
from wsinuc.errors import ConfigError, OutputError, SlideError
from wsinuc.labels import pixel_counts

OLD = Path(__file__).parent / "result-0.2.0.zip"


def test_the_table(reference: Path) -> None:
    result = wsinuc.read(reference)
    table = result.nuclei()
    assert table.num_rows == len(result) == sum(len(part) for part in result.iter_nuclei())
    assert table["id"].to_pylist() == list(range(1, len(result) + 1))
    assert np.allclose(table["x_um"].to_numpy(), table["x_px"].to_numpy() * 0.5)
    assert set(table["class"].unique().to_pylist()) == set(result.summary["counts"])
    assert repr(result) == f"<wsinuc.Result {reference}: {len(result):,} nuclei>"


def test_the_label_images(reference: Path) -> None:
    result = wsinuc.read(reference)
    assert result.labels.shape == result.class_labels.shape == SHAPE
    counts = pixel_counts(np.asarray(result.labels).astype(np.int32))
    assert counts[1:].tolist() == result.nuclei()["area_px"].to_pylist()
    assert int(result.class_labels.max().compute()) == 2


def test_the_slide(reference: Path, slide: Path, tmp_path: Path) -> None:
    assert wsinuc.read(reference).slide.level_shapes[0] == SHAPE
    assert wsinuc.read(reference, slide=slide).slide.level_shapes[0] == SHAPE
    with pytest.raises(SlideError, match=r"not where it was .*wsinuc\.read\(\.\.\., slide"):
        assert wsinuc.read(reference, slide=tmp_path / "gone.svs").slide


def test_geopandas(reference: Path) -> None:
    pytest.importorskip("geopandas")
    result = wsinuc.read(reference)
    frame = result.to_geopandas()
    assert frame.crs is None
    assert frame.geometry.is_valid.all()
    assert np.allclose(frame.geometry.area, frame["area_px"], rtol=1e-6)
    assert "bbox" not in frame.columns
    assert len(frame) == len(result)


def test_pandas(reference: Path) -> None:
    pytest.importorskip("pandas")
    result = wsinuc.read(reference)
    frame = result.to_pandas()
    assert frame["id"].tolist() == list(range(1, len(result) + 1))
    assert {"x_um", "class", "area_um2"} <= set(frame.columns)
    assert "geometry" not in frame.columns


@pytest.mark.parametrize("package", ["pandas", "geopandas"])
def test_a_package_that_is_missing(reference: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install 'wsinuc\[geopandas\]'"):
        getattr(wsinuc.read(reference), f"to_{package}")()


def test_an_overlay_is_that_of_the_whole_wherever_it_is_cut(reference: Path) -> None:
    result = wsinuc.read(reference)
    height, width = result.labels.shape
    whole = result.overlay(wsinuc.Box(0, 0, height, width))
    part = wsinuc.Box(130, 200, 390, 500)
    assert np.array_equal(result.overlay(part), whole[part.slices])
    pixels = result.slide.at(result.mpp).read(part)
    drawn = (result.overlay(part) != pixels).any(axis=2)
    inner = find_boundaries(np.asarray(result.labels[part.slices]), mode="inner")
    # Lines run along the edges of nuclei and colour the pixels on both sides of them.
    assert drawn[inner].mean() > 0.99
    assert drawn.mean() < 0.5


def test_an_overlay_beyond_the_slide_is_white(reference: Path) -> None:
    result = wsinuc.read(reference)
    height, _ = result.labels.shape
    assert (result.overlay(wsinuc.Box(height, 0, height + 4, 4)) == 255).all()
    assert result.overlay(wsinuc.Box(-4, -4, 8, 8)).shape == (12, 12, 3)


def test_an_overlay_has_a_largest_size(reference: Path) -> None:
    with pytest.raises(ConfigError, match=r"at most 67,108,864 pixels, got 10000 x 10000: show parts"):
        wsinuc.read(reference).overlay(wsinuc.Box(0, 0, 10_000, 10_000))


def test_it_shows_itself(reference: Path) -> None:
    result = wsinuc.read(reference)
    assert result.mpp == 0.5
    assert sum(result.counts.values()) == len(result)
    page = result._repr_html_()
    assert f"plane.wsinuc: {len(result):,} nuclei" in page
    assert "<td>round</td>" in page
    assert "data:image/png;base64," in page


def test_what_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="expected the folder of a finished result"):
        wsinuc.read(tmp_path)


def test_a_result_of_0_2_0(tmp_path: Path) -> None:
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path)
    result = wsinuc.read(tmp_path / "plane.wsinuc")
    table = result.nuclei()
    assert table.num_rows == len(result) == 18
    polygons = shapely.from_wkb(table["geometry"].to_pylist())
    assert shapely.area(polygons).tolist() == table["area_px"].to_pylist()
    assert len(set(table["uuid"].to_pylist())) == 18
    assert result.labels.shape == (150, 100)
