"""Classes that somebody gave to nuclei, in a GeoJSON file beside the result.

``slide.labels.geojson`` beside ``slide.wsinuc`` is a collection of detections as QuPath has them, each with the UUID,
the outline and the class of one nucleus; a nucleus that is none has the class ``Ignore*``. `feature_file` says how
edits reach the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from wsinuc.nuclei.uuids import nucleus_uuids
from wsinuc.workflows.view.table import NucleiTable
from wsinuc.workflows.view.teach.feature_file import EditLog, Feature, FeatureFile, check_name, class_of, id_of

IGNORE = "Ignore*"
"""The class of what is no nucleus: QuPath's own for what is to be left out."""
SUFFIX = ".labels.geojson"
NEAR_PX = 4.0
"""Level-0 pixels around a label's middle in which its nucleus is looked for by UUID."""


def labels_path(result: Path) -> Path:
    """The file of labels of a result.

    Examples
    --------
    >>> labels_path(Path("out/slide.wsinuc")).as_posix()
    'out/slide.labels.geojson'
    """
    return path_beside(result, SUFFIX)


def path_beside(result: Path, suffix: str) -> Path:
    """A file beside the folder of a result, of its name and another ending."""
    folder = result.resolve() if result.name in ("", "..") else result
    return folder.with_name(folder.name.removesuffix(".wsinuc") + suffix)


@dataclass
class Labels:
    """The labels of one result. Safe to share between threads."""

    path: Path
    table: NucleiTable
    run_id: str
    origin_yx: tuple[float, float]
    """(y, x) of QuPath's (0, 0) in level-0 pixels."""
    log: EditLog = field(default_factory=EditLog)
    """What was done, so that it can be taken back."""

    @cached_property
    def file(self) -> FeatureFile:
        """Where the labels stand."""
        return FeatureFile(self.path)

    def by_row(self) -> dict[int, str]:
        """Class of each labelled nucleus by its row, as the file has it now.

        Raises
        ------
        DataError
            The file cannot be read.
        """
        found = {}
        for feature in self.file.features():
            row = self._row_of(feature)
            name = class_of(feature)
            if row is not None and name:
                found[row] = name
        return found

    def give(self, rows: Sequence[int], name: str | None, color: tuple[int, int, int]) -> None:
        """Give nuclei a class, or take it from them with None; on the disk when this returns.

        Raises
        ------
        DataError
            The name is none that QuPath takes, or the file cannot be read.
        OutputError
            The file cannot be written.
        """
        if name is not None:
            check_name(name)
        ids = nucleus_uuids(self.run_id, self.table.ids[np.asarray(rows, np.int64)])
        after = {
            uuid: None if name is None else self._feature(row, uuid, name, color)
            for row, uuid in zip(rows, ids, strict=True)
        }
        self.log.do(self.file, lambda _: after)

    def take_back(self) -> int:
        """Undo the last action of this viewer; how many nuclei it was about. Raises as `give` does."""
        return self.log.take_back()

    def _feature(self, row: int, uuid: str, name: str, color: tuple[int, int, int]) -> Feature:
        y0, x0 = self.origin_yx
        ring = (self.table.outline(row) - (y0, x0))[:, ::-1].tolist()
        return {
            "type": "Feature",
            "id": uuid,
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            "properties": {"objectType": "detection", "classification": {"name": name, "color": list(color)}},
        }

    def _row_of(self, feature: Feature) -> int | None:
        """The nucleus that a feature of the file is about: by its UUID, looked up where the feature lies."""
        middle = _middle_of(feature)
        if middle is None:
            return None
        y, x = middle[0] + self.origin_yx[0], middle[1] + self.origin_yx[1]
        reach = NEAR_PX + self.table.diameter
        rows = self.table.rows_in(y - reach, x - reach, y + reach, x + reach)
        ids = nucleus_uuids(self.run_id, self.table.ids[rows])
        return next((int(row) for row, uuid in zip(rows, ids, strict=True) if uuid == id_of(feature)), None)


def _middle_of(feature: Feature) -> tuple[float, float] | None:
    """(y, x) of the mean corner of a polygon; None for anything else."""
    try:
        ring = np.asarray(feature["geometry"]["coordinates"][0], np.float64)
        x, y = ring[:-1].mean(axis=0)
    except (LookupError, TypeError, ValueError):
        return None
    if not np.isfinite(x + y):
        return None
    return float(y), float(x)
