"""What the page says in words and numbers: of the slide, of one nucleus, and of all that are in sight."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.grid import Box
from wsinuc.nuclei.classes import hex_color
from wsinuc.nuclei.measured_names import units_of
from wsinuc.shown import shown
from wsinuc.workflows.maps.colours import scale_labels
from wsinuc.workflows.view.opened import Opened
from wsinuc.workflows.view.table import NucleiTable
from wsinuc.workflows.view.tiles.map_choice import MapChoice
from wsinuc.workflows.view.tiles.palette import scale_stops
from wsinuc.workflows.view.tiles.style import CLASS, NAMED, Style, limits_of

BINS = 40
CROP_UM = 32.0
"""Side of a nucleus' picture."""
CROP_PX = 192
_UNITS = {"um": "µm", "um^2": "µm²", "degrees": "°"}
Column = dict[str, Any]


def slide_facts(opened: Opened) -> dict[str, Any]:
    """What the page has to know before it shows anything."""
    pyramid = opened.pyramid
    table = opened.table
    return {
        "name": shown(opened.source.name),
        "shape": list(pyramid.shape),
        "finest": pyramid.finest,
        "mpp": opened.mpp,
        "hasSlide": opened.slide is not None,
        "nuclei": 0 if table is None else len(table),
        "diameter": 1.0 if table is None else table.diameter,
        "classes": [] if table is None else class_facts(opened, CLASS),
        "columns": [] if table is None else [column_facts(name) for name in table.columns],
        "problems": [shown(problem) for problem in opened.all_problems()],
        "unfinished": opened.is_unfinished,
    }


def class_facts(opened: Opened, by: str) -> list[dict[str, Any]]:
    """Name, colour and number of nuclei of each class, of the result or as they were learned."""
    paint = opened.paint(Style(by=by))
    counts = np.bincount(paint.classes, minlength=len(paint.class_names)).tolist()
    return [
        {"name": shown(name), "color": hex_color(color), "nuclei": count}
        for name, color, count in zip(paint.class_names, paint.colors, counts, strict=False)
    ]


def column_facts(name: str) -> Column:
    """What a column is called on the page, and its unit.

    Examples
    --------
    >>> column_facts("area_um2")
    {'name': 'area_um2', 'label': 'Area', 'unit': 'µm²'}
    """
    unit = units_of([name]).get(name, "")
    words = name.removesuffix("_od")
    for ending in ("_um2", "_um", "_deg", "_px", "_rad2"):
        words = words.removesuffix(ending)
    return {"name": name, "label": words.replace("_", " ").capitalize(), "unit": _UNITS.get(unit, unit)}


def legend(opened: Opened, by: str) -> dict[str, Any]:
    """Ends and colours of the scale for a column; raises ConfigError for one that is not there."""
    table = opened.table
    if table is None:
        return {"classes": []}
    if by in NAMED:
        return {"classes": class_facts(opened, by)}
    low, high = limits_of(table, by)
    colors = [hex_color(color) for color in scale_stops()]
    return {"low": low, "high": high, "colors": colors, **column_facts(by)}


def map_facts(opened: Opened, choice: MapChoice, style: Style) -> dict[str, Any]:
    """What a map shows: its title with units, numbers and colours of its scale. Raises ConfigError for none."""
    nuclei_map = opened.map_layer(choice, style).nuclei_map
    return {
        "title": shown(nuclei_map.quantity.title),
        "labels": scale_labels(nuclei_map, 3),
        "colors": [hex_color(color) for color in scale_stops()],
        "nuclei": nuclei_map.nuclei,
        "um": nuclei_map.grid.um,
    }


def area_facts(opened: Opened) -> dict[str, Any]:
    """What was searched and what was left out, in mm2. Raises SlideError or DataError where nobody can tell."""
    searched = opened.searched
    entries = [{"label": entry.label, "color": hex_color(entry.color)} for entry in searched.entries]
    return {"mm2": searched.mm2, "leftOut": entries}


def nucleus_at(table: NucleiTable, y: float, x: float) -> int | None:
    """The row of the nucleus whose outline holds a point of level-0 pixels; None where there is none.

    A point counts as the middle of its view pixel, so this is the nucleus that the label image has there.
    """
    down_y, down_x = table.frame.downsample
    row_px, column_px = math.floor(y / down_y), math.floor(x / down_x)
    for part in table.parts_in(y, x, y, x):
        rings = table.rings(part)
        y0, x0, y1, x1 = rings.boxes.T
        for number in np.flatnonzero((y0 <= row_px) & (row_px < y1) & (x0 <= column_px) & (column_px < x1)).tolist():
            corners = rings.corners[rings.offsets[number] : rings.offsets[number + 1]]
            if shapely.contains_xy(shapely.Polygon(corners), row_px + 0.5, column_px + 0.5):
                return int(table.starts[part]) + number
    return None


def nuclei_within(table: NucleiTable, polygon: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows of the nuclei whose centroid lies in a polygon of corners (y, x) in level-0 pixels."""
    y0, x0 = polygon.min(0).tolist()
    y1, x1 = polygon.max(0).tolist()
    rows = table.rows_in(y0, x0, y1, x1)
    area = shapely.make_valid(shapely.Polygon(polygon))
    inside: NDArray[np.bool_] = shapely.contains_xy(area, table.y[rows], table.x[rows])
    return rows[inside]


def nucleus_facts(opened: Opened, table: NucleiTable, row: int) -> dict[str, Any]:
    """One nucleus: id, place, class and its probabilities, measurements, outline as (x, y) of level-0 pixels."""
    record = table.record(row)
    probabilities = {name: record.pop(f"probability_{name}", None) for name in table.class_names}
    measured = [
        {**column_facts(name), "value": number(record.get(name))}
        for name in table.columns
        if not name.startswith("box_")
    ]
    return {
        "id": int(table.ids[row]),
        "uuid": record.get("uuid"),
        "y": float(table.y[row]),
        "x": float(table.x[row]),
        "yUm": number(record.get("y_um")),
        "xUm": number(record.get("x_um")),
        "class": shown(table.class_names[table.classes[row]]) if table.class_names else "",
        "probabilities": [{"name": shown(n), "value": number(v)} for n, v in probabilities.items()],
        "measurements": measured,
        "outline": table.outline(row)[:, ::-1].tolist(),
    }


def crop(opened: Opened, table: NucleiTable, row: int) -> NDArray[np.uint8]:
    """The picture of one nucleus, RGB, without anything drawn on it."""
    side = CROP_UM / (opened.mpp or 1.0)
    down = side / CROP_PX
    # A picture finer than the slide's pixels would be invented.
    down = max(1.0, down)
    half = max(8, round(side / down / 2))
    y, x = round(float(table.y[row]) / down), round(float(table.x[row]) / down)
    return opened.slide_pixels(Box(y - half, x - half, y + half, x + half), down)


def histogram(opened: Opened, style: Style, of: str, box: tuple[float, float, float, float]) -> dict[str, Any]:
    """How a measurement of the nuclei in sight is distributed, and how many of them there are of each class.

    Parameters
    ----------
    style
        Which nuclei are shown; its own range is left out, so that one sees what it cuts off.
    of
        A column of the table.
    box
        y0, x0, y1, x1 in level-0 pixels.
    """
    paint = opened.paint(style)
    table = paint.table
    rows = paint.shown(table.rows_in(*box))
    low, high = limits_of(table, of)
    values = table.column(of)[rows]
    values = values[np.isfinite(values)]
    # What lies beyond the ends is counted in the outermost bins.
    counts, _ = np.histogram(np.clip(values, low, high), BINS, (low, high))
    classes = np.bincount(paint.classes[rows], minlength=len(paint.class_names)).tolist()
    seen = {"nuclei": len(rows), "classes": classes}
    return {"low": low, "high": high, "counts": counts.tolist(), **seen, **column_facts(of)}


def number(value: Any) -> float | None:
    """A number as JSON has it: what is none becomes null."""
    if value is None or not math.isfinite(value):
        return None
    return float(value)
