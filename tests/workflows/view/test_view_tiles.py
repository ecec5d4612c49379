"""Tiles of a viewer: the right pixels of the slide, the right nuclei, and the same picture across their edges."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsinuc.errors import ConfigError
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.workflows.view.opened import Opened, Source
from wsinuc.workflows.view.tiles.nuclei import draw_nuclei
from wsinuc.workflows.view.tiles.palette import CLASSES
from wsinuc.workflows.view.tiles.pyramid import TILE, Pyramid
from wsinuc.workflows.view.tiles.slide import read_slide
from wsinuc.workflows.view.tiles.style import Style, parse_style


@pytest.fixture(scope="module")
def opened(reference: Path) -> Opened:
    return Opened(Source(reference))


def decoded(tile: tuple[bytes, str]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(tile[0])))


def test_a_tile_at_full_resolution_has_the_slides_own_pixels(opened: Opened, slide: Path) -> None:
    zoom = opened.pyramid.finest
    pixels = decoded(opened.slide_tile(zoom, 1, 1)).astype(int)
    expected = open_slide(slide).read(Box(TILE, TILE, 2 * TILE, 2 * TILE))
    # JPEG, so about.
    assert np.abs(pixels - expected).mean() < 4


def test_coarse_tiles_are_means_of_fine_ones(slide: Path) -> None:
    source = open_slide(slide)
    fine, _ = read_slide(source, Box(0, 0, 400, 400), 1.0)
    coarse, unreadable = read_slide(source, Box(0, 0, 200, 200), 2.0)
    means = fine.reshape(200, 2, 200, 2, 3).mean((1, 3))
    assert np.abs(coarse - means).max() <= 1
    assert unreadable == []


def test_beyond_the_slide_a_tile_is_transparent(opened: Opened) -> None:
    whole = decoded(opened.slide_tile(0, 0, 0))
    height, width = opened.pyramid.extent(0).shape
    assert (whole[:height, :width, 3] == 255).all()
    assert (whole[height:, :, 3] == 0).all()
    assert (whole[:, width:, 3] == 0).all()


def test_outlines_lie_where_the_nuclei_are(opened: Opened) -> None:
    table = opened.table
    assert table is not None
    picture = opened.nuclei_pixels(Box(0, 0, 256, 256), 1.0, Style(filled=True))
    rows = table.rows_in(20, 20, 236, 236)
    for row in rows:
        y, x = int(table.y[row]), int(table.x[row])
        assert picture[y, x, 3] > 0, row
        # Shrinking a fill may round.
        assert np.abs(picture[y, x, :3].astype(int) - CLASSES[table.classes[row]]).max() <= 3
    assert (picture[..., 3] == 0).mean() > 0.3


@pytest.mark.parametrize("down", [0.5, 1.0, 2.0, 4.0, 8.0])
def test_neighbouring_tiles_show_one_picture(opened: Opened, down: float) -> None:
    paint = opened.paint(Style())
    whole = draw_nuclei(paint, Box(0, 0, 128, 128), down)
    halves = np.hstack([draw_nuclei(paint, Box(0, x, 128, x + 64), down) for x in (0, 64)])
    differing = np.abs(whole.astype(int) - halves).max(-1) > 2
    # Where dots overlap, either may be on top.
    assert differing.mean() < 0.002


def test_a_density_on_the_grid_is_the_density_of_the_nuclei(opened: Opened) -> None:
    from wsinuc.workflows.view.tiles.density import density_grid

    grid = density_grid(opened.paint(Style()), opened.pyramid)
    assert grid.sums[..., 0].sum() == len(opened.table)
    drawn = grid.draw(opened.pyramid.box(0, 0, 0), 0)
    assert drawn.shape == (TILE, TILE, 4)
    assert drawn[..., 3].any()


def test_styles_hide_nuclei_by_class_probability_and_range(opened: Opened) -> None:
    table = opened.table
    rows = np.arange(len(table))
    areas = table.column("area_um2")
    middle = float(np.median(areas))
    assert set(table.classes[opened.paint(Style(hidden=frozenset({0}))).shown(rows)]) == {1}
    shown = opened.paint(Style(of="area_um2", low=middle)).shown(rows)
    assert shown.tolist() == np.flatnonzero(areas >= middle).tolist()
    shown = opened.paint(Style(least=0.95)).shown(rows)
    assert shown.tolist() == np.flatnonzero(table.probabilities >= 0.95).tolist()


def test_numbers_are_coloured_from_low_to_high(opened: Opened) -> None:
    paint = opened.paint(Style(by="area_um2"))
    areas = opened.table.column("area_um2")
    smallest, largest = int(areas.argmin()), int(areas.argmax())
    assert paint.indices(np.array([smallest, largest])).tolist() == [0, 255]


def test_what_is_no_style_or_tile_is_refused(opened: Opened) -> None:
    with pytest.raises(ConfigError, match="style"):
        parse_style({"p": ["much"]})
    with pytest.raises(ConfigError, match="numbers"):
        parse_style({"lo": ["nan"]})
    with pytest.raises(ConfigError, match="no measurement 'colour'"):
        opened.paint(Style(by="colour"))
    with pytest.raises(ConfigError, match="no tile"):
        Pyramid((1000, 1000)).box(0, 1, 0)


def test_every_class_colour_is_told_apart_with_any_colour_vision() -> None:
    # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
    deficiencies = {
        "none": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    from skimage.color import deltaE_ciede2000, rgb2lab

    srgb = np.array(CLASSES) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    for name, matrix in deficiencies.items():
        seen = np.clip(linear @ np.asarray(matrix).T, 0, 1)
        lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
        apart = deltaE_ciede2000(lab[:, None], lab[None])
        np.fill_diagonal(apart, np.inf)
        # A just noticeable difference is about 2; 10 is seen at once.
        assert apart.min() > 10, name
        assert apart[:4, :4].min() > 12, name
