"""The pages in a real browser: they render, say nothing on the console, and print to PDF.

They run where Chromium is installed (Debian's package chromium), and are skipped elsewhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsinuc.workflows.cohort.state import SlideState
from wsinuc.workflows.cohort.summary import to_html

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), None)
CONSOLE = re.compile(r":CONSOLE[:(]")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt install chromium)")


def browse(page: Path, folder: Path, *options: str) -> str:
    """What Chromium says, after it has opened a page without a network."""
    command: Sequence[str] = (
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",  # a container's root has no other way
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        *options,
        page.as_uri(),
    )
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stderr


def screenshot(page: Path, folder: Path) -> tuple[np.ndarray, str]:
    said = browse(page, folder, "--window-size=1160,4000", f"--screenshot={folder / 'page.png'}")
    with Image.open(folder / "page.png") as image:
        return np.asarray(image.convert("RGB")).astype(int), said


def printed(page: Path, folder: Path) -> int:
    """Pages of the PDF that a page prints to."""
    browse(page, folder, "--no-pdf-header-footer", f"--print-to-pdf={folder / 'page.pdf'}")
    data = (folder / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", data))


def share_near(pixels: np.ndarray, color: tuple[int, int, int]) -> float:
    return float((np.abs(pixels - color).max(axis=2) < 40).mean())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cohort")
    states = [
        SlideState(
            name=f"slide {i} <b>",
            slide=f"{i}.svs",
            state="done",
            figures={"nuclei": 100 * i, "counts": {"a": 60 * i, "b": 40 * i}, "tissue_mm2": 2.0, "notes": []},
        )
        for i in range(1, 6)
    ]
    (out / "report.html").write_text(to_html(states, out), encoding="utf-8")
    return out / "report.html"


def test_the_page_of_a_slide_renders_and_prints(reference: Path, tmp_path: Path) -> None:
    page = reference / "report.html"
    assert page.stat().st_size < 4_000_000
    pixels, said = screenshot(page, tmp_path)
    assert not CONSOLE.search(said), said
    # The nuclei of the helper's slide are drawn in its second class' colour, and its pictures are cyan and blue.
    assert share_near(pixels, (255, 255, 255)) < 0.95
    assert share_near(pixels, (40, 90, 200)) > 1e-4
    assert 2 <= printed(page, tmp_path) <= 8


def test_the_page_of_a_cohort_renders_and_prints(cohort: Path, tmp_path: Path) -> None:
    pixels, said = screenshot(cohort, tmp_path)
    assert not CONSOLE.search(said), said
    assert share_near(pixels, (0, 114, 178)) > 1e-4
    assert printed(cohort, tmp_path) == 1


def test_a_page_that_breaks_the_rules_would_be_noticed(cohort: Path, tmp_path: Path) -> None:
    """Otherwise silence on the console would mean nothing."""
    page = tmp_path / "bad.html"
    text = cohort.read_text(encoding="utf-8")
    page.write_text(text.replace("<body>", "<body><script>alert(1)</script>"), encoding="utf-8")
    assert CONSOLE.search(screenshot(page, tmp_path)[1])
