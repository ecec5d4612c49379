"""What a person does with a viewer: look, move, select, label, learn, come back; and nothing in the console."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from PIL import Image
from playwright.sync_api import Page

from helpers.browser import WAIT_MS, go, label_every_twelfth, ready, to_screen
from wsinuc.workflows.view.library import find_sources
from wsinuc.workflows.view.server import start_server
from wsinuc.workflows.view.table import load_table
from wsinuc.workflows.view.teach.labels import labels_path


def says(page: Page, words: str) -> None:
    """Wait for a message; it may have faded when a busy machine looks."""
    page.wait_for_function(f"() => document.getElementById('toast').textContent.includes({json.dumps(words)})")


def draw_around(page: Page, corners: list[tuple[float, float]]) -> None:
    """Draw with the lasso; where events come late, Bokeh takes the first try for a long press."""
    for _ in range(5):
        page.mouse.move(*to_screen(page, *corners[0]))
        page.mouse.down()
        for corner in corners[1:]:
            page.mouse.move(*to_screen(page, *corner), steps=4)
        page.mouse.up()
        for _ in range(20):
            if "Press the key" in (page.text_content("#toast") or ""):
                return
            time.sleep(0.1)
    raise AssertionError("nothing was drawn")


def pan(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag the slide; where events come late, Bokeh takes the first try for a long press."""
    before = page.evaluate("() => wsinucView.where().x")
    for _ in range(5):
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=5)
        page.mouse.up()
        for _ in range(20):
            if page.evaluate("() => wsinucView.where().x") != before:
                return
            time.sleep(0.1)
    raise AssertionError("the slide was not moved")


def labels_of(result: Path) -> list[str]:
    features = json.loads(labels_path(result).read_text())["features"]
    return [each["properties"]["classification"]["name"] for each in features]


def pixels(page: Page) -> Any:
    """The map as it is painted, uint8 (h, w, 3)."""
    import io

    shot = page.locator("#map").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def differing(page: Page, before: Any) -> float:
    """Share of the map's pixels that look different."""
    return float((np.abs(pixels(page) - before).max(-1) > 60).mean())


def until(holds: Callable[[], bool]) -> None:
    """Wait for what is painted."""
    for _ in range(60):
        if holds():
            return
        time.sleep(0.5)
    raise AssertionError("it was not painted")


def test_the_page_opens_and_shows_slide_and_nuclei(seen: Any, screenshots: Path) -> None:
    page = seen.page
    assert "nuclei" in page.text_content("#count")
    assert page.text_content("#bar-label").endswith(("µm", "mm"))
    # The slide alone looks different, and the nuclei come back.
    shown = pixels(page)
    page.uncheck("#nuclei")
    until(lambda: differing(page, shown) > 0.01)
    page.check("#nuclei")
    until(lambda: differing(page, shown) < 0.001)
    page.screenshot(path=screenshots / "opens.png")


def test_a_click_selects_the_nucleus_of_the_label_image(seen: Any, result: Path) -> None:
    page = seen.page
    table = load_table(result)
    labels = zarr.open_array(str(result / "labels.ome.zarr/labels/nuclei/0"), mode="r")[:]
    down_y, down_x = table.frame.downsample
    for row in (20, 150, 300):
        y, x = float(table.y[row]), float(table.x[row])
        go(page, x, y, 0.5)
        page.mouse.click(*to_screen(page, x, y))
        page.wait_for_function(f"() => wsinucView.selected() === {labels[int(y / down_y), int(x / down_x)]}")
    assert page.is_visible("#nucleus-body img")


def test_panning_and_zooming_fetch_tiles_of_that_place(seen: Any) -> None:
    page = seen.page
    before = page.evaluate("() => wsinucView.where()")
    box = page.locator("#map").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    for _ in range(3):
        page.mouse.wheel(0, -100)
    page.wait_for_function(f"() => wsinucView.where().down < {before['down'] * 0.8}")
    before = page.evaluate("() => wsinucView.where()")
    pan(page, middle, (middle[0] - 200, middle[1] - 100))
    page.wait_for_function(f"() => wsinucView.where().x > {before['x'] + 80 * before['down']}")
    page.wait_for_function("() => wsinucView.tilesAreThere()")
    asked = page.evaluate("() => performance.getEntriesByType('resource').map((each) => each.name)")
    assert any("/tiles/slide/" in each for each in asked)
    assert any("/tiles/nuclei/" in each for each in asked)
    page.wait_for_function("() => location.hash.includes('x=')")


def test_keys_label_the_nucleus_under_the_mouse_and_take_back(seen: Any, result: Path) -> None:
    page = seen.page
    table = load_table(result)
    first, second = 100, 101
    for row, key in ((first, "2"), (second, "x")):
        y, x = float(table.y[row]), float(table.x[row])
        go(page, x, y, 0.5)
        page.mouse.move(0, 0)
        page.mouse.move(*to_screen(page, x, y))
        page.wait_for_function("() => wsinucView.mouse() !== null")
        page.keyboard.press(key)
        page.wait_for_function(f"() => wsinucView.labels() === {1 if row == first else 2}")
    # On the disk as soon as it is shown.
    assert sorted(labels_of(result)) == ["Ignore*", "long"]
    page.reload()
    ready(page)
    page.wait_for_function("() => wsinucView.labels() === 2")
    page.keyboard.press("u")
    says(page, "Taken back")
    page.wait_for_function("() => wsinucView.labels() === 1")
    assert labels_of(result) == ["long"]


def test_lasso_labels_what_lies_within(seen: Any, result: Path) -> None:
    page = seen.page
    go(page, 350, 450, 1)
    page.keyboard.press("l")
    draw_around(page, [(250, 350), (450, 350), (450, 550), (250, 550), (252, 352)])
    page.keyboard.press("1")
    page.wait_for_function("() => wsinucView.labels() > 3")
    table = load_table(result)
    inside = (np.abs(table.x - 350) < 97) & (np.abs(table.y - 450) < 97)
    assert len(labels_of(result)) >= inside.sum() > 3
    assert page.get_attribute("#lasso", "aria-pressed") == "false"


def test_learning_changes_the_colours_and_says_how_good_it_is(seen: Any, result: Path, screenshots: Path) -> None:
    page = seen.page
    table = load_table(result)
    # In another order than the result's own classes, so that they have other colours.
    label_every_twelfth(page, table, {1: "A long", 0: "B round"})
    before = pixels(page)
    page.click("#learn")
    page.wait_for_function("() => document.getElementById('score').textContent.includes('accuracy')")
    page.wait_for_function("() => document.getElementById('legend').textContent.includes('B round')")
    page.wait_for_function("() => wsinucView.tilesAreThere()")
    until(lambda: differing(page, before) > 0.005)
    page.screenshot(path=screenshots / "learned.png")


def test_filters_and_histogram_are_linked(seen: Any) -> None:
    page = seen.page
    page.wait_for_function("() => document.querySelectorAll('#histogram rect').length > 10")
    whole = page.text_content("#seen")
    page.fill("#range-low", "60")
    page.press("#range-low", "Enter")
    page.wait_for_function("() => location.hash.includes('lo=60')")
    assert page.locator("#histogram rect.in").count() > 0
    page.click("#range-clear")
    page.wait_for_function("() => !location.hash.includes('lo=60')")
    assert page.locator("#histogram rect.in").count() == 0
    page.evaluate(
        "() => { const s = document.getElementById('least'); s.value = 99; s.dispatchEvent(new Event('input')); }"
    )
    page.wait_for_function(f"() => document.getElementById('seen').textContent !== {json.dumps(whole)}")


def test_an_address_brings_another_person_to_the_same_place(seen: Any) -> None:
    page = seen.page
    page.select_option("#by", "area_um2")
    page.fill("#search-id", "77")
    page.press("#search-id", "Enter")
    page.wait_for_function("() => wsinucView.selected() === 77")
    go(page, 300, 400, 0.7)
    page.wait_for_function("() => location.hash.includes('by=area_um2') && location.hash.includes('d=0.7')")
    other = page.context.new_page()
    other.goto(page.url)
    ready(other)
    place = other.evaluate("() => wsinucView.where()")
    assert abs(place["x"] - 300) < 1
    assert abs(place["y"] - 400) < 1
    assert abs(place["down"] - 0.7) < 0.01
    assert other.input_value("#by") == "area_um2"
    other.wait_for_function("() => wsinucView.selected() === 77")


def test_a_reload_and_the_way_back_show_what_was_seen(seen: Any) -> None:
    page = seen.page
    go(page, 300, 400, 0.7)
    page.wait_for_function("() => location.hash.includes('d=0.7')")
    # The address has not taken these up when the page goes.
    for leave in (page.reload, lambda: (page.goto("about:blank"), page.go_back())):
        x = page.evaluate(
            "() => { const { x, y, down } = wsinucView.where(); wsinucView.go({ x: x + 50, y, down }); "
            "document.getElementById('filled').click(); return x + 50; }"
        )
        filled = page.is_checked("#filled")
        leave()
        ready(page)
        assert abs(page.evaluate("() => wsinucView.where().x") - x) < 0.1
        assert page.is_checked("#filled") == filled
    # An address that was typed holds, whatever was there.
    page.evaluate("() => { location.hash = 'x=100&y=100&d=0.5'; }")
    page.wait_for_function("() => Math.abs(wsinucView.where().x - 100) < 0.1")
    page.reload()
    ready(page)
    assert abs(page.evaluate("() => wsinucView.where().x") - 100) < 0.1


def test_a_distance_is_measured_and_stays_in_the_address(seen: Any) -> None:
    page = seen.page
    go(page, 350, 450, 0.5)
    mpp = page.evaluate("() => fetch(`facts/${wsinucView.key}`).then((answer) => answer.json())")["mpp"]
    page.keyboard.press("t")
    page.mouse.move(*to_screen(page, 300, 400))
    page.mouse.down()
    page.mouse.move(*to_screen(page, 360, 480), steps=3)
    page.mouse.up()
    # A triangle of sides 60, 80 and 100 pixels.
    expected = f"{float(f'{100 * mpp:.3g}'):g} µm"
    assert page.text_content("#ruler text") == expected
    assert page.get_attribute("#measure", "aria-pressed") == "false"
    page.reload()
    ready(page)
    assert page.text_content("#ruler text") == expected
    page.keyboard.press("Escape")
    assert page.locator("#ruler text").count() == 0


def test_the_mouse_is_over_another_nucleus_when_the_slide_has_moved(seen: Any) -> None:
    page = seen.page
    go(page, 350, 450, 0.5)
    page.mouse.move(*to_screen(page, 350, 450))
    page.wait_for_function("() => wsinucView.mouse() !== null")
    go(page, 250, 400, 0.25)
    at = page.evaluate("() => wsinucView.mouse()")
    assert abs(at["x"] - 250) < 1
    assert abs(at["y"] - 400) < 1


def test_search_finds_a_nucleus_by_its_id(seen: Any) -> None:
    page = seen.page
    page.fill("#search-id", "77")
    page.press("#search-id", "Enter")
    page.wait_for_function("() => wsinucView.selected() === 77")
    page.fill("#search-id", "99999999")
    page.press("#search-id", "Enter")
    says(page, "no nucleus")


def test_the_keyboard_reaches_everything(seen: Any) -> None:
    page = seen.page
    page.evaluate("() => { for (const each of document.querySelectorAll('details')) each.open = true; }")
    page.select_option("#map-of", "density")
    page.wait_for_selector("#map-legend .scale")
    # All that a mouse can press, turn or fill in, by its number.
    controls = page.evaluate("""() => {
      const all = [...document.querySelectorAll("button, a[href], input, select, summary")];
      const shown = all.filter((each) => each.checkVisibility() && !each.disabled);
      shown.forEach((each, number) => (each.dataset.number = number));
      document.activeElement.blur();
      return shown.map((each) => each.id || each.textContent);
    }""")
    assert len(controls) > 30
    assert {"map-of", "map-um", "map-opacity", "searched", "left-out", "lasso"} <= {*controls}
    reached = set()
    for _ in range(len(controls) + 10):
        page.keyboard.press("Tab")
        number, outline = page.evaluate(
            "() => [document.activeElement.dataset.number, getComputedStyle(document.activeElement).outlineStyle]"
        )
        if number is not None:
            reached.add(int(number))
            # One sees where one is.
            assert outline != "none", controls[int(number)]
    assert [controls[number] for number in range(len(controls)) if number not in reached] == []


def test_keys_move_the_slide(seen: Any) -> None:
    page = seen.page
    before = page.evaluate("() => wsinucView.where()")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    after = page.evaluate("() => wsinucView.where()")
    assert after["down"] < before["down"]
    assert after["x"] > before["x"]


def test_the_picture_is_what_is_seen_at_twice_the_resolution(seen: Any, tmp_path: Path) -> None:
    page = seen.page
    go(page, 350, 450, 1)
    page.wait_for_function("() => document.getElementById('picture').href.includes('down=0.5')")
    with page.expect_download() as download:
        page.click("#picture")
    path = tmp_path / "view.png"
    download.value.save_as(path)
    assert download.value.suggested_filename.startswith("plane_x")
    place = page.evaluate("() => wsinucView.where()")
    assert Image.open(path).size == (round(2 * place["w"]), round(2 * place["h"]))


def test_the_page_says_that_the_server_is_away_and_goes_on_when_it_is_back(browser: Any, result: Path) -> None:
    server = start_server(find_sources(result))
    server.run_in_background()
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(server.url)
    ready(page)
    context.set_offline(True)
    # Tiles of another zoom, which have not come yet.
    page.evaluate("() => wsinucView.go({ x: 300, y: 300, down: 0.4 })")
    page.wait_for_selector("#offline:not([hidden])")
    assert not page.evaluate("() => wsinucView.tilesAreThere()")
    context.set_offline(False)
    page.wait_for_selector("#offline", state="hidden")
    page.wait_for_function("() => wsinucView.tilesAreThere()")
    context.close()
    server.stop()
