"""Training windows for the page: rings to draw, and the command that learns from them."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Any

import shapely

from wsinuc.nuclei.classes import hex_color
from wsinuc.shown import shown
from wsinuc.workflows.view.edit.content import Content, Drawn
from wsinuc.workflows.view.teach.teaching import Teaching

MOST_OUTLINES = 20_000
"""Outlines that a page draws, those that were changed last."""
NAMELESS = "Region"


def windows_facts(taught: Teaching) -> dict[str, Any]:
    """All windows with the outlines in them. Raises DataError."""
    windows = taught.windows
    content = windows.content()
    origin = windows.origin_yx[::-1]
    result = quote(str(windows.table.folder.resolve()))
    file = quote(str(windows.path.resolve()))
    shown_last = content.outlines[-MOST_OUTLINES:]
    colors = {name: hex_color(taught.color_of(name)) for name in {each.class_name for each in shown_last} if name}
    return {
        "windows": [_window(window, content, origin) for window in content.windows],
        "outlines": [_outline(each, colors, origin) for each in shown_last],
        "ignored": [{"id": each.id, "rings": _rings(each.shape, origin)} for each in content.ignored],
        "freeName": content.free_name(),
        "file": shown(windows.path.name),
        "command": f"wsinuc train {result}={file} -o mine.safetensors",
    }


def _window(window: Drawn, content: Content, origin: tuple[float, float]) -> dict[str, Any]:
    return {
        "id": window.id,
        "name": shown(window.name or NAMELESS),
        "nuclei": len(content.outlines_in(window.shape)),
        "rings": _rings(window.shape, origin),
    }


def _outline(outline: Drawn, colors: Mapping[str, str], origin: tuple[float, float]) -> dict[str, Any]:
    return {
        "id": outline.id,
        "class": shown(outline.class_name),
        "color": colors.get(outline.class_name, ""),
        "rings": _rings(outline.shape, origin),
    }


def _rings(shape: shapely.Geometry, origin: tuple[float, float]) -> list[list[list[float]]]:
    """Outer rings as (x, y) of level-0 pixels."""
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    return [(shapely.get_coordinates(part.exterior) + origin).tolist() for part in parts]
