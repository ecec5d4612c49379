"""Polygons that a user drew over a slide, as QuPath exports them: GeoJSON in level-0 pixels, (x, y) order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geojson
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsinuc.errors import DataError
from wsinuc.limits import read_bounded
from wsinuc.slides.view import SlideView
from wsinuc.tissue.mask import TissueMask, cell_counts

_COARSEST_CELLS = 64  # side of the squares that the search for touched cells begins with


@dataclass(frozen=True, slots=True)
class Region:
    """A region of interest: one valid, possibly many-parted polygon with holes."""

    geometry: BaseGeometry
    """(x, y) in level-0 pixels."""
    source: str
    """The file, for messages."""

    def contains(self, points_yx_level0: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) whether each (y, x) point of ``(n, 2)``, in level-0 pixels, lies inside."""
        return shapely.contains_xy(self.geometry, points_yx_level0[:, 1], points_yx_level0[:, 0])

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
        mask = _touched_cells(shapely.transform(self.geometry, lambda xy: xy / (cell_x, cell_y)), counts)
        if not mask.any():
            x0, y0, x1, y1 = self.geometry.bounds
            height, width = view.slide.level_shapes[0]
            raise DataError(
                f"{self.source}: its polygons span x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f}, outside the slide "
                f"of {width} x {height} level-0 px: is it for another slide, or not in full-resolution pixels?"
            )
        return TissueMask(mask, view.shape)


def load_region(path: str | Path, *, origin_yx: tuple[float, float] = (0.0, 0.0)) -> Region:
    """The polygons of a GeoJSON file, united.

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
    path = Path(path)
    try:
        found = geojson.loads(read_bounded(path).decode("utf-8-sig"))
        polygons = [shapely.make_valid(shapely.geometry.shape(g)) for g in _geometries(found) if g.get("coordinates")]
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot read the GeoJSON file ({error.strerror or error})") from error
    except RecursionError as error:
        raise DataError(f"{path}: brackets in brackets without end: that is no GeoJSON file") from error
    except (ValueError, TypeError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
        raise DataError(f"{path}: expected GeoJSON as QuPath exports it, cannot parse it ({error})") from error
    united = shapely.union_all([part for p in polygons for part in shapely.get_parts(p) if part.area > 0])
    if united.is_empty:
        raise DataError(f"{path}: no polygon in it; export closed annotations (rectangle, polygon, brush) as GeoJSON")
    moved = shapely.transform(united, lambda xy: np.add(xy, (origin_yx[1], origin_yx[0])))
    shapely.prepare(moved)
    return Region(moved, str(path))


def _geometries(found: Any) -> list[Any]:
    """All Polygon and MultiPolygon members of a FeatureCollection, a list of features, a feature or a geometry."""
    if isinstance(found, list):
        return [geometry for item in found for geometry in _geometries(item)]
    kind = found.get("type") if isinstance(found, dict) else None
    if kind == "FeatureCollection":
        return _geometries(found["features"])
    if kind == "Feature":
        return _geometries(found["geometry"]) if found.get("geometry") else []
    if kind == "GeometryCollection":
        return _geometries(found["geometries"])
    return [found] if kind in ("Polygon", "MultiPolygon") else []


def _touched_cells(geometry: BaseGeometry, counts: tuple[int, int]) -> NDArray[np.bool_]:
    """(counts) which unit cells a geometry in cell units touches, by halving squares that are neither in nor out."""
    side = _COARSEST_CELLS
    mask = np.zeros([-(-n // side) * side for n in counts], np.bool_)
    squares = np.argwhere(np.ones([n // side for n in mask.shape], np.bool_)) * side
    shapely.prepare(geometry)
    while side >= 1 and len(squares):
        y, x = squares.T
        outlines = shapely.box(x, y, x + side, y + side)
        inside = shapely.contains(geometry, outlines) if side > 1 else shapely.intersects(geometry, outlines)
        for top, left in squares[inside]:
            mask[top : top + side, left : left + side] = True
        squares = squares[shapely.intersects(geometry, outlines) & ~inside]
        side //= 2
        squares = (squares[:, None, :] + np.array([(0, 0), (0, side), (side, 0), (side, side)])).reshape(-1, 2)
    return mask[: counts[0], : counts[1]]
