"""The labels of several files as one list: which class, which file, and by what each names its nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from wsinuc.errors import DataError
from wsinuc.workflows.reclassify.marks import Mark, MarkFile
from wsinuc.workflows.reclassify.tables import ResultTable

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedLabels:
    """Labels that name nuclei of one slide by their place, in level-0 pixels (x, y)."""

    points: Floats
    """(n, 2)"""
    point_marks: Ints
    """(n,) number of the label of each point."""
    regions: tuple[BaseGeometry, ...]
    region_marks: Ints
    outlines: Floats
    """(k, 3) centre and area of detections."""
    outline_marks: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """All labels, numbered from 0."""

    names: tuple[str, ...]
    """Classes in the order in which they occur; names that differ in case alone are one."""
    colors: dict[str, tuple[int, int, int]]
    marks: tuple[Mark, ...]
    classes: Ints
    """(m,) index into ``names``."""
    files: Ints
    """(m,) number of the file: a later one corrects an earlier one."""
    uuids: dict[str, int]
    """The last label of each UUID."""
    slides: tuple[int | None, ...]
    """The result whose nuclei a file names by their place; None where it names all by UUID."""
    origins: tuple[tuple[float, float], ...]
    """(x, y) of each result's coordinates in level-0 pixels."""

    @classmethod
    def of(cls, files: Sequence[MarkFile], tables: Sequence[ResultTable]) -> Labels:
        """The labels of ``files`` for the results ``tables``; raises DataError as `gather` does."""
        marks = tuple(mark for file in files for mark in file.marks)
        spelled = _spellings([mark.class_name for mark in marks], tables)
        names = tuple(dict.fromkeys(spelled[mark.class_name] for mark in marks))
        return cls(
            names=names,
            colors={spelled[name]: color for file in files for name, color in file.colors.items() if name in spelled},
            marks=marks,
            classes=np.array([names.index(spelled[mark.class_name]) for mark in marks], np.int64),
            files=np.repeat(np.arange(len(files)), [len(file.marks) for file in files]),
            uuids={mark.uuid: number for number, mark in enumerate(marks) if mark.uuid is not None},
            slides=tuple(_slide_of(file, tables) for file in files),
            origins=tuple(table.origin_xy for table in tables),
        )

    def last(self, mark: int) -> int:
        """The label that decides where one UUID stands several times; else the label itself."""
        uuid = self.marks[mark].uuid
        return mark if uuid is None else self.uuids[uuid]

    @property
    def single(self) -> list[int]:
        """Labels that are no points."""
        return [number for number, mark in enumerate(self.marks) if not _is_points(mark)]

    @property
    def point_count(self) -> int:
        """Points of all labels that are points."""
        return sum(len(mark.xy) for mark in self.marks if _is_points(mark) and mark.xy is not None)

    def placed(self, slide: int) -> PlacedLabels:
        """Labels with a place on a slide."""
        origin = np.array(self.origins[slide])
        own = [number for number in range(len(self.marks)) if self.slides[self.files[number]] == slide]
        points = [number for number in own if _is_points(self.marks[number])]
        regions = [(number, self.marks[number].region) for number in own]
        drawn = [(number, region) for number, region in regions if region is not None]
        outlines = [number for number in own if self.marks[number].area_px is not None]
        coordinates = [self.marks[number].xy for number in points]
        return PlacedLabels(
            points=np.concatenate([np.zeros((0, 2)), *(xy + origin for xy in coordinates if xy is not None)]),
            point_marks=np.repeat(np.array(points, np.int64), [len(xy) for xy in coordinates if xy is not None]),
            regions=tuple(translate(_valid(region), *origin) for _, region in drawn),
            region_marks=np.array([number for number, _ in drawn], np.int64),
            outlines=np.array([self._outline(number, origin) for number in outlines]).reshape(-1, 3),
            outline_marks=np.array(outlines, np.int64),
        )

    def _outline(self, number: int, origin: Floats) -> tuple[float, float, float]:
        mark = self.marks[number]
        assert mark.xy is not None
        x, y = (mark.xy[0] + origin).tolist()
        return x, y, mark.area_px or 0.0


def _is_points(mark: Mark) -> bool:
    return mark.xy is not None and mark.area_px is None and mark.uuid is None


def _valid(region: BaseGeometry) -> BaseGeometry:
    """The region, by the even-odd rule where it crosses itself."""
    import shapely

    if shapely.is_valid(region):
        return region
    return shapely.make_valid(region, method="linework")


def _spellings(names: Sequence[str], tables: Sequence[ResultTable]) -> dict[str, str]:
    """How each name is written: as a result has it, else as it was written first."""
    first = {each.name.lower(): each.name for table in reversed(tables) for each in table.classes}
    return {name: first.setdefault(name.lower(), name) for name in names}


def _slide_of(file: MarkFile, tables: Sequence[ResultTable]) -> int | None:
    """The result that a file's points and annotations are on; of several the one whose name begins the file's."""
    if len(tables) == 1:
        return 0
    # The longest, because one slide may be called "a" and the next "a.1".
    fitting = [number for number, table in enumerate(tables) if _begins(file.path.name, table.stem)]
    if fitting:
        return max(fitting, key=lambda number: len(tables[number].stem))
    if all(mark.uuid is not None for mark in file.marks):
        return None
    raise DataError(
        f"{file.path} labels nuclei by their place, and there are {len(tables)} results: name the file after its "
        f"slide, such as {tables[0].stem}.geojson"
    )


def _begins(name: str, stem: str) -> bool:
    return name == stem or name.startswith(f"{stem}.")
