"""From files of labels and tables to labelled nuclei with their features, in one pass over the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.class_names import check_name
from wsinuc.errors import DataError
from wsinuc.exports.qupath.class_names import check_class_names
from wsinuc.nuclei.class_features import FeatureColumns, Moments, common_columns
from wsinuc.workflows.reclassify.labels import Labels
from wsinuc.workflows.reclassify.marks import MarkFile
from wsinuc.workflows.reclassify.search import Searched, search
from wsinuc.workflows.reclassify.tables import ResultTable

MATCHED = 0.5
"""Share of the labels that have to be of nuclei of the results; by chance about a third of points would be."""
MOST_CLASSES = 64
"""What a model can tell apart."""

COLORS = ((230, 75, 53), (77, 187, 213), (0, 160, 135), (60, 84, 136), (243, 155, 127), (145, 209, 194), (126, 97, 72))
"""Of classes that nobody has given one."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCounts:
    """What became of the labels."""

    labels: int
    """Detections, points, regions and rows of the files that have a class."""
    nuclei: int
    """Nuclei that got a class from them."""
    unchanged: int
    """Detections that have the class of the table, which somebody who exports everything did not set."""
    conflicts: int
    """Nuclei with several classes, which are left out."""
    outside: int
    """Labels outside of the region that was segmented."""
    unmatched: int
    """All other labels of no nucleus."""
    distance_um: float | None
    """Median distance of these to the nearest nucleus; None where they have no place."""

    def __str__(self) -> str:
        parts = [f"{self.labels:,} labels give {self.nuclei:,} nuclei a class"]
        if self.unchanged:
            parts.append(f"{self.unchanged:,} detections whose class is that of the result, not counted as labels")
        if self.conflicts:
            parts.append(f"{self.conflicts:,} nuclei with several classes left out")
        if self.outside:
            parts.append(f"{self.outside:,} of the labels lie outside of the region that was segmented")
        if self.unmatched:
            parts.append(f"{self.unmatched:,} of the labels are of no nucleus{self.how_far}")
        return "; ".join(parts)

    @property
    def how_far(self) -> str:
        """How far those without a nucleus are from the nearest, in brackets."""
        if self.distance_um is None:
            return " (their UUIDs are of none)"
        return f" (median distance to the nearest {self.distance_um:,.0f} µm)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledNuclei:
    """Nuclei with a class and what is known of them, of all results."""

    names: tuple[str, ...]
    """Names of the classes, in the order in which files name them."""
    colors: dict[str, tuple[int, int, int]]
    """Those that files give."""
    columns: FeatureColumns
    features: Floats
    """(n, d)"""
    classes: NDArray[np.intp]
    """(n,) index into ``names``."""
    slides: NDArray[np.intp]
    """(n,) number of the result."""
    ids: Ints
    """(n,) of the nucleus in its result."""
    xy_um: Floats
    """(n, 2) centroid."""
    moments: Moments
    """Of the features of all nuclei."""
    counts: LabelCounts

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, rows: NDArray[np.intp]) -> LabelledNuclei:
        """Some of them."""
        arrays = {name: getattr(self, name)[rows] for name in ("features", "classes", "slides", "ids", "xy_um")}
        return replace(self, **arrays)


def gather(tables: Sequence[ResultTable], files: Sequence[MarkFile]) -> LabelledNuclei:
    """Look the labels up and describe their nuclei.

    Parameters
    ----------
    tables
        Results of different slides. Labels with UUIDs may be of any of them; points and annotations are of the one
        result, or of the one with whose name the file's name begins.
    files
        Where two label one nucleus, the later one counts.

    Raises
    ------
    DataError
        The tables lack measurements; most labels are of no nucleus; a file of points does not say for which result it
        is; or the classes are too few, too many, or have a single nucleus.
    """
    columns = FeatureColumns(common_columns({str(table.folder): table.measurements for table in tables}))
    labels = Labels.of(files, tables)
    searched = [search(table, labels, columns, labels.placed(number)) for number, table in enumerate(tables)]
    return _assembled(tables, labels, columns, searched)


def _assembled(
    tables: Sequence[ResultTable], labels: Labels, columns: FeatureColumns, searched: Sequence[Searched]
) -> LabelledNuclei:
    """The nuclei of all results, checked."""
    counts = _counts(labels, searched)
    _check_matched(tables, labels, counts)
    names, classes = _used(labels, np.concatenate([labels.classes[each.marks] for each in searched]))
    _check_classes(names, classes, counts)
    sizes = [len(each.ids) for each in searched]
    return LabelledNuclei(
        names=names,
        colors=_colors(names, labels, tables),
        columns=columns,
        features=np.concatenate([each.features for each in searched]),
        classes=classes,
        slides=np.repeat(np.arange(len(searched)), sizes),
        ids=np.concatenate([each.ids for each in searched]),
        xy_um=np.concatenate([each.xy_um for each in searched]),
        moments=reduce(add, (each.moments for each in searched)),
        counts=counts,
    )


def _counts(labels: Labels, searched: Sequence[Searched]) -> LabelCounts:
    matched = set().union(*(each.matched for each in searched))
    # Of a MultiPoint each point is a label; they are looked up in one result alone.
    missed_points = sum(each.missed_points for each in searched)
    missed = [mark for mark in labels.single if labels.last(mark) not in matched]
    outside = len(set().union(*(each.outside for each in searched)).intersection(missed))
    outside += sum(each.outside_points for each in searched)
    distances = [distance for each in searched for distance in each.distances_um]
    return LabelCounts(
        labels=len(labels.single) + labels.point_count,
        nuclei=sum(len(each.ids) for each in searched),
        unchanged=sum(each.unchanged for each in searched),
        conflicts=sum(each.conflicts for each in searched),
        outside=outside,
        unmatched=len(missed) + missed_points - outside,
        distance_um=float(np.median(distances)) if distances else None,
    )


def _check_matched(tables: Sequence[ResultTable], labels: Labels, counts: LabelCounts) -> None:
    """Raise DataError where most of the labels are of no nucleus, whatever lies outside of a segmented region."""
    names = ", ".join(table.folder.name for table in tables[:3])
    if counts.outside == counts.labels:
        raise DataError(
            f"all {counts.labels:,} labels lie outside of the region of {names} that was segmented: segment the whole "
            "slide, or label nuclei of the region; or are they another slide's?"
        )
    inside = counts.labels - counts.outside
    if counts.unmatched <= (1 - MATCHED) * inside:
        return
    where = ""
    if counts.outside:
        where = " in the region that was segmented"
    raise DataError(
        f"{counts.unmatched:,} of {inside:,} labels{where} are of no nucleus of {names}{counts.how_far}: are they of "
        "another slide, of a result that was made anew since, or not in full-resolution pixels?"
    )


def _used(labels: Labels, classes: Ints) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """The classes that nuclei have, and their numbers among these."""
    present = np.unique(classes)
    return tuple(labels.names[k] for k in present), np.searchsorted(present, classes).astype(np.intp)


def _check_classes(names: tuple[str, ...], classes: NDArray[np.intp], counts: LabelCounts) -> None:
    """Raise DataError where nothing can be learned from the labels."""
    if not len(classes) and counts.unchanged:
        raise DataError(
            f"all {counts.unchanged:,} detections with a class have the class that the result gave them: set the class "
            "of some in QuPath and export them again, or label with points"
        )
    if len(names) < 2:
        raise DataError(f"a classifier needs two classes to tell apart, the labels name {', '.join(names) or 'none'}")
    check_class_names(names)
    for name in names:
        check_name(name, "the labels")
    if len(names) > MOST_CLASSES or 2 * len(names) > len(classes):
        raise DataError(
            f"{len(names)} classes for {len(classes):,} labelled nuclei: expected at most {MOST_CLASSES} classes with "
            "at least two nuclei each; are these names of nuclei, not of classes?"
        )
    sizes = np.bincount(classes, minlength=len(names))
    for name, size in zip(names, sizes.tolist(), strict=True):
        if size < 2:
            raise DataError(
                f"the class {name} has a single labelled nucleus, two are the least to learn from: label more, or "
                f"leave it out ({counts})"
            )


def _colors(names: Sequence[str], labels: Labels, tables: Sequence[ResultTable]) -> dict[str, tuple[int, int, int]]:
    """Of each class the colour of the files, else of the results, else one of its own."""
    known = {each.name.lower(): each.color for table in reversed(tables) for each in table.classes}
    known |= {name.lower(): color for name, color in labels.colors.items()}
    return {name: known.get(name.lower(), COLORS[k % len(COLORS)]) for k, name in enumerate(names)}
