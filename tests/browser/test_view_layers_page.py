"""Layers in a browser: a map of nuclei, what was searched, both themes, and the table of a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helpers.browser import WAIT_MS, ready, watch
from wsinuc.workflows.view.library import find_sources
from wsinuc.workflows.view.server import start_server
from wsinuc.workflows.view.table import load_table


def show_map(page: Any, of: str, um: str) -> None:
    """Choose a map, and wait for its legend and tiles."""
    page.evaluate("() => { document.getElementById('maps').open = true; }")
    page.select_option("#map-of", of)
    page.fill("#map-um", um)
    page.press("#map-um", "Enter")
    page.wait_for_function(f"() => location.hash.includes('map={of}') && location.hash.includes('um={um}')")
    page.wait_for_selector("#map-legend .scale")
    page.wait_for_function("() => wsinucView.tilesAreThere()")


def test_a_map_lies_over_the_slide_with_its_legend(seen: Any, screenshots: Path, tmp_path: Path) -> None:
    page = seen.page
    asked = "() => performance.getEntriesByType('resource').filter((each) => each.name.includes('/tiles/map/')).length"
    assert page.evaluate(asked) == 0
    show_map(page, "density", "40")
    assert page.evaluate(asked) > 0
    legend = page.text_content("#map-legend")
    assert "Nuclei per mm²" in legend
    assert "nuclei counted" in legend
    page.select_option("#map-of", "share")
    page.wait_for_function("() => document.getElementById('map-legend').textContent.includes('Share of')")
    # The picture has it as well.
    page.wait_for_function("() => document.getElementById('picture').href.includes('map=share')")
    with page.expect_download() as download:
        page.click("#picture")
    download.value.save_as(tmp_path / "view.png")
    mapped = np.asarray(Image.open(tmp_path / "view.png")).astype(int)
    # Viridis, where the slide is pink.
    assert ((mapped[..., 1] > mapped[..., 0] + 20).mean()) > 0.02
    page.screenshot(path=screenshots / "map.png")


def test_a_map_that_is_too_fine_says_so(seen: Any) -> None:
    page = seen.page
    show_map(page, "density", "40")
    page.fill("#map-um", "0.01")
    # The answer's status stands in the console, as it should.
    page.press("#map-um", "Enter")
    page.wait_for_function("() => document.getElementById('map-legend').textContent.includes('finer than the pixels')")
    assert all("404" in error for error in seen.errors)
    seen.errors.clear()


def test_an_address_brings_map_and_layers(seen: Any) -> None:
    page = seen.page
    show_map(page, "area_um2", "60")
    page.evaluate("() => { document.getElementById('layers').open = true; }")
    page.uncheck("#nuclei")
    page.check("#searched")
    page.wait_for_function("() => document.getElementById('searched-legend').textContent.includes('mm²')")
    page.wait_for_function("() => location.hash.includes('layers=nuclei%2Csearched')")
    other = page.context.new_page()
    errors = watch(other)
    other.goto(page.url)
    ready(other)
    other.wait_for_selector("#map-legend .scale", state="attached")
    assert other.input_value("#map-of") == "area_um2"
    assert other.input_value("#map-um") == "60"
    assert not other.is_checked("#nuclei")
    assert other.is_checked("#searched")
    assert errors == []


def test_regions_are_drawn_with_the_nuclei_in_each(browser: Any, result: Path, tmp_path: Path) -> None:
    table = load_table(result)
    x1, y1 = float(np.median(table.x)), float(table.y.max()) + 1
    ring = [[0, 0], [x1, 0], [x1, y1], [0, y1], [0, 0]]
    region = {"type": "Feature", "properties": {"name": "left"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "regions.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [region]}))
    server = start_server(find_sources(result, regions=tmp_path / "regions.geojson"))
    server.run_in_background()
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(server.url)
    ready(page)
    cells = page.locator("#regions-table tr:nth-child(2) td").all_text_contents()
    assert cells[:2] == ["left", str(int((table.x < x1).sum()))]
    page.close()
    server.stop()


def test_a_range_drawn_on_the_histogram_hides_the_others(seen: Any) -> None:
    page = seen.page
    page.wait_for_selector("#histogram rect", state="attached")
    box = page.locator("#histogram").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.25 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], middle, steps=3)
    page.mouse.up()
    page.wait_for_function("() => location.hash.includes('of=') && location.hash.includes('lo=')")
    assert float(page.input_value("#range-low")) < float(page.input_value("#range-high"))
    assert 0 < page.locator("#histogram rect.in").count() < page.locator("#histogram rect").count()
    page.click("#range-clear")
    page.wait_for_function("() => !location.hash.includes('of=')")


def test_light_and_dark(seen: Any, screenshots: Path) -> None:
    page = seen.page
    ground = "() => getComputedStyle(document.querySelector('aside')).backgroundColor"
    light = page.evaluate(ground)
    page.screenshot(path=screenshots / "light.png")
    page.click("#theme")
    assert page.evaluate(ground) != light
    page.screenshot(path=screenshots / "dark.png")
    page.reload()
    ready(page)
    assert page.evaluate(ground) != light


def test_the_table_of_a_folder_is_sorted_by_its_headings(browser: Any, reference: Path, tmp_path: Path) -> None:
    for name in ("beta", "alpha"):
        shutil.copytree(reference, tmp_path / f"{name}.wsinuc")
    (tmp_path / "beta.wsinuc" / "summary.json").unlink()
    server = start_server(find_sources(tmp_path))
    server.run_in_background()
    page = browser.new_page(color_scheme="dark")
    page.set_default_timeout(WAIT_MS)
    page.goto(server.url)
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    names = "() => [...document.querySelectorAll('#slides tbody tr')].map((row) => row.cells[0].textContent.trim())"
    assert page.evaluate(names) == ["alpha", "beta"]
    page.click("#slides th:first-child button")
    page.click("#slides th:first-child button")
    assert page.evaluate(names) == ["beta", "alpha"]
    # One that is not finished has no number, and comes first.
    page.click("#slides th:nth-child(2) button")
    assert page.evaluate(names) == ["beta", "alpha"]
    page.click("text=alpha")
    ready(page)
    page.close()
    server.stop()
