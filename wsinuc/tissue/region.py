"""Regions that a user drew over a slide, in QuPath or elsewhere: the polygons of a GeoJSON file."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.slides.view import SlideView
from wsinuc.tissue.mask import TissueMask, cell_counts
from wsinuc.tissue.outlines import Outlines
from wsinuc.urls import PathLike

if TYPE_CHECKING:
    from wsinuc.annotations import Feature

MAX_COORDINATE = 1e9
"""px; no slide reaches so far."""
MIN_EXTENT = 2.0
"""px; a region that is smaller than any nucleus is not meant so."""
_PORTION = 4096  # corners that are looked at together


@dataclass(frozen=True, slots=True)
class Region:
    """A region of interest: the union of polygons, which may have holes and cross themselves."""

    outlines: Outlines
    """(x, y) in level-0 pixels of the slide."""
    source: str
    """The file, for messages."""
    origin_yx: tuple[float, float] = (0.0, 0.0)
    """Where the file's (0, 0) lies in level-0 pixels, for messages."""

    def contains(self, points_yx_level0: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) whether each (y, x) point of ``(n, 2)``, in level-0 pixels, lies inside."""
        return self.outlines.contains(np.asarray(points_yx_level0, np.float64)[:, ::-1])

    def to_mask(self, view: SlideView) -> TissueMask:
        """Every cell that the region touches, so that no block with a wanted nucleus is left out.

        Raises
        ------
        DataError
            The region lies outside the slide.
        """
        counts = cell_counts(view)
        cell_y, cell_x = (
            length * step / n for length, step, n in zip(view.shape, view.downsample, counts, strict=True)
        )
        mask = self.outlines.touched_cells(counts, (cell_x, cell_y))
        if not mask.any():
            height, width = view.slide.level_shapes[0]
            raise DataError(
                f"{self.source}: its polygons span {self.drawn(self.outlines.bounds)}, outside the slide of {width} x "
                f"{height} level-0 px, which spans {self.drawn((0, 0, width, height))}{counted_from(view)}: is it for "
                "another slide, or not in full-resolution pixels?"
            )
        return TissueMask(mask, view.shape)

    def drawn(self, bounds: tuple[float, float, float, float]) -> str:
        """A box (x0, y0, x1, y1) of level-0 pixels in words, in the coordinates of the file."""
        dy, dx = self.origin_yx
        x0, y0, x1, y1 = bounds
        return f"x {x0 - dx:.0f} to {x1 - dx:.0f}, y {y0 - dy:.0f} to {y1 - dy:.0f}"


def load_region(path: PathLike, *, origin_yx: tuple[float, float] = (0.0, 0.0)) -> Region:
    """The polygons of a GeoJSON file, or of all those in a zip, as one region.

    Parameters
    ----------
    origin_yx
        Where the file's (0, 0) lies in level-0 pixels: ``Slide.origin`` for what was drawn in QuPath, which counts
        from the corner of the scanned part.

    Raises
    ------
    DataError
        The file is missing, no GeoJSON, or holds no polygon.
    """
    # Takes shapely, which slides without regions do without.
    from wsinuc.annotations import read_features

    outlines = _united(read_features(Path(path)), (origin_yx[1], origin_yx[0]))
    if not len(outlines.part_ends):
        raise DataError(f"{path}: no polygon in it; export closed annotations (rectangle, polygon, brush) as GeoJSON")
    reach = float(np.abs(outlines.xy).max())
    if reach > MAX_COORDINATE:
        raise DataError(
            f"{path}: a polygon reaches to {reach:.3g} px, which no slide does: are these coordinates pixels?"
        )
    x0, y0, x1, y1 = outlines.bounds
    if max(x1 - x0, y1 - y0) < MIN_EXTENT:
        raise DataError(
            f"{path}: its polygons together are {x1 - x0:.3g} x {y1 - y0:.3g} px large: are these coordinates pixels, "
            "or shares of the image, millimetres or degrees?"
        )
    return Region(outlines, str(path), origin_yx)


def counted_from(view: SlideView) -> str:
    """What to know of the coordinates of a slide with bounds; nothing where they begin at the slide's corner."""
    y, x = view.slide.origin
    if not (y or x):
        return ""
    return (
        f", from the corner of the scanned part, where QuPath begins (x {x}, y {y} of the whole slide; what "
        "was drawn with "
        "--no-crop or through Bio-Formats lies that far off)"
    )


def _united(features: Iterable[Feature], shift_xy: tuple[float, float]) -> Outlines:
    """All polygons with an area one after the other, moved by ``shift_xy``; what is no polygon is passed over."""
    xy = array("d")
    ring_ends = array("q")
    part_ends = array("q")
    for feature in features:
        if feature.kind not in ("Polygon", "MultiPolygon"):
            continue
        for rings in feature.coordinates.parts():
            if not rings or not _has_area(rings[0]):
                continue
            for ring in rings:
                # Into one array, since a list of rings would hold every corner twice while it is joined.
                xy.frombytes(np.ascontiguousarray(ring).view(np.uint8).data)
                ring_ends.append(len(xy) // 2)
            part_ends.append(len(ring_ends))
    corners = np.frombuffer(xy).reshape(-1, 2)
    corners += shift_xy
    return Outlines(corners, np.frombuffer(ring_ends, np.int64), np.frombuffer(part_ends, np.int64))


def _has_area(ring: NDArray[np.float64]) -> bool:
    """Whether not all corners lie on one line; a few thousand at a time, as the first ones nearly always tell."""
    away = np.zeros(2)  # from the first corner to one that differs
    for start in range(0, len(ring), _PORTION):
        steps = ring[start : start + _PORTION] - ring[0]
        if not away.any():
            away = steps[np.argmax(np.abs(steps).max(axis=1))]
        if np.any(steps[:, 0] * away[1] != steps[:, 1] * away[0]):
            return True
    return False
