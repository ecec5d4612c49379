"""Maps against SciPy's own binning, and their files as other programs read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal
from ome_zarr_models.v05 import Image as OmeImage
from PIL import Image
from scipy.stats import binned_statistic_2d

import wsinuc
from helpers.oracle import MPP
from helpers.runs import SHAPE
from wsinuc.errors import ConfigError, OutputError
from wsinuc.nuclei import Frame, Nuclei, concatenate, empty
from wsinuc.workflows.maps.grid import MapGrid, Sums
from wsinuc.workflows.maps.nuclei_map import NucleiMap
from wsinuc.workflows.maps.picture import OPACITY, colour, slide_in_grey
from wsinuc.workflows.maps.quantity import Quantity
from wsinuc.workflows.maps.run import map_nuclei, write_map
from wsinuc_cli.main import main

NOTHING = empty(Frame(mpp=0.5, downsample=(1.0, 1.0)), ("tumour", "stroma"), ((200, 0, 0), (0, 0, 200)))


def nuclei_at(*places: tuple[float, float], classes: tuple[int, ...] = (), areas: tuple[float, ...] = ()) -> Nuclei:
    """Nuclei with these centroids (y, x) in view pixels."""
    n = len(places)
    measurements = {name: np.zeros(n, np.float32) for name in NOTHING.measurements}
    return replace(
        NOTHING,
        ids=np.arange(1, n + 1),
        centroids=np.array(places, float),
        areas_px=np.ones(n, np.int32),
        outlines=np.zeros((4 * n, 2), np.int32),
        offsets=np.arange(0, 4 * n + 1, 4),
        classes=np.array(classes or (0,) * n, np.uint8),
        class_probabilities=np.zeros((n, 2), np.float32),
        probabilities=np.linspace(0.5, 1, n).astype(np.float32),
        disagreements=np.zeros(n, np.float32),
        measurements={**measurements, "area_um2": np.array(areas or (0,) * n, np.float32)},
    )


def values(quantity: Quantity, *parts: Nuclei, um: float = 50.0, shape: tuple[int, int] = (250, 200)) -> np.ndarray:
    sums = Sums(MapGrid(um, 0.5, shape), quantity)
    for part in parts:
        sums.add(part)
    return sums.values()


def test_density_is_nuclei_per_mm2_of_the_square_inside_the_slide() -> None:
    # 125 x 100 um in squares of 50 um: the last row is 25 um high.
    part = nuclei_at((0, 0), (99.9, 99.9), (100, 0), (249.9, 199.9))
    per_square = 1 / 0.0025
    expected = [[2 * per_square, 0], [per_square, 0], [0, 2 * per_square]]
    assert_allclose(values(Quantity("density"), part), expected)


def test_a_nucleus_on_the_far_edge_counts() -> None:
    assert values(Quantity("density"), nuclei_at((250, 200)))[2, 1] > 0


def test_a_mean_over_no_nuclei_is_nan() -> None:
    found = values(Quantity("area_um2"), nuclei_at((10, 10), (20, 20), (10, 150), areas=(10, 20, 7)))
    assert_array_equal(found, [[15, 7], [np.nan, np.nan], [np.nan, np.nan]])
    found = values(Quantity("probability"), nuclei_at((10, 10), (20, 20)))
    assert found[0, 0] == 0.75


def test_a_share_is_of_all_nuclei_and_a_class_restricts_the_others() -> None:
    part = nuclei_at((10, 10), (20, 20), (30, 30), (10, 150), classes=(0, 1, 1, 1), areas=(1, 2, 4, 8))
    assert_allclose(values(Quantity("share", "tumour"), part)[0], [1 / 3, 0])
    assert_allclose(values(Quantity("density", "stroma"), part)[0], [800, 400])
    assert_allclose(values(Quantity("area_um2", "stroma"), part)[0], [3, 8])


def test_how_the_table_is_cut_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform((0, 0), (250, 200), (300, 2))
    part = nuclei_at(*map(tuple, places), areas=tuple(rng.integers(1, 99, 300)))
    pieces = [part.select(np.arange(start, min(start + 70, 300))) for start in range(0, 300, 70)]
    for of in ("density", "area_um2"):
        assert_array_equal(values(Quantity(of), part), values(Quantity(of), NOTHING, *pieces))


def test_the_map_of_a_result_equals_scipys_binning(reference: Path) -> None:
    table = concatenate(list(wsinuc.iter_nuclei(reference)))
    um = 60.0
    edges = [np.arange(0, side * MPP + um, um) for side in SHAPE]
    y, x = (table.centroids * MPP).T
    for of, weights, statistic in (
        ("circularity", table.measurements["circularity"], "mean"),
        ("disagreement", table.disagreements, "mean"),
        ("density", None, "count"),
    ):
        made = map_nuclei(reference, of=of, um=um)
        expected = binned_statistic_2d(y, x, weights, statistic, bins=edges).statistic
        if of == "density":
            expected = expected / made.grid.areas_mm2()
        assert_allclose(made.values, expected, rtol=1e-6)
        assert made.nuclei == len(table)


def test_a_map_of_some_nuclei_says_so(reference: Path) -> None:
    table = concatenate(list(wsinuc.iter_nuclei(reference)))
    large = map_nuclei(reference, um=60, where=["area_um2>=40", "class=long"])
    kept = (table.measurements["area_um2"] >= 40) & (table.classes == table.class_names.index("long"))
    assert large.nuclei == kept.sum() > 0
    assert large.values.sum() < map_nuclei(reference, um=60, class_name="long").values.sum()
    assert large.quantity.title == "nuclei per mm² where area_um2>=40 and class=long"
    with pytest.raises(ConfigError, match="no column 'area'"):
        map_nuclei(reference, where="area>=40")


@pytest.fixture(scope="module")
def density(reference: Path) -> NucleiMap:
    return map_nuclei(reference, um=40.0)


def test_a_tiff_has_values_and_pixel_size_and_the_same_bytes_each_time(density: NucleiMap, tmp_path: Path) -> None:
    write_map(density, tmp_path / "a.ome.tiff")
    write_map(density, tmp_path / "b.tif")
    assert (tmp_path / "a.ome.tiff").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert_array_equal(tifffile.imread(tmp_path / "a.ome.tiff"), density.values)
    with tifffile.TiffFile(tmp_path / "a.ome.tiff") as tiff:
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"]) == (40.0, 40.0)
        assert pixels["PhysicalSizeXUnit"] == "µm"
        assert tiff.pages[0].tags["XResolution"].value == (250, 1)  # per cm


def test_a_container_is_valid_and_lies_on_the_labels(density: NucleiMap, tmp_path: Path) -> None:
    write_map(density, tmp_path / "a.ome.zarr")
    root = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    assert OmeImage.from_zarr(root).datasets[0][0].path == "0"
    assert_array_equal(root["0"][:], density.values)
    dataset = root.attrs["ome"]["multiscales"][0]["datasets"][0]
    scale, translation = dataset["coordinateTransformations"]
    assert scale["scale"] == [40.0, 40.0]
    # Its first corner is that of the labels' first pixel, whose centre is the origin.
    assert translation["translation"] == [40.0 / 2 - MPP / 2] * 2
    window = root.attrs["ome"]["omero"]["channels"][0]["window"]
    assert (window["start"], window["end"]) == density.limits


def test_a_picture_shows_squares_over_the_grey_slide(density: NucleiMap, tmp_path: Path) -> None:
    pixels, um_per_px = slide_in_grey(density)
    assert pixels.shape == (*SHAPE, 3)
    assert um_per_px == MPP
    assert (pixels.max(axis=2) == pixels.min(axis=2)).all()
    assert pixels.min() < 250  # the slide, no white plane
    blank = replace(density, values=np.full_like(density.values, np.nan))
    assert_array_equal(colour(pixels, um_per_px, blank), pixels)
    top = replace(density, values=np.full_like(density.values, density.limits[1]))
    yellow = np.array([253, 231, 36])  # viridis' last colour
    shown = colour(pixels, um_per_px, top)
    assert_allclose(shown[5, 5], pixels[5, 5] * (1 - OPACITY) + yellow * OPACITY, atol=1)
    write_map(density, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as page:
        assert page.width > SHAPE[1]
        assert page.height > SHAPE[0]


def test_the_share_of_a_class_that_is_absent_is_shown_and_glass_is_not(density: NucleiMap) -> None:
    pixels = np.full((20, 20, 3), 255, np.uint8)
    none = np.zeros_like(density.values)
    assert (colour(pixels, 1.0, replace(density, values=none)) == 255).all()
    share = replace(density, values=none, quantity=Quantity("share", "round"))
    assert (colour(pixels, 1.0, share) < 255).any()


def test_what_cannot_be_mapped_is_said(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a map of 0\.1 um is finer than the pixels .*\(0\.5 um\)"):
        map_nuclei(reference, um=0.1)
    with pytest.raises(ConfigError, match=r"no 'aera' to map: expected one of density, share, .*area_um2"):
        map_nuclei(reference, of="aera")
    with pytest.raises(ConfigError, match=r"no class 'tumour': it has round, long"):
        map_nuclei(reference, class_name="tumour")
    with pytest.raises(ConfigError, match="give --class"):
        map_nuclei(reference, of="share")
    with pytest.raises(OutputError, match="not a complete wsinuc result"):
        map_nuclei(tmp_path)
    with pytest.raises(ConfigError, match="take larger ones"):
        MapGrid(0.5, 0.5, (20_000, 20_000))
    with pytest.raises(ConfigError, match="finer than the pixels"):
        MapGrid(float("nan"), 0.5, (200, 200))


def test_the_command_writes_every_file_and_refuses_before_it_reads(reference: Path, tmp_path: Path) -> None:
    def run(*words: object):
        return CliRunner().invoke(main, ["map", str(reference), *map(str, words)])

    made = run("--of", "share", "--class", "long", "--um", 100, "-o", tmp_path / "a.png", "-o", tmp_path / "a.ome.zarr")
    assert made.exit_code == 0, made.output
    assert "4 x 5 squares of 100 um" in made.output
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.ome.zarr"}
    for words, said in (
        (("-o", tmp_path / "a.jpg"), "a map is written as .ome.zarr"),
        (("-o", tmp_path / "a.ome.zarr"), "is there already: remove it"),
        (("-o", tmp_path / "no" / "a.png"), "there is no folder"),
        (("--um", "0.2", "-o", tmp_path / "b.png"), "finer than the pixels"),
    ):
        refused = run(*words)
        assert refused.exit_code == 1
        assert said in refused.output
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.ome.zarr"}
