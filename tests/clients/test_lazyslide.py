"""LazySlide loads the GeoJSON of a result as annotations: all nuclei, where its filter of small areas is off."""

from __future__ import annotations

from pathlib import Path

import lazyslide
import numpy as np
import pytest
from wsidata import WSIData, open_wsi

import wsinuc
from wsinuc.nuclei import Nuclei


@pytest.fixture
def wsi(slide: Path, tmp_path: Path) -> WSIData:
    return open_wsi(slide, store=str(tmp_path / "plane.zarr"))


def test_every_nucleus_is_loaded_with_its_class(wsi: WSIData, result: Path, nuclei: Nuclei):
    lazyslide.io.load_annotations(wsi, result / "nuclei.geojson", min_area=0, key_added="nuclei")
    shapes = wsi.shapes["nuclei"]
    assert len(shapes) == len(nuclei)
    names = [nuclei.class_names[index] for index in nuclei.classes]
    assert shapes["classification_name"].tolist() == names


def test_the_default_filter_drops_nuclei_below_100_square_pixels(wsi: WSIData, result: Path, nuclei: Nuclei):
    """What the how-to page says of it."""
    lazyslide.io.load_annotations(wsi, result / "nuclei.geojson", min_area=0, key_added="all")
    lazyslide.io.load_annotations(wsi, result / "nuclei.geojson", key_added="default")
    areas = wsi.shapes["all"].area
    assert 0 < len(wsi.shapes["default"]) == int((areas > 100).sum()) < len(nuclei)


@pytest.mark.parametrize(("outlines", "tolerance"), [("exact", 5e-3), ("smooth", 0.01)])
def test_outlines_have_the_areas_of_the_nuclei(
    wsi: WSIData, result: Path, nuclei: Nuclei, tmp_path: Path, outlines: str, tolerance: float
):
    path = wsinuc.export(result, "geojson", tmp_path / "plane.geojson", outlines=outlines)
    lazyslide.io.load_annotations(wsi, path, min_area=0, key_added="nuclei")
    level0 = nuclei.areas_px * np.prod(nuclei.frame.downsample)
    # QuPath keeps 0.01 px of a coordinate, and so does the file.
    np.testing.assert_allclose(wsi.shapes["nuclei"].area, level0, rtol=tolerance)
    assert wsi.shapes["nuclei"].area.sum() == pytest.approx(level0.sum(), rel=tolerance / 10)
