"""Training windows of a result, and every edit of the outlines in them.

``slide.regions.geojson`` beside ``slide.wsinuc`` is a collection as QuPath has it: windows are annotations of the class
``Region*``, outlines are detections. A window begins with the nuclei of the result that meet it, with their UUIDs, so
that ``wsinuc train slide.wsinuc=slide.regions.geojson`` knows which of them were left, edited and deleted; an outline
that is split, joined or drawn is a new one. `wsinuc.workflows.view.teach.feature_file` says how edits reach the disk.

Windows do not overlap, and an outline that is drawn keeps clear of its neighbours, so that what is seen is what a
training gets, whichever of two outlines it would have given a pixel to.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.datasets.layouts.qupath import MAX_REGION_PX
from wsinuc.errors import DataError
from wsinuc.exports.qupath.polygons import Outlines
from wsinuc.nuclei.uuids import nucleus_uuids
from wsinuc.workflows.view.edit import shapes
from wsinuc.workflows.view.edit.content import Content, Drawn, outline_feature, read_content, window_feature
from wsinuc.workflows.view.edit.first import first_nuclei
from wsinuc.workflows.view.table import NucleiTable
from wsinuc.workflows.view.teach.feature_file import (
    Changes,
    EditLog,
    Feature,
    FeatureFile,
    Work,
    check_name,
    properties_of,
)

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

    def table_rows(self) -> NDArray[np.int64]:
        """Rows of the nuclei of the result in whose place the outlines of the windows stand. Raises DataError."""
        rows = [self._rows_of(window.shape) for window in self.content().windows]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *rows]))

    def add(self, area: shapely.Polygon, name: str) -> str:
        """Begin a window with the nuclei of the result in it; its id, when it is on the disk.

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
            The file cannot be written.
        """
        if name:
            check_name(name)
        area = self._checked(area)
        nuclei = self._first_features(area)
        window: list[str] = []

        def work(features: Sequence[Feature]) -> Changes:
            content = read_content(features)
            others = [each.name or "one without a name" for each in content.windows if _overlap(each.shape, area)]
            if others:
                raise DataError(f"this window would overlap {others[0]}: draw it beside")
            feature = window_feature(area, name or content.free_name())
            window.append(feature["id"])
            return {feature["id"]: feature, **_not_in(content, nuclei)}

        self._do(work)
        return window[-1]

    def remove(self, window: str) -> None:
        """Take a window away, with the outlines that lie in no other. Raises DataError, OutputError."""

        def work(features: Sequence[Feature]) -> Changes:
            content = read_content(features)
            gone = _known([window], content.windows)[0]
            inside = [each for each in content.outlines_in(gone.shape) if len(content.windows_at(each.shape)) == 1]
            return dict.fromkeys([window, *(each.id for each in inside)])

        self._do(work)

    def split(self, line: NDArray[np.float64]) -> list[str]:
        """Cut the outlines that a line ``(n, 2)`` crosses from side to side; ids of the pieces.

        Raises
        ------
        DataError
            It crosses none.
        OutputError
            The file cannot be written.
        """
        if len(line) < 2 or (line == line[0]).all():
            raise DataError(_NO_CUT)
        stroke = shapely.LineString(line)
        new: list[str] = []

        def work(features: Sequence[Feature]) -> Changes:
            changes: dict[str, Feature | None] = {}
            for outline in read_content(features).outlines_in(stroke):
                parts = shapes.pieces(outline.shape, stroke) if outline.shape.geom_type == "Polygon" else []
                if len(parts) > 1:
                    made = [outline_feature(part, _classification(outline)) for part in parts]
                    changes |= {outline.id: None} | {each["id"]: each for each in made}
                    new.extend(each["id"] for each in made)
            if not changes:
                raise DataError(_NO_CUT)
            return changes

        self._do(work)
        return new

    def merge(self, ids: Sequence[str]) -> list[str]:
        """Make one outline of several that touch, of the class of the largest; its id.

        Raises
        ------
        DataError
            They do not touch, or there are fewer than two.
        OutputError
            The file cannot be written.
        """
        new: list[str] = []

        def work(features: Sequence[Feature]) -> Changes:
            chosen = _known(ids, read_content(features).outlines)
            if len(chosen) < 2:
                raise DataError("select the outlines that are one nucleus, two at the least: click them with Shift")
            whole = shapes.joined([each.shape for each in chosen], GAP_UM / self.mpp)
            if whole is None:
                raise DataError("these outlines do not touch: draw a new one around them instead")
            feature = outline_feature(whole, _classification(max(chosen, key=lambda each: each.shape.area)))
            new.append(feature["id"])
            return {**dict.fromkeys(each.id for each in chosen), feature["id"]: feature}

        self._do(work)
        return new

    def delete(self, ids: Sequence[str]) -> int:
        """Take outlines away; how many. Raises DataError, OutputError."""
        self._do(lambda features: dict.fromkeys(each.id for each in _known(ids, read_content(features).outlines)))
        return len(ids)

    def draw(self, corners: NDArray[np.float64], classification: dict[str, Any] | None = None) -> list[str]:
        """Add an outline; its id.

        Outlines of which it covers more than half give way to it, and at the edges of others it ends.

        Raises
        ------
        DataError
            It encloses nothing, or lies in no window.
        OutputError
            The file cannot be written.
        """
        drawn = shapes.polygon_of(corners)
        if drawn is None:
            raise DataError("draw around a nucleus: this line encloses nothing")
        new: list[str] = []

        def work(features: Sequence[Feature]) -> Changes:
            content = read_content(features)
            if not content.windows_at(drawn):
                raise DataError("this outline lies in no training window: draw a window around it first")
            near = content.outlines_in(drawn)
            shapes_near = np.array([each.shape for each in near], np.object_)
            gone = shapes.covered_by(drawn, shapes_near)
            free = shapes.without(drawn, shapes_near[~gone])
            if free is None:
                raise DataError("there is a nucleus here already: delete it first, or draw around it")
            feature = outline_feature(free, classification)
            new.append(feature["id"])
            replaced = [each.id for each, is_gone in zip(near, gone.tolist(), strict=True) if is_gone]
            return {**dict.fromkeys(replaced), feature["id"]: feature}

        self._do(work)
        return new

    def name(self, ids: Sequence[str], class_name: str, color: Rgb) -> None:
        """Give outlines a class. Raises DataError, OutputError."""
        check_name(class_name)
        classification = {"name": class_name, "color": list(color)}

        def work(features: Sequence[Feature]) -> Changes:
            chosen = _known(ids, read_content(features).outlines)
            return {each.id: _with_class(each.feature, classification) for each in chosen}

        self._do(work)

    def _do(self, work: Work) -> None:
        """One action, which is taken back only as long as nobody has gone on from it."""
        self.log.do(self.file, work, strict=True)

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


_NO_CUT = "this line cuts no outline in two: draw it from one side of a nucleus to the other"


def _known(ids: Sequence[str], drawn: Sequence[Drawn]) -> list[Drawn]:
    """Windows or outlines by their ids. Raises DataError where one is not there."""
    by_id = {each.id: each for each in drawn}
    if not ids or any(each not in by_id for each in ids):
        raise DataError("what was meant is no longer there: it was changed in another window or program")
    return [by_id[each] for each in dict.fromkeys(ids)]


def _not_in(content: Content, nuclei: dict[str, Feature]) -> dict[str, Feature]:
    """Those of a new window's nuclei that meet no other window, where they were looked at, and perhaps deleted."""
    polygons = [shapely.Polygon(each["geometry"]["coordinates"][0]) for each in nuclei.values()]
    known = shapely.union_all([window.shape for window in content.windows])
    meets = shapely.intersects(known, np.array(polygons, np.object_))
    return {
        name: feature for (name, feature), is_known in zip(nuclei.items(), meets.tolist(), strict=True) if not is_known
    }


def _overlap(one: shapely.Geometry, other: shapely.Geometry) -> bool:
    return bool(shapely.area(shapely.intersection(one, other)) > 0)


def _classification(outline: Drawn) -> dict[str, Any] | None:
    """The class of an outline as its feature has it; None without one."""
    return outline.feature["properties"]["classification"] if outline.class_name else None


def _with_class(feature: Feature, classification: dict[str, Any]) -> Feature:
    return {**feature, "properties": {**properties_of(feature), "classification": classification}}
