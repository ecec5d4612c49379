"""The pictures of the pages on ``wsinuc view``: screenshots of a browser that does what the pages say.

    make demo test-browser
    .venv/bin/python examples/figures/view.py demo/CMU-1-Small-Region.wsinuc docs/images

The result is copied, so that the labels which are given here lie beside the copy.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from wsinuc.workflows.view.facts import nuclei_within
from wsinuc.workflows.view.library import find_sources
from wsinuc.workflows.view.server import start_server
from wsinuc.workflows.view.table import NucleiTable, load_table

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
SIZE = {"width": 1280, "height": 720}
QUALITY = 85
WAIT_MS = 120_000
PLACE = {"x": 1000, "y": 1560, "down": 0.55}
"""Epidermis, its border and the dermis below, in level-0 pixels."""
SELECTED = (1179, 1468)
"""x, y of a nucleus that is looked at."""
EPIDERMIS = ((1075, 1450), (1218, 1395), (1234, 1483), (1174, 1571), (1130, 1626), (1053, 1610), (1031, 1533))
DERMIS = ((860, 1384), (1009, 1384), (1009, 1604), (855, 1604))
"""Corners x, y of areas where nuclei are labelled."""
LABELS = 12
"""Of each class."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    with TemporaryDirectory() as temporary:
        result = Path(temporary) / args.result.name
        shutil.copytree(args.result, result)
        with opened(result) as page:
            take_pictures(page, load_table(result), args.folder)


@contextmanager
def opened(result: Path) -> Iterator[Any]:
    """The page of a result, ready."""
    server = start_server(find_sources(result))
    server.run_in_background()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport=SIZE, color_scheme="light").new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(server.url)
        page.wait_for_selector("body[data-ready]")
        yield page
        browser.close()
    server.stop()


def take_pictures(page: Any, table: NucleiTable, folder: Path) -> None:
    """From the first look to classes that were learned."""
    save(page, folder / "view_open.jpg")
    fold(page, "maps", True)
    fold(page, "teach", False)
    page.select_option("#map-of", "density")
    page.wait_for_selector("#map-legend .scale")
    page.uncheck("#nuclei")
    save(page, folder / "view_map.jpg")
    page.check("#nuclei")
    page.select_option("#map-of", "")
    fold(page, "maps", False)
    fold(page, "teach", True)
    go(page, PLACE)
    for name, corners in (("Epidermis", EPIDERMIS), ("Dermis", DERMIS)):
        label(page, name, nuclei_in(table, corners))
    page.reload()
    page.wait_for_selector("body[data-ready]")
    go(page, PLACE)
    select(page, table)
    save(page, folder / "view.jpg")
    page.keyboard.press("Escape")
    page.click("#learn")
    page.wait_for_function("() => document.getElementById('score').textContent.includes('accuracy')")
    # So that the score is in sight.
    fold(page, "distribution", False)
    page.mouse.move(640, 5)
    save(page, folder / "view_learned.jpg")


def go(page: Any, place: dict[str, float]) -> None:
    """Move to a place."""
    page.evaluate("(place) => wsinucView.go(place)", place)


def fold(page: Any, name: str, is_open: bool) -> None:
    """Open or close a part of the panel."""
    page.evaluate("([name, isOpen]) => { document.getElementById(name).open = isOpen; }", [name, is_open])


def nuclei_in(table: NucleiTable, corners: tuple[tuple[int, int], ...]) -> list[int]:
    """Ids of some nuclei in an area, spread over it."""
    rows = nuclei_within(table, np.asarray(corners, np.float64)[:, ::-1])
    return [int(each) for each in table.ids[rows[np.linspace(0, len(rows) - 1, LABELS).astype(int)]]]


def label(page: Any, name: str, ids: list[int]) -> None:
    """Give nuclei a class, as a key does."""
    page.evaluate(
        "([ids, name]) => fetch(`label/${wsinucView.key}`, {method: 'POST', body: JSON.stringify({ids, class: name})})",
        [ids, name],
    )


def select(page: Any, table: NucleiTable) -> None:
    """Click the nucleus that is nearest to a place."""
    row = int(np.argmin(np.hypot(table.x - SELECTED[0], table.y - SELECTED[1])))
    page.wait_for_function("() => wsinucView.tilesAreThere()")
    page.mouse.click(
        *page.evaluate("([x, y]) => wsinucView.toScreen(x, y)", [float(table.x[row]), float(table.y[row])])
    )
    page.wait_for_function("() => wsinucView.selected() !== null")


def save(page: Any, path: Path) -> None:
    """What is seen, once all of it has come."""
    page.wait_for_function("() => wsinucView.tilesAreThere()")
    # Legends, crops and the overview are no tiles.
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2500)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
