"""Training windows of a result, and every edit of the outlines in them.

``slide.regions.geojson`` beside ``slide.wsinuc`` is a collection as QuPath has it: windows are annotations of the class
``Region*``, outlines are detections, and areas of the class ``Ignore*`` count in no training. A window begins with the
nuclei of the result that meet it, with their UUIDs, so that ``wsinuc train slide.wsinuc=slide.regions.geojson`` knows
which of them were left, edited and deleted; an outline that is split, joined or drawn is a new one.
`wsinuc.workflows.view.teach.feature_file` says how edits reach the disk.
`wsinuc.workflows.view.edit.edits` says what they make of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.datasets.layouts.qupath import MAX_REGION_PX
from wsinuc.datasets.layouts.qupath_objects import IGNORE, REGION, is_named
from wsinuc.errors import DataError
from wsinuc.exports.qupath.polygons import Outlines
from wsinuc.nuclei.uuids import nucleus_uuids
from wsinuc.workflows.view.edit import edits
from wsinuc.workflows.view.edit.content import Content, read_content
from wsinuc.workflows.view.edit.first import first_nuclei
from wsinuc.workflows.view.edit.shapes import polygon_of
from wsinuc.workflows.view.table import NucleiTable
from wsinuc.workflows.view.teach.feature_file import LONGEST_NAME, Changes, EditLog, Feature, FeatureFile, check_name

SUFFIX = ".regions.geojson"
MOST_NUCLEI = 20_000
"""Nuclei of a window, at most: more cannot be looked at one by one."""
LEAST_PX = 16
"""Pixels of a window's side, at least."""
GAP_UM = 0.5
"""Half of the widest gap between outlines that still count as touching."""
Rgb = tuple[int, int, int]


@dataclass
class Windows:
    """The training windows of one result. Safe to share between threads."""

    path: Path
    table: NucleiTable
    run_id: str
    origin_yx: tuple[float, float]
    """(y, x) of QuPath's (0, 0) in level-0 pixels."""
    shape: tuple[int, int]
    """Of the slide, in level-0 pixels."""
    mpp: float
    """um per level-0 pixel."""
    outlines: Outlines = "smooth"
    """Those that the result's own GeoJSON has."""
    log: EditLog = field(default_factory=EditLog)
    """What was done, so that it can be taken back."""
    _read: tuple[Any, Content] = (None, Content((), ()))
    _rows: dict[bytes, NDArray[np.int64]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def file(self) -> FeatureFile:
        """Where they stand."""
        return FeatureFile(self.path)

    def content(self) -> Content:
        """Windows and outlines as the file has them now. Raises DataError."""
        with self._lock:
            stamp = self.file.stamp
            if stamp is None or stamp != self._read[0]:
                self._read = (stamp, read_content(self.file.features()))
            return self._read[1]

    def class_names(self) -> tuple[str, ...]:
        """Classes that outlines have, as they were given; none where the file cannot be read."""
        try:
            return tuple(dict.fromkeys(each.class_name for each in self.content().outlines if each.class_name))
        except (DataError, OSError):
            return ()

    def table_rows(self) -> NDArray[np.int64]:
        """Rows of the nuclei of the result in whose place the outlines of the windows stand. Raises DataError."""
        rows = [self._rows_of(window.shape) for window in self.content().windows]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *rows]))

    def add(self, area: shapely.Polygon, name: str) -> list[str]:
        """Begin a window with the nuclei of the result in it; the ids of all that is new.

        Parameters
        ----------
        area
            A rectangle, (x, y) in pixels of the file; it is cut to the slide and to whole pixels.
        name
            Empty for the first free one of ``Region 1``, ``Region 2``, ...

        Raises
        ------
        DataError
            It is too small or too large, meets another window, or the name cannot be.
        OutputError
            The file cannot be written, as of all edits.
        """
        _check_window_name(name)
        area = self._checked(area)
        nuclei = self._first_features(area)
        return self._do(lambda content: edits.add_window(content, area, name, nuclei))

    def remove(self, window: str) -> None:
        """Take a window away, with what lies in no other. Raises DataError where it is not there."""
        self._do(lambda content: edits.remove_window(content, window))

    def rename(self, window: str, name: str) -> None:
        """Give a window another name. Raises DataError for one that cannot be, and where the window is not there."""
        if not name:
            raise DataError("a window needs a name")
        _check_window_name(name)
        self._do(lambda content: edits.rename_window(content, window, name))

    def ignore(self, corners: NDArray[np.float64]) -> None:
        """Leave an area out of every training. Raises DataError where it encloses nothing, or lies in no window."""
        area = polygon_of(corners)
        if area is None:
            raise DataError("draw around an area: this line encloses nothing")
        self._do(lambda content: edits.add_ignored(content, area))

    def count(self, area: str) -> None:
        """Let an ignored area count again. Raises DataError where it is not there."""
        self._do(lambda content: edits.remove_ignored(content, area))

    def split(self, line: NDArray[np.float64]) -> list[str]:
        """Cut the outlines that a line ``(n, 2)`` crosses from side to side; ids of the pieces.

        Raises
        ------
        DataError
            It crosses none.
        """
        # Shapely takes no line of one point.
        stroke = shapely.LineString(line if len(line) > 1 else np.repeat(line, 2, axis=0))
        return self._do(lambda content: edits.split_outlines(content, stroke))

    def merge(self, ids: Sequence[str]) -> list[str]:
        """Make one outline of several that touch, of the class of the largest; its id.

        Raises
        ------
        DataError
            They do not touch, are fewer than two, or one is not there.
        """
        return self._do(lambda content: edits.merge_outlines(content, ids, GAP_UM / self.mpp))

    def delete(self, ids: Sequence[str]) -> None:
        """Take outlines away. Raises DataError where one is not there."""
        self._do(lambda content: edits.delete_outlines(content, ids))

    def draw(self, corners: NDArray[np.float64], classification: dict[str, Any] | None = None) -> list[str]:
        """Add an outline; its id.

        Outlines of which it covers more than half give way to it, and at the edges of others it ends.

        Raises
        ------
        DataError
            It encloses nothing, or lies in no window.
        """
        drawn = polygon_of(corners)
        if drawn is None:
            raise DataError("draw around a nucleus: this line encloses nothing")
        return self._do(lambda content: edits.draw_outline(content, drawn, classification))

    def name(self, ids: Sequence[str], class_name: str, color: Rgb) -> None:
        """Give outlines a class. Raises DataError for a name that cannot be, and where one is not there."""
        check_name(class_name)
        if is_named(class_name, "", REGION) or is_named(class_name, "", IGNORE):
            raise DataError(f"{class_name} is what areas are called, not nuclei: give the class another name")
        classification = {"name": class_name, "color": list(color)}
        self._do(lambda content: edits.name_outlines(content, ids, classification))

    def _do(self, work: Callable[[Content], Changes]) -> list[str]:
        """One action, which is taken back only as long as nobody has gone on from it; the ids of what is new."""
        edit = self.log.do(self.file, lambda features: work(read_content(features)), strict=True)
        return [name for name, feature in edit.after.items() if feature is not None and edit.before[name] is None]

    def _checked(self, area: shapely.Polygon) -> shapely.Polygon:
        """A window in whole pixels of the slide."""
        y, x = np.round(self.origin_yx)
        height, width = self.shape
        x0, y0, x1, y1 = np.round(area.bounds)
        x0, x1 = np.clip((x0, x1), -x, width - x)
        y0, y1 = np.clip((y0, y1), -y, height - y)
        if min(x1 - x0, y1 - y0) < LEAST_PX:
            raise DataError(f"draw a rectangle of {LEAST_PX} pixels of the slide at the least, on the slide")
        if (x1 - x0) * (y1 - y0) > MAX_REGION_PX:
            raise DataError(
                f"this window has {x1 - x0:,.0f} x {y1 - y0:,.0f} pixels, and every nucleus in it has to be right: "
                f"draw a smaller one, of {MAX_REGION_PX:,} pixels at most"
            )
        return shapely.box(x0, y0, x1, y1)

    def _first_features(self, area: shapely.Polygon) -> dict[str, Feature]:
        """What a window begins with, by UUID."""
        y, x = self.origin_yx
        x0, y0, x1, y1 = area.bounds
        count = len(self.table.rows_in(y0 + y, x0 + x, y1 + y, x1 + x))
        if count > MOST_NUCLEI:
            raise DataError(f"this window holds {count:,} nuclei, all of which have to be right: draw a smaller one")
        nuclei = list(first_nuclei(self.table, area, self.origin_yx, self.outlines))
        ids = nucleus_uuids(self.run_id, self.table.ids[np.array([each.row for each in nuclei], np.int64)])
        classes = [
            {"name": name, "color": list(color)}
            for name, color in zip(self.table.class_names, self.table.class_colors, strict=True)
        ]
        return {
            uuid: {
                "type": "Feature",
                "id": uuid,
                "geometry": {"type": "Polygon", "coordinates": each.rings},
                "properties": {"objectType": "detection", "classification": classes[each.class_number]},
            }
            for uuid, each in zip(ids, nuclei, strict=True)
        }

    def _rows_of(self, area: shapely.Geometry) -> NDArray[np.int64]:
        key = shapely.to_wkb(area)
        rows = self._rows.get(key)
        if rows is None:
            nuclei = first_nuclei(self.table, area, self.origin_yx, self.outlines)
            rows = np.array([each.row for each in nuclei], np.int64)
            self._rows[key] = rows
        return rows


def _check_window_name(name: str) -> None:
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise DataError(f"a window needs a name of at most {LONGEST_NAME} letters on one line")
