"""One result that is looked at: its slide, its table, and what was drawn of them last, within a bound of memory.

Slide and table are opened when something of them is asked for, and each may be missing or damaged: what went wrong
is kept as a sentence for the page, and the other is shown all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ConfigError, DataError, SlideError, WsinucError
from wsinuc.grid import Box
from wsinuc.recent import Recent
from wsinuc.slides import open_slide
from wsinuc.slides.base import Slide
from wsinuc.store.manifest import read_made
from wsinuc.store.outputs import SUMMARY
from wsinuc.store.parts import provenance
from wsinuc.urls import to_place
from wsinuc.workflows.view.compared import Comparison
from wsinuc.workflows.view.edit.windows import SUFFIX as WINDOWS
from wsinuc.workflows.view.edit.windows import Windows
from wsinuc.workflows.view.maps import MapLayers
from wsinuc.workflows.view.table import NucleiTable, load_table
from wsinuc.workflows.view.teach.labels import Labels, labels_path, path_beside
from wsinuc.workflows.view.teach.learn import Learned
from wsinuc.workflows.view.teach.teaching import Teaching
from wsinuc.workflows.view.tiles.density import DensityGrid, density_grid, grid_zoom
from wsinuc.workflows.view.tiles.map_choice import MapChoice, counted_by
from wsinuc.workflows.view.tiles.map_layer import MapLayer
from wsinuc.workflows.view.tiles.nuclei import DOTS_PX, OUTLINES_PX, draw_nuclei
from wsinuc.workflows.view.tiles.palette import class_colors
from wsinuc.workflows.view.tiles.pyramid import CLOSER, Pyramid
from wsinuc.workflows.view.tiles.slide import encode_png, encode_slide, read_slide
from wsinuc.workflows.view.tiles.style import LEARNED, Paint, Style, limits_of
from wsinuc.workflows.view.unfinished import unfinished

if TYPE_CHECKING:
    from wsinuc.workflows.view.searched import SearchedAreas

TILE_BYTES = 96 * 2**20
"""Room for encoded tiles of a kind."""
GRID_BYTES = 128 * 2**20
"""Room for densities of the whole slide, one for each style."""
MOST_PROBLEMS = 50
Tile = tuple[bytes, str]
"""Encoded, and its media type."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is looked at."""

    result: Path | None
    """The folder of a finished result; None for a slide alone."""
    slide: Path | None = None
    """The slide, where it is not the one that the result has noted."""
    folder: str = ""
    """The folder that it lies in, where that tells it from another of the same name."""

    @property
    def name(self) -> str:
        """What people call it."""
        name = self.place.name.removesuffix(".wsinuc")
        return f"{self.folder}/{name}" if self.folder else name

    @property
    def place(self) -> Path:
        """Where it lies."""
        path = self.result or self.slide
        assert path is not None
        return path.resolve()


@dataclass
class Opened:
    """A result (or slide) with its caches. Safe to share between threads."""

    source: Source
    regions_file: Path | None = None
    """GeoJSON of regions to show over the slide."""
    problems: list[str] = field(default_factory=list)
    """What cannot be shown, and why; a sentence each."""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _areas_lock: threading.Lock = field(default_factory=threading.Lock)
    _slide_tiles: Recent[Tile] = field(default_factory=lambda: Recent[Tile](TILE_BYTES))
    _nuclei_tiles: Recent[Tile] = field(default_factory=lambda: Recent[Tile](TILE_BYTES))
    maps: MapLayers = field(default_factory=MapLayers)
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    """With other results of the slide, by their keys."""
    comparing: threading.Lock = field(default_factory=threading.Lock)
    """Held while two results are compared, so that a dozen tiles do not ask for it at once."""
    _grids: Recent[DensityGrid] = field(default_factory=lambda: Recent[DensityGrid](GRID_BYTES))

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` says; empty for a slide alone."""
        if self.source.result is None:
            return {}
        return dict(read_made(self.source.result).content)

    @cached_property
    def is_unfinished(self) -> bool:
        """Whether a run that makes the result had not finished it when it was opened."""
        return self.source.result is not None and bool(unfinished(self.source.result))

    @property
    def is_outdated(self) -> bool:
        """Whether it was unfinished then, and is finished now."""
        return self.is_unfinished and self.source.result is not None and (self.source.result / SUMMARY).is_file()

    def all_problems(self) -> list[str]:
        """What cannot be shown, and why; of an unfinished result how far it is now."""
        state = "" if self.source.result is None or not self.is_unfinished else unfinished(self.source.result)
        return [*filter(None, [state]), *self.problems]

    @property
    def slide(self) -> Slide | None:
        """The slide; None where it cannot be opened."""
        with self._lock:
            return self._slide

    @cached_property
    def _slide(self) -> Slide | None:
        config = self.summary.get("config", {})
        noted = self.summary.get("slide")
        if self.source.slide is None and noted is None:
            self.note("The slide cannot be shown: the result does not say which it is; --slide FILE does.")
            return None
        place = self.source.slide or to_place(str(noted))
        try:
            return open_slide(place, reader=config.get("reader", "auto"), mpp=config.get("mpp"))
        except (WsinucError, OSError) as error:
            self.note(f"The slide cannot be shown: {error}")
            return None

    @property
    def table(self) -> NucleiTable | None:
        """The table; None for a slide alone, and where it cannot be read."""
        with self._lock:
            return self._table

    @cached_property
    def _table(self) -> NucleiTable | None:
        if self.source.result is None or self.is_unfinished:
            return None
        try:
            return load_table(self.source.result)
        except (WsinucError, OSError) as error:
            self.note(f"The nuclei cannot be shown: {error}")
            return None

    @cached_property
    def pyramid(self) -> Pyramid:
        """The tiles: of the slide, or of the table where there is no slide."""
        slide = self.slide
        if slide is not None:
            return Pyramid(slide.level_shapes[0])
        shape = self.summary.get("settings", {}).get("shape")
        table = self.table
        if table is None or not shape:
            return Pyramid((1, 1))
        down_y, down_x = table.frame.downsample
        return Pyramid((round(shape[0] * down_y), round(shape[1] * down_x)))

    @property
    def mpp(self) -> float | None:
        """um per level-0 pixel; None where it is unknown."""
        table = self.table
        if table is not None:
            return table.frame.mpp / float(np.sqrt(np.prod(table.frame.downsample)))
        try:
            return None if self.slide is None else self.slide.mpp
        except WsinucError:
            return None

    def paint(self, style: Style) -> Paint:
        """A style applied to the table. Raises ConfigError for a measurement that it does not have."""
        table = self.table
        if table is None:
            raise DataError("there are no nuclei to show")
        learned = self._learned
        if style.by == LEARNED and learned is not None:
            colors = tuple(self.teaching.color_of(name) for name in learned.names) if self.teaching else ()
            return Paint(style, table, learned.classes, learned.names, colors, (0.0, 1.0), only=self._only(style))
        names = table.class_names
        limits = limits_of(table, style.by)
        return Paint(style, table, table.classes, names, class_colors(len(names)), limits, only=self._only(style))

    def _only(self, style: Style) -> NDArray[np.bool_] | None:
        if not style.other:
            return None
        if style.other not in self.comparisons:
            raise ConfigError("the two results have not been compared yet")
        return self.comparisons[style.other].differs

    @property
    def version(self) -> int:
        """Changes when tiles of a style do."""
        return hash((id(self._learned), *map(id, list(self.comparisons.values()))))

    @property
    def _windows_stamp(self) -> Any:
        return None if self.teaching is None else self.teaching.windows.file.stamp

    @property
    def _learned(self) -> Learned | None:
        return None if self.teaching is None else self.teaching.learned

    @cached_property
    def teaching(self) -> Teaching | None:
        """Labels and what was learned from them; None where nuclei cannot be named, which is noted."""
        table = self.table
        if table is None or self.source.result is None:
            return None
        try:
            run = provenance(self.source.result)
        except (WsinucError, OSError) as error:
            self.note(f"Nuclei cannot be labelled: {error}")
            return None
        origin = run.origin_yx or self.summary.get("origin") or (self.slide.origin if self.slide else (0.0, 0.0))
        origin_yx = (float(origin[0]), float(origin[1]))
        labels = Labels(labels_path(self.source.result), table, run.run_id, origin_yx)
        return Teaching(labels, self._windows_of(labels))

    def _windows_of(self, labels: Labels) -> Windows:
        """Training windows, whose edits are taken back in one order with labels."""
        return Windows(
            path=path_beside(labels.table.folder, WINDOWS),
            table=labels.table,
            run_id=labels.run_id,
            origin_yx=labels.origin_yx,
            shape=self.pyramid.shape,
            mpp=self.mpp or 1.0,
            outlines="exact" if self.summary.get("config", {}).get("outlines") == "exact" else "smooth",
            log=labels.log,
        )

    @cached_property
    def regions(self) -> list[dict[str, Any]]:
        """Regions with the nuclei in each; none where no file was given. Raises DataError."""
        if self.regions_file is None or self.table is None or self.source.result is None:
            return []
        # As below: what a first picture does without is loaded when it is asked for.
        from wsinuc.workflows.view.region_counts import region_counts

        return region_counts(self.source.result, self.regions_file, self.table, self.summary)

    @property
    def searched(self) -> SearchedAreas:
        """What was searched and what was left out. Raises SlideError, and DataError where a file of areas is gone."""
        # Looked for once, which takes seconds, whichever of the two layers asks first.
        with self._areas_lock:
            return self._searched

    @cached_property
    def _searched(self) -> SearchedAreas:
        if self.slide is None:
            raise SlideError("there is no slide to look for tissue in")
        from wsinuc.workflows.view.searched import searched_areas

        return searched_areas(self.slide, self.summary)

    def slide_tile(self, zoom: int, x: int, y: int) -> Tile:
        """A tile of the slide. Raises ConfigError where there is none, SlideError where it cannot be read."""
        return self._kept(self._slide_tiles, (zoom, x, y), lambda: self._draw_slide(zoom, x, y))

    def nuclei_tile(self, zoom: int, x: int, y: int, style: Style) -> Tile:
        """A transparent tile of the nuclei. Raises ConfigError where there is none, DataError for a damaged part."""
        key = (zoom, x, y, style, self.version, self._windows_stamp)
        return self._kept(self._nuclei_tiles, key, lambda: self._draw_nuclei(zoom, x, y, style))

    def map_tile(self, zoom: int, x: int, y: int, choice: MapChoice, style: Style) -> Tile:
        """A transparent tile of a map. Raises ConfigError where there is none, DataError for a damaged part."""
        box = self.pyramid.box(zoom, x, y)
        # Drawn anew each time, which takes a millisecond.
        return encode_png(self.map_layer(choice, style).draw(box, self.pyramid.downsample(zoom))), "image/png"

    def map_layer(self, choice: MapChoice, style: Style) -> MapLayer:
        """A map of the nuclei that a style's filters leave. Raises ConfigError for one that cannot be."""
        return self.maps.layer(self.paint(counted_by(style)), choice, self.view_shape, self.version)

    @property
    def view_shape(self) -> tuple[int, int]:
        """(height, width) of the slide in pixels of the run. Raises DataError without a table."""
        shape = self.summary.get("settings", {}).get("shape")
        if shape:
            return int(shape[0]), int(shape[1])
        table = self.table
        if table is None:
            raise DataError("there are no nuclei to map")
        height, width = self.pyramid.shape
        return round(height / table.frame.downsample[0]), round(width / table.frame.downsample[1])

    def slide_pixels(self, box: Box, down: float) -> NDArray[np.uint8]:
        """RGB ``(h, w, 3)`` of a box in pixels of a picture; white where there is no slide."""
        if self.slide is None:
            return np.full((*box.shape, 3), 255, np.uint8)
        pixels, unreadable = read_slide(self.slide, box, down)
        for part in unreadable[:1]:
            y, x = round(part.y0 * down), round(part.x0 * down)
            self.note(f"Parts of the slide cannot be decoded and are white, the first at x {x}, y {y}.")
        return pixels

    def nuclei_pixels(self, box: Box, down: float, style: Style) -> NDArray[np.uint8]:
        """RGBA ``(h, w, 4)`` of the nuclei in a box in pixels of a picture."""
        return draw_nuclei(self.paint(style), box, down)

    def is_there(self, kind: str, place: tuple[int, int, int]) -> bool:
        """Whether a tile lies on the slide, so that it is a problem when it cannot be drawn."""
        zoom, x, y = place
        if zoom > self.pyramid.finest + (CLOSER if kind == "nuclei" else 0):
            return False
        return self.pyramid.box(zoom, x, y).overlaps(self.pyramid.extent(zoom))

    def note(self, problem: str) -> None:
        """Keep a sentence for the page, once."""
        with self._lock:
            if problem not in self.problems and len(self.problems) < MOST_PROBLEMS:
                self.problems.append(problem)

    def _kept(self, tiles: Recent[Tile], key: Any, draw: Callable[[], Tile]) -> Tile:
        tile = tiles.get(key)
        if tile is None:
            tile = draw()
            tiles.keep(key, tile, len(tile[0]))
        return tile

    def _draw_slide(self, zoom: int, x: int, y: int) -> Tile:
        if zoom > self.pyramid.finest or self.slide is None:
            raise SlideError("there is no such tile of the slide")
        box = self.pyramid.box(zoom, x, y)
        extent = self.pyramid.extent(zoom)
        inside = (min(box.y1, extent.y1) - box.y0, min(box.x1, extent.x1) - box.x0)
        if min(inside) <= 0:
            raise SlideError("there is no such tile of the slide")
        return encode_slide(self.slide_pixels(box, self.pyramid.downsample(zoom)), inside)

    def _draw_nuclei(self, zoom: int, x: int, y: int, style: Style) -> Tile:
        box = self.pyramid.box(zoom, x, y)
        down = self.pyramid.downsample(zoom)
        paint = self.paint(style)
        if style.windows and paint.table.diameter / down >= OUTLINES_PX:
            # The page draws the outlines of training windows itself.
            paint = paint.without(self._rows_in_windows())
        if paint.table.diameter / down < DOTS_PX and down >= self._grid_down:
            return encode_png(self._grid(paint).draw(box, zoom)), "image/png"
        return encode_png(draw_nuclei(paint, box, down)), "image/png"

    def _rows_in_windows(self) -> NDArray[np.int64]:
        try:
            return np.zeros(0, np.int64) if self.teaching is None else self.teaching.windows.table_rows()
        except (WsinucError, OSError) as error:
            self.note(f"The training windows cannot be shown: {error}")
            return np.zeros(0, np.int64)

    @cached_property
    def _grid_down(self) -> float:
        return self.pyramid.downsample(grid_zoom(self.pyramid))

    def _grid(self, paint: Paint) -> DensityGrid:
        # One at a time: a page asks for a dozen tiles of a new style at once.
        with self._lock:
            key = (paint.style, self.version)
            grid = self._grids.get(key)
            if grid is None:
                grid = density_grid(paint, self.pyramid)
                self._grids.keep(key, grid, grid.sums.nbytes)
        return grid
