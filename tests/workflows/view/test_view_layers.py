"""Layers of a viewer: maps are those of ``wsinuc map``, and areas are those that a run searched."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from wsinuc.errors import ConfigError
from wsinuc.grid import Box
from wsinuc.workflows.maps.colours import colours_of
from wsinuc.workflows.maps.run import map_nuclei
from wsinuc.workflows.view.facts import area_facts, map_facts
from wsinuc.workflows.view.opened import Opened, Source
from wsinuc.workflows.view.picture import PictureLayers, field_picture
from wsinuc.workflows.view.searched import DAMAGED
from wsinuc.workflows.view.tiles.map_choice import MapChoice, parse_map
from wsinuc.workflows.view.tiles.style import Style


@pytest.fixture(scope="module")
def opened(reference: Path) -> Opened:
    return Opened(Source(reference))


@pytest.mark.parametrize(
    ("of", "class_at"), [("density", None), ("density", 1), ("share", 0), ("area_um2", None), ("probability", 1)]
)
def test_a_map_on_the_page_is_that_of_the_command(
    reference: Path, opened: Opened, of: str, class_at: int | None
) -> None:
    assert opened.table is not None
    name = None if class_at is None else opened.table.class_names[class_at]
    expected = map_nuclei(reference, of=of, um=20.0, class_name=name)
    found = opened.map_layer(MapChoice(of=of, class_at=class_at, um=20.0), Style()).nuclei_map
    assert_allclose(found.values, expected.values, rtol=1e-6)
    assert (found.nuclei, found.limits, found.quantity) == (expected.nuclei, expected.limits, expected.quantity)


def test_filters_say_which_nuclei_a_map_counts_and_hidden_classes_count(opened: Opened) -> None:
    assert opened.table is not None
    choice = MapChoice(of="density", um=20.0)
    half = float(np.median(opened.table.probabilities))
    some = opened.map_layer(choice, Style(least=half)).nuclei_map
    assert some.nuclei == (opened.table.probabilities >= half).sum()
    assert opened.map_layer(choice, Style(hidden=frozenset({0}))).nuclei_map.nuclei == len(opened.table)


def test_a_tile_has_the_colour_of_the_square_of_each_pixel(opened: Opened) -> None:
    choice = MapChoice(of="density", um=20.0)
    layer = opened.map_layer(choice, Style())
    zoom = opened.pyramid.finest
    tile = np.asarray(Image.open(io.BytesIO(opened.map_tile(zoom, 1, 1, choice, Style())[0])))
    assert opened.mpp is not None
    colours = colours_of(layer.nuclei_map.values, layer.nuclei_map.limits)
    for y, x in ((0, 0), (100, 37), (255, 255)):
        square = tuple(int((256 + each + 0.5) * opened.mpp / 20.0) for each in (y, x))
        assert tile[y, x, 3] == (255 if layer.nuclei_map.values[square] > 0 else 0)
        if tile[y, x, 3]:
            assert (tile[y, x, :3] == colours[square]).all()
    beyond = layer.draw(Box(-2, -2, 2, 2), 1.0)
    assert (beyond[:2] == 0).all()
    assert (beyond[:, :2] == 0).all()


def test_the_legend_has_units_and_numbers(opened: Opened) -> None:
    facts = map_facts(opened, MapChoice(of="area_um2", um=20.0), Style())
    assert facts["title"] == "mean area (µm²)"
    assert len(facts["labels"]) == 3
    assert facts["colors"][0] == "#440154"
    assert map_facts(opened, MapChoice(of="density", um=20.0), Style())["title"] == "nuclei per mm²"


@pytest.mark.parametrize(
    "choice",
    [
        MapChoice(of="no_such"),
        MapChoice(of="density", um=0.01),
        MapChoice(of="share", class_at=9),
        MapChoice(of="density", um=float("nan")),
    ],
)
def test_a_map_that_cannot_be_is_one_sentence(opened: Opened, choice: MapChoice) -> None:
    with pytest.raises(ConfigError):
        opened.map_layer(choice, Style())


def test_an_address_that_names_no_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="map that cannot be"):
        parse_map({"map": ["density"], "um": ["wide"]})


def test_the_picture_has_the_map_below_the_nuclei(opened: Opened) -> None:
    box = Box(0, 0, 300, 300)
    choice = MapChoice(of="density", um=20.0)
    plain = field_picture(opened, box, 1.0, Style(), PictureLayers(nuclei=0.0)).astype(int)
    mapped = field_picture(opened, box, 1.0, Style(), PictureLayers(nuclei=0.0, choice=choice, map_opacity=0.5))
    layer = opened.map_layer(choice, Style()).draw(box, 1.0).astype(float)
    expected = plain + (layer[..., :3] - plain) * (layer[..., 3:] / 255 * 0.5)
    # Above the scale bar.
    assert np.abs(mapped[:200] - expected[:200]).max() <= 2


def test_what_was_searched_is_outlined_and_damage_is_hatched(reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plane.wsinuc"
    shutil.copytree(reference, folder)
    opened = Opened(Source(folder))
    summary = json.loads((folder / "summary.json").read_text())
    height, width = opened.pyramid.shape
    opened.summary = {**summary, "unreadable": [[0, 0, height // 2, width // 4]]}
    areas = opened.searched
    mm2 = height * width * (opened.mpp or 0) ** 2 / 1e6
    assert 0 < areas.mm2 <= mm2 * 1.01
    assert areas.tissue[..., 3].any()
    facts = area_facts(opened)
    assert facts["leftOut"][-1]["label"] == f"damaged {mm2 / 8:.2g} mm²"
    hatched = areas.left_out[..., 3] > 0
    assert (areas.left_out[5, 5, :3] == DAMAGED).all()
    assert hatched[: hatched.shape[0] // 2 - 1, : hatched.shape[1] // 4 - 1].all()
    assert not hatched[-1, -1]
