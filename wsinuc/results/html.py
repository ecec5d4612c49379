"""Results as a notebook shows them: a few facts, and a picture."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH = 700
"""Largest width of a picture in pixels."""


def facts_table(title: str, facts: Mapping[str, str]) -> str:
    """A heading and a table of two columns; names and values are escaped.

    Examples
    --------
    >>> facts_table("a < b", {"nuclei": "3"})
    '<b>a &lt; b</b><table style="width: auto; margin: 0"><tr><td>nuclei</td><td>3</td></tr></table>'
    """
    cells = ((html.escape(name), html.escape(value)) for name, value in facts.items())
    rows = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in cells)
    # Notebooks and sites stretch and centre tables otherwise.
    return f'<b>{html.escape(title)}</b><table style="width: auto; margin: 0">{rows}</table>'


def inline_picture(picture: Image) -> str:
    """A picture as an element that needs no file, shrunk to `WIDTH`."""
    shown = picture.convert("RGB")
    shown.thumbnail((WIDTH, 4 * WIDTH))
    stream = io.BytesIO()
    shown.save(stream, format="PNG")
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{text}" alt="nuclei with their outlines">'


def per_mm2(nuclei: int, mm2: float | None) -> str:
    """A density for people; a dash where there is no area.

    Examples
    --------
    >>> per_mm2(1500, 0.5), per_mm2(0, None)
    ('3,000', '–')
    """
    if not mm2:
        return "–"
    return f"{nuclei / mm2:,.0f}"
