"""The page's own colours: text can be read in both themes, as WCAG 2.1 measures it (AA: 4.5 to 1)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from wsinuc.workflows.view.handlers import FILES

READABLE = 4.5
PAIRS = (
    ("ink", "panel"),
    ("ink", "ground"),
    ("ink", "hover"),
    ("quiet", "panel"),
    ("quiet", "ground"),
    ("quiet", "hover"),
    ("accent", "panel"),
    ("on-accent", "accent"),
    ("warn", "warn-ground"),
    ("panel", "ink"),
)
"""Text and what it stands on, as view.css combines them."""
SEEN = 3.0
"""For what is drawn, such as the bars of the histogram."""
GLASSY = 0.92
"""Share of the panel's colour in boxes over the slide, in view.css."""


def luminance(color: np.ndarray) -> float:
    share = color / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(text: np.ndarray, ground: np.ndarray) -> float:
    bright, dark = sorted((luminance(text), luminance(ground)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def themes() -> dict[str, dict[str, np.ndarray]]:
    css = Path(FILES / "view.css").read_text()
    found = {}
    for name, selector in (("light", r":root"), ("dark", r':root\[data-theme="dark"\]')):
        block = re.search(selector + r" \{(.*?)\}", css, re.S)
        assert block is not None
        pairs = re.findall(r"--([a-z-]+): #([0-9a-f]{3,6});", block[1])
        found[name] = {key: rgb(value) for key, value in pairs}
    return found


def rgb(value: str) -> np.ndarray:
    doubled = value if len(value) == 6 else "".join(2 * letter for letter in value)
    return np.array([int(doubled[at : at + 2], 16) for at in (0, 2, 4)])


def test_contrast_is_measured_as_wcag_does() -> None:
    black, white, grey = rgb("000"), rgb("fff"), rgb("767676")
    assert contrast(black, white) == pytest.approx(21)
    assert contrast(grey, white) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_can_be_read(theme: str) -> None:
    colors = themes()[theme]
    for text, ground in PAIRS:
        assert contrast(colors[text], colors[ground]) >= READABLE, (text, ground)
    for bars in ("bars", "accent"):
        assert contrast(colors[bars], colors["panel"]) >= SEEN, bars


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("text", ["ink", "quiet"])
def test_boxes_over_the_slide_can_be_read_whatever_lies_below(theme: str, text: str) -> None:
    colors = themes()[theme]
    for below in ("000", "fff"):
        ground = GLASSY * colors["panel"] + (1 - GLASSY) * rgb(below)
        assert contrast(colors[text], ground) >= READABLE, below


def test_boxes_over_the_slide_are_as_opaque_as_that() -> None:
    shares = re.findall(r"color-mix\(in srgb, var\(--panel\) (\d+)%", Path(FILES / "view.css").read_text())
    assert shares
    assert min(int(share) for share in shares) >= 100 * GLASSY
