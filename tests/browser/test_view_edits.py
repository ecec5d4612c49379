"""What a person does to make a training window right, and to have learned classes written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from playwright.sync_api import Page

from helpers.browser import go, label_every_twelfth, ready, to_screen
from wsinuc.datasets import open_dataset
from wsinuc.workflows.view.table import load_table

HOSTILE = "<img src=x onerror=alert(1)>"


def drag(page: Page, *corners: tuple[float, float]) -> None:
    """Draw a line with the mouse over points of the slide."""
    page.mouse.move(*to_screen(page, *corners[0]))
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*to_screen(page, *corner), steps=5)
    page.mouse.up()


def regions_of(result: Path) -> list[dict[str, Any]]:
    path = result.parent / "plane.regions.geojson"
    features: list[dict[str, Any]] = json.loads(path.read_text())["features"] if path.exists() else []
    return features


def outlines_of(result: Path) -> dict[str, shapely.Polygon]:
    return {
        each["id"]: shapely.geometry.shape(each["geometry"])
        for each in regions_of(result)
        if each["properties"]["objectType"] == "detection"
    }


def until_written(page: Page, result: Path, count: int) -> None:
    """Wait until so many outlines are in the file and on the page."""
    page.wait_for_function(f"() => wsinucView.outlines().length === {count}")
    assert len(outlines_of(result)) == count


def inner(result: Path) -> list[tuple[str, shapely.Polygon]]:
    """Outlines in the middle of the window, from the largest on."""
    middle = shapely.box(290, 390, 410, 510)
    within = [(name, shape) for name, shape in outlines_of(result).items() if middle.contains(shape)]
    return sorted(within, key=lambda each: -each[1].area)


def test_a_training_window_is_drawn_edited_and_kept(seen: Any, result: Path, screenshots: Path) -> None:
    page = seen.page
    page.click("#windows > summary")
    go(page, 350, 450, 0.5)
    page.screenshot(path=screenshots / "windows-none.png")
    page.fill("#window-name", HOSTILE)
    page.click("#window-add")
    page.mouse.move(*to_screen(page, 260, 370))
    page.mouse.down()
    page.mouse.move(*to_screen(page, 430, 530), steps=5)
    page.screenshot(path=screenshots / "windows-drawing.png")
    page.mouse.up()
    page.wait_for_function("() => wsinucView.outlines().length > 5")
    page.wait_for_function("() => wsinucView.tilesAreThere()")
    window = next(each for each in regions_of(result) if each["properties"]["objectType"] == "annotation")
    assert window["properties"]["classification"]["name"] == "Region*"
    assert window["properties"]["name"] == HOSTILE
    # As text on the page, whatever it holds.
    assert page.text_content("#window-list .name") == HOSTILE
    before = outlines_of(result)
    page.screenshot(path=screenshots / "windows-drawn.png")

    # Split one by a line from side to side.
    (first, nucleus), (second, other) = inner(result)[:2]
    page.keyboard.press("s")
    _, y0, _, y1 = nucleus.bounds
    middle = nucleus.centroid
    drag(page, (middle.x, y0 - 3), (middle.x, y1 + 3))
    until_written(page, result, len(before) + 1)
    page.screenshot(path=screenshots / "windows-split.png")
    after = outlines_of(result)
    pieces = [shape for name, shape in after.items() if name not in before]
    assert first not in after
    assert abs(sum(piece.area for piece in pieces) - nucleus.area) < 0.5

    # Both pieces are selected; merged they are the nucleus again, and that is taken back.
    page.keyboard.press("m")
    until_written(page, result, len(before))
    page.keyboard.press("u")
    until_written(page, result, len(before) + 1)

    # Delete the one that is clicked.
    page.keyboard.press("Escape")
    page.mouse.click(*to_screen(page, other.representative_point().x, other.representative_point().y))
    page.wait_for_function("() => document.getElementById('window-count').textContent .startsWith('1 selected')")
    page.screenshot(path=screenshots / "windows-selected.png")
    page.click("#window-delete")
    until_written(page, result, len(before))
    assert second not in outlines_of(result)

    # Draw one in its place.
    page.keyboard.press("d")
    drag(page, *[tuple(corner) for corner in other.exterior.coords[:: max(1, len(other.exterior.coords) // 12)]])
    until_written(page, result, len(before) + 1)
    page.screenshot(path=screenshots / "windows-outline.png")
    page.keyboard.press("2")
    page.wait_for_function("() => wsinucView.outlines().some((each) => each.class === 'long' && each.isSelected)")

    kept = regions_of(result)
    page.reload()
    ready(page)
    page.wait_for_function(f"() => wsinucView.outlines().length === {len(before) + 1}")
    assert regions_of(result) == kept
    image = next(iter(open_dataset(f"{result}={result.parent / 'plane.regions.geojson'}")))
    assert len(np.unique(image.labels)) - 1 >= len(before)


def test_the_keyboard_alone_draws_a_window(seen: Any, result: Path) -> None:
    page = seen.page
    go(page, 200, 200, 0.5)
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_function("() => wsinucView.outlines().length > 0")
    window = shapely.geometry.shape(regions_of(result)[0]["geometry"])
    assert window.bounds[:2] == (200, 200)
    assert regions_of(result)[0]["properties"]["name"] == "Region 1"
    # The nucleus in the middle is chosen by Enter, and goes by X.
    name, shape = next((name, shape) for name, shape in outlines_of(result).items() if window.contains(shape))
    count = len(outlines_of(result))
    point = shape.representative_point()
    go(page, point.x, point.y, 0.5)
    page.keyboard.press("Enter")
    page.keyboard.press("x")
    page.wait_for_function(f"() => wsinucView.outlines().length === {count - 1}")
    assert name not in outlines_of(result)


def test_a_window_is_renamed_and_an_area_of_it_ignored(seen: Any, result: Path, screenshots: Path) -> None:
    page = seen.page
    go(page, 350, 450, 0.5)
    page.keyboard.press("r")
    drag(page, (260, 370), (430, 530))
    page.wait_for_function("() => wsinucView.outlines().length > 5")
    page.click("[aria-label='Rename Region 1']")
    page.fill("[aria-label='Name of Region 1']", HOSTILE)
    page.keyboard.press("Enter")
    page.wait_for_selector("#window-list .name")
    page.wait_for_function(f"() => document.querySelector('#window-list .name').textContent === {json.dumps(HOSTILE)}")
    # The field has the focus within the click, or the first letters would be commands to the page.
    focused = page.eval_on_selector(
        f"[aria-label='Rename {HOSTILE}']", "(button) => { button.click(); return document.activeElement.ariaLabel; }"
    )
    assert focused == f"Name of {HOSTILE}"
    # Esc leaves the name as it is.
    page.keyboard.type("other")
    page.keyboard.press("Escape")
    assert page.text_content("#window-list .name") == HOSTILE
    page.keyboard.press("i")
    drag(page, (300, 400), (350, 400), (350, 450), (300, 450))
    page.wait_for_function("() => document.getElementById('ignored-list').textContent.includes('Ignored area 1')")
    page.screenshot(path=screenshots / "windows-ignored.png")
    image = next(iter(open_dataset(f"{result}={result.parent / 'plane.regions.geojson'}")))
    assert image.ignore is not None
    assert abs(int(image.ignore.sum()) - 50 * 50) < 200
    assert {each["properties"].get("name") for each in regions_of(result)} >= {HOSTILE}
    page.click("[aria-label='Remove Ignored area 1']")
    page.wait_for_function("() => document.getElementById('ignored-list').textContent === ''")
    page.keyboard.press("u")
    page.wait_for_function("() => document.getElementById('ignored-list').textContent.includes('Ignored area 1')")


def test_learned_classes_are_applied_beside_the_result(seen: Any, result: Path, screenshots: Path) -> None:
    page = seen.page
    table = load_table(result)
    label_every_twelfth(page, table, {1: HOSTILE, 0: "Round ones"})
    page.click("#learn")
    page.wait_for_selector("#apply:not([hidden])")
    page.click("#apply")
    page.wait_for_function("() => document.getElementById('applied').textContent.includes('Writing')")
    page.screenshot(path=screenshots / "apply-writing.png")
    assert page.is_disabled("#apply")
    page.wait_for_function("() => document.getElementById('applied').textContent.includes('Written to')")
    page.locator("#applied").scroll_into_view_if_needed()
    page.wait_for_timeout(3500)
    page.screenshot(path=screenshots / "apply-done.png")
    out = result.parent / "classified" / "plane.wsinuc"
    assert load_table(out).class_names == (HOSTILE, "Round ones")
    assert HOSTILE in page.text_content("#applied")

    # What has changed is counted, and shown in place.
    page.click("#compare > summary")
    page.wait_for_function("() => document.getElementById('compare-facts').textContent.includes('another class')")
    assert f"long → {HOSTILE}" in page.text_content("#compare-facts")
    page.keyboard.press("c")
    assert page.get_attribute("#other-shown", "aria-pressed") == "true"
    asked = "() => performance.getEntriesByType('resource').some((each) => each.name.includes(wsinucOther))"
    page.evaluate("() => { window.wsinucOther = `/tiles/nuclei/${document.getElementById('other').value}/`; }")
    page.wait_for_function(asked)
    page.check("#differing")
    assert page.get_attribute("#other-shown", "aria-pressed") == "false"
    page.wait_for_function("() => location.hash.includes('vs=')")
    page.uncheck("#differing")
    page.click("#apply")
    page.wait_for_selector("#replace[open]")
    page.screenshot(path=screenshots / "apply-there.png")
    page.click("#replace button[value=no]")
    with page.context.expect_page() as opened:
        page.click("#applied a")
    other = opened.value
    ready(other)
    assert HOSTILE in other.text_content("#legend")
    assert other.text_content("#name") == "classified/plane"
