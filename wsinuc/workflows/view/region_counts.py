"""Regions that somebody drew, over the slide, with the nuclei in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import shapely

from wsinuc.nuclei import Frame
from wsinuc.shown import shown
from wsinuc.workflows.regions.drawn import DrawnRegion, load_regions
from wsinuc.workflows.regions.run import slide_frame
from wsinuc.workflows.view.table import NucleiTable

MM2 = 1e-6
"""Square millimetres in a square micrometre."""


def region_counts(result: Path, path: Path, table: NucleiTable, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Name, outline and nuclei of each region, a nucleus counting where its centroid lies.

    Raises
    ------
    DataError
        The file is damaged or holds no region on this slide.
    """
    frame = Frame(mpp=table.frame.mpp, downsample=table.frame.downsample)
    drawn = slide_frame(result, summary, frame)
    um_y, um_x = drawn.um_per_px
    return [_counted(region, table, (um_y, um_x)) for region in load_regions(path, drawn)]


def _counted(region: DrawnRegion, table: NucleiTable, um_per_px: tuple[float, float]) -> dict[str, Any]:
    um_y, um_x = um_per_px
    x0, y0, x1, y1 = region.area.bounds
    rows = table.rows_in(y0 / um_y, x0 / um_x, y1 / um_y, x1 / um_x)
    inside = rows[shapely.contains_xy(region.area, table.x[rows] * um_x, table.y[rows] * um_y)]
    counts = np.bincount(table.classes[inside], minlength=len(table.class_names)).tolist()
    mm2 = region.area.area * MM2
    rings = [ring for part in shapely.get_parts(region.area) for ring in (part.exterior, *part.interiors)]
    return {
        "name": shown(region.name),
        "mm2": mm2,
        "nuclei": len(inside),
        "perMm2": len(inside) / mm2,
        "counts": {shown(name): count for name, count in zip(table.class_names, counts, strict=True)},
        # As (x, y) of level-0 pixels.
        "rings": [(shapely.get_coordinates(ring) / (um_x, um_y)).tolist() for ring in rings],
    }
