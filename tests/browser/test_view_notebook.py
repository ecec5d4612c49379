"""``wsinuc.read(result).view()`` in a notebook that runs: its cell shows the page, and its kernel stays free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from helpers.browser import WAIT_MS, watch

CELLS = (
    "import wsinuc\nview = wsinuc.read({result!r}).view(height=600)\nview",
    "import urllib.request\nurllib.request.urlopen(view.url, timeout=60).status",
    "view.stop()",
)


def test_a_cell_shows_the_viewer(browser: Any, result: Path) -> None:
    cells = [nbformat.v4.new_code_cell(cell.format(result=str(result))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3")
    with client.setup_kernel():
        for number in (0, 1):
            client.execute_cell(cells[number], number)
        frame = cells[0].outputs[-1]["data"]["text/html"]
        assert cells[1].outputs[-1]["data"]["text/plain"] == "200"
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        errors = watch(page)
        # As a notebook puts the output into its page.
        page.set_content(f"<!doctype html><body>{frame}</body>")
        shown = page.frame_locator("iframe")
        shown.locator("body[data-ready]").wait_for()
        assert "nuclei" in (shown.locator("#count").text_content() or "")
        page.wait_for_function("() => document.querySelector('iframe').clientHeight >= 600")
        assert errors == []
        page.close()
        client.execute_cell(cells[2], 2)
