"""One pass over the table of one result: which nuclei the labels name, and the features of these."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial import KDTree

from wsinuc.nuclei.class_features import FeatureColumns, Moments
from wsinuc.nuclei.reclassified import ORIGINAL_CLASS
from wsinuc.workflows.reclassify.labels import Labels, PlacedLabels
from wsinuc.workflows.reclassify.matching import (
    AT_POINT,
    BY_UUID,
    KINDS,
    Hits,
    PointHits,
    at_points,
    by_place,
    by_uuid,
    centres,
    in_regions,
    joined,
    marked,
    nearer,
    reach_px,
)
from wsinuc.workflows.reclassify.tables import ResultTable

WHOLE_EXPORT = 0.5
"""Share of a result's nuclei above which a file counts as an export of all of them, and of those with their class
unchanged."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Searched:
    """What one result has of the labels."""

    ids: Ints
    """(n,) nuclei with a class, sorted."""
    marks: Ints
    """(n,) number of the label that decides."""
    features: Floats
    """(n, d)"""
    xy_um: Floats
    """(n, 2) centroids."""
    moments: Moments
    """Of the features of all nuclei."""
    matched: set[int]
    """Labels other than points that are of a nucleus here."""
    missed_points: int
    """Points on no nucleus."""
    outside: set[int]
    """Labels other than points without a nucleus that lie beyond the region that was segmented."""
    outside_points: int
    """Points of these."""
    distances_um: list[float]
    """Of all other labels without a nucleus to the nearest one."""
    unchanged: int
    conflicts: int


def search(table: ResultTable, labels: Labels, columns: FeatureColumns, placed: PlacedLabels) -> Searched:
    """Look the labels up in a table."""
    reader = _Reader(table, labels, columns, placed)
    for part in table.parts():
        reader.add(part)
    return reader.result()


@dataclass
class _Reader:
    """Takes the parts of a table one by one."""

    table: ResultTable
    labels: Labels
    columns: FeatureColumns
    placed: PlacedLabels
    hits: list[Hits] = field(default_factory=list)
    """With ids for rows."""
    same: list[Bools] = field(default_factory=list)
    """(n, 2) of hits by UUID: whether their class is that of the table, and that which it had before."""
    rows: list[tuple[Ints, Floats, Floats]] = field(default_factory=list)
    """Ids, features and centroids of nuclei that may get a class."""
    centres: list[Floats] = field(default_factory=list)
    """Of all nuclei, because the distance to the nearest may be asked for."""

    def __post_init__(self) -> None:
        count = len(self.placed.points)
        self.moments: Moments | None = None
        self.nearest = PointHits(np.zeros(count, np.int64), np.full(count, np.inf))
        self.uuids = pa.array(list(self.labels.uuids), pa.string())
        self.uuid_marks = np.array(list(self.labels.uuids.values()), np.int64)

    def add(self, part: pa.Table) -> None:
        """Look for labels in a part."""
        features = self.columns.matrix({name: part[name].to_numpy() for name in self.columns.names})
        moments = Moments.of(features)
        self.moments = moments if self.moments is None else self.moments + moments
        ids = part["id"].to_numpy()
        xy = centres(part)
        self.centres.append(xy)
        uuid = by_uuid(part, self.uuids, self.uuid_marks)
        region = in_regions(part, self.placed.regions, self.placed.region_marks)
        point = at_points(part, self.placed.points, reach_px(self.table.um_per_px))
        self.nearest = nearer(self.nearest, point)
        self.same.append(self._same(part, uuid))
        for hits in (uuid, region):
            self.hits.append(Hits(rows=ids[hits.rows], marks=hits.marks, particular=hits.particular))
        wanted = np.unique(np.concatenate([uuid.rows, region.rows, np.flatnonzero(np.isin(ids, point.ids))]))
        self.rows.append((ids[wanted], features[wanted], xy[wanted] * self.table.um_per_px))

    def _same(self, part: pa.Table, hits: Hits) -> Bools:
        """Whether the class of hits is the class of the table, and the class before it."""
        names = np.array(self.labels.names, object)[self.labels.classes[hits.marks]]
        rows = pa.array(hits.rows)
        now = _text(part["class"].take(rows))
        before = now
        if ORIGINAL_CLASS in part.column_names:
            before = _text(part[ORIGINAL_CLASS].take(rows))
        return np.column_stack([names == now, names == before]).astype(bool)

    def result(self) -> Searched:
        """All of it."""
        assert self.moments is not None, "a table has at least one part"
        hits = joined(self.hits)
        by_name = joined([each for each in self.hits if len(each.rows) and (each.particular == BY_UUID).all()])
        unchanged = self._unchanged(by_name)
        found = {int(mark) for mark in hits.marks}
        placed = self._by_place(found)
        points = self._points()
        if len(unchanged):
            hits = _without(hits, unchanged)
        ids, marks, conflicts = self._decided(joined([hits, placed, points]))
        features, xy_um = self._described(ids)
        missed = ~marked(self.nearest)
        matched = found | {int(mark) for mark in placed.marks}
        lost, lost_marks = self._lost(missed, matched)
        outside = self._outside(lost)
        missed_points = int(missed.sum())
        return Searched(
            ids=ids,
            marks=marks,
            features=features,
            xy_um=xy_um,
            moments=self.moments,
            matched=matched,
            missed_points=missed_points,
            outside=set(lost_marks[outside[missed_points:]].tolist()),
            outside_points=int(outside[:missed_points].sum()),
            distances_um=self._distances(lost[~outside]),
            unchanged=len(unchanged),
            conflicts=conflicts,
        )

    def _unchanged(self, hits: Hits) -> Ints:
        """Labels that say of a detection what the result had said: not set by anybody, where all are exported.

        A file that was exported before the result got other classes is compared with those that it had then.
        """
        same = np.concatenate([np.zeros((0, 2), bool), *self.same])
        detections = np.array([self.labels.marks[mark].xy is not None for mark in hits.marks], bool)
        if not detections.any():
            return np.zeros(0, np.int64)
        generation = int(same[detections].sum(axis=0).argmax())
        alike = detections & same[:, generation]
        # Of a result with a single class its name says nothing.
        is_single = len(self.table.classes) == 1 and generation == 0
        is_whole = detections.sum() > WHOLE_EXPORT * self.table.nuclei and alike.sum() > WHOLE_EXPORT * detections.sum()
        if is_single or is_whole:
            unchanged: Ints = hits.marks[alike]
            return unchanged
        return np.zeros(0, np.int64)

    def _points(self) -> Hits:
        """Nuclei that points mark."""
        is_marked = marked(self.nearest)
        return Hits.of(self.nearest.ids[is_marked], self.placed.point_marks[is_marked], AT_POINT)

    def _by_place(self, found: set[int]) -> Hits:
        """Nuclei at the place of detections that have UUIDs of an older segmentation."""
        lost = np.array([mark not in found for mark in self.placed.outline_marks], bool)
        if not lost.any():
            return joined([])
        outlines = self.placed.outlines[lost]
        marks = self.placed.outline_marks[lost]
        hits: list[Hits] = []
        for part in self.table.parts():
            rows = by_place(part, outlines[:, :2], outlines[:, 2], self.table.um_per_px)
            known = rows >= 0
            ids = part["id"].to_numpy()[rows[known]]
            hits.append(Hits.of(ids, marks[known], BY_UUID))
            features = self.columns.matrix({name: part[name].to_numpy() for name in self.columns.names})
            xy_um = centres(part) * self.table.um_per_px
            self.rows.append((ids, features[rows[known]], xy_um[rows[known]]))
        return joined(hits)

    def _decided(self, hits: Hits) -> tuple[Ints, Ints, int]:
        """Ids with a class, the label that decides, and how many nuclei contradicting labels leave without."""
        rank = self.labels.files[hits.marks] * KINDS + hits.particular
        best: dict[int, int] = {}
        for nucleus, place in zip(hits.rows.tolist(), rank.tolist(), strict=True):
            best[nucleus] = max(place, best.get(nucleus, -1))
        decisive = np.array([best[nucleus] for nucleus in hits.rows.tolist()], np.int64) == rank
        ids, first = np.unique(hits.rows[decisive], return_index=True)
        marks = hits.marks[decisive]
        classes = self.labels.classes[marks]
        number = np.searchsorted(ids, hits.rows[decisive])
        differs = np.zeros(len(ids), bool)
        np.logical_or.at(differs, number, classes != classes[first][number])
        return ids[~differs], marks[first][~differs], int(differs.sum())

    def _described(self, ids: Ints) -> tuple[Floats, Floats]:
        """Features and centroids of nuclei."""
        known = np.concatenate([np.zeros(0, np.int64), *(row[0] for row in self.rows)])
        features = np.concatenate([np.zeros((0, len(self.columns.names))), *(row[1] for row in self.rows)])
        xy_um = np.concatenate([np.zeros((0, 2)), *(row[2] for row in self.rows)])
        order = np.argsort(known, kind="stable")
        at = order[np.searchsorted(known, ids, sorter=order)] if len(ids) else np.zeros(0, np.int64)
        return features[at], xy_um[at]

    def _lost(self, missed: Bools, matched: set[int]) -> tuple[Floats, Ints]:
        """Where labels lie that are of no nucleus, (x, y), points first; and which labels the others are."""
        placed = self.placed
        outlines = np.array([mark not in matched for mark in placed.outline_marks], bool)
        drawn = [
            (region.centroid.coords[0], mark)
            for region, mark in zip(placed.regions, placed.region_marks.tolist(), strict=True)
            if mark not in matched and not region.is_empty
        ]
        centroids = np.array([xy for xy, _ in drawn], np.float64).reshape(-1, 2)
        marks = np.concatenate([placed.outline_marks[outlines], np.array([mark for _, mark in drawn], np.int64)])
        return np.concatenate([placed.points[missed], placed.outlines[outlines, :2], centroids]), marks

    def _outside(self, places: Floats) -> Bools:
        """Which places lie beyond all nuclei of a result that is of a region alone."""
        xy = np.concatenate(self.centres)
        if not self.table.partial or not len(xy):
            return np.zeros(len(places), bool)
        # The region itself is not kept; the box around its nuclei is at hand.
        reach = reach_px(self.table.um_per_px)
        outside: Bools = ((places < xy.min(axis=0) - reach) | (places > xy.max(axis=0) + reach)).any(axis=1)
        return outside

    def _distances(self, places: Floats) -> list[float]:
        """To the nearest centroid, in um."""
        xy = np.concatenate(self.centres)
        if not len(places) or not len(xy):
            return []
        distances, _ = KDTree(xy).query(places)
        return list((distances * self.table.um_per_px).tolist())


def _without(hits: Hits, marks: Ints) -> Hits:
    """The hits of other labels than these."""
    keep = ~np.isin(hits.marks, marks)
    return Hits(rows=hits.rows[keep], marks=hits.marks[keep], particular=hits.particular[keep])


def _text(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """A column of names as Python text."""
    return np.array(pc.cast(column, pa.string()).to_pylist(), object)
