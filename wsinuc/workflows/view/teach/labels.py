"""Classes that somebody gave to nuclei, in a GeoJSON file beside the result: the only thing that is ever written.

``slide.labels.geojson`` beside ``slide.wsinuc`` is a collection of detections as QuPath has them, each with the UUID,
the outline and the class of one nucleus; a nucleus that is none has the class ``Ignore*``. Every edit is on the disk
before the page hears of it: the file is read again, changed and replaced as a whole, one writer at a time. So a crash
loses nothing, two windows (or two programs) keep each other's labels, and what others have put into the file stays.
A file that cannot be read is never replaced.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from wsinuc import durable, limits, own_files
from wsinuc.errors import DataError, OutputError
from wsinuc.exports.qupath.class_names import check_class_names
from wsinuc.nuclei.uuids import nucleus_uuids
from wsinuc.workflows.view.table import NucleiTable

IGNORE = "Ignore*"
"""The class of what is no nucleus: QuPath's own for what is to be left out."""
SUFFIX = ".labels.geojson"
MOST_UNDONE = 1000
LONGEST_NAME = 100
NEAR_PX = 4.0
"""Level-0 pixels around a label's middle in which its nucleus is looked for by UUID."""
Feature = dict[str, Any]


def labels_path(result: Path) -> Path:
    """The file of labels of a result.

    Examples
    --------
    >>> labels_path(Path("out/slide.wsinuc")).as_posix()
    'out/slide.labels.geojson'
    """
    folder = result.resolve() if result.name in ("", "..") else result
    return folder.with_name(folder.name.removesuffix(".wsinuc") + SUFFIX)


@dataclass(frozen=True, slots=True)
class Edit:
    """Labels as they were before and after one action, by UUID; None where there was or is none."""

    before: Mapping[str, Feature | None]
    after: Mapping[str, Feature | None]


@dataclass
class Labels:
    """The labels of one result. Safe to share between threads."""

    path: Path
    table: NucleiTable
    run_id: str
    origin_yx: tuple[float, float]
    """(y, x) of QuPath's (0, 0) in level-0 pixels."""
    _edits: list[Edit] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def by_row(self) -> dict[int, str]:
        """Class of each labelled nucleus by its row, as the file has it now.

        Raises
        ------
        DataError
            The file cannot be read.
        """
        found = {}
        for feature in read_features(self.path):
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
        with self._lock:
            before = self._write(after)
            self._edits.append(Edit(before, after))
            del self._edits[:-MOST_UNDONE]

    def take_back(self) -> int:
        """Undo the last action of this viewer; how many nuclei it was about. Raises as `give` does."""
        with self._lock:
            if not self._edits:
                return 0
            # Removed when it has been written: an error leaves it to be taken back again.
            self._write(self._edits[-1].before)
            return len(self._edits.pop().before)

    def _write(self, changes: Mapping[str, Feature | None]) -> dict[str, Feature | None]:
        """Put features in the place of those of the same UUID; returns what was there."""
        try:
            with _alone_in(self.path.parent):
                own_files.check_file(self.path)
                features = read_features(self.path)
                before: dict[str, Feature | None] = dict.fromkeys(changes)
                before |= {_id_of(each): each for each in features if _id_of(each) in changes}
                kept = [each for each in features if _id_of(each) not in changes]
                new = [each for each in changes.values() if each is not None]
                with durable.replacing(self.path, own_files.beside(self.path)) as stream:
                    stream.write(_collection([*kept, *new]))
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error
        return before

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
        return next((int(row) for row, uuid in zip(rows, ids, strict=True) if uuid == _id_of(feature)), None)


def read_features(path: Path) -> list[Feature]:
    """The features of a file of labels, none where there is no file.

    Raises
    ------
    DataError
        It is no GeoJSON, or cannot be read.
    """
    try:
        content = own_files.read(path, follow=True, limit=limits.MAX_TEXT)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: the labels cannot be read ({error.strerror or error})") from error
    parsed = limits.parse_json(content, str(path))
    features = parsed.get("features") if isinstance(parsed, dict) else None
    if not isinstance(features, list) or not all(isinstance(each, dict) for each in features):
        raise DataError(f"{path}: expected labels as GeoJSON (a FeatureCollection): move the file away, or mend it")
    return features


def _id_of(feature: Feature) -> str:
    """The name of a feature; empty where it has none that is text."""
    name = feature.get("id")
    return name if isinstance(name, str) else ""


def class_of(feature: Feature) -> str:
    """The class that a feature names; empty where it names none."""
    properties = feature.get("properties")
    classification = properties.get("classification") if isinstance(properties, dict) else None
    name = classification.get("name") if isinstance(classification, dict) else None
    return name if isinstance(name, str) else ""


def check_name(name: str) -> None:
    """Raise DataError for a class that QuPath would refuse or misread, or nobody could read."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise DataError(f"a class needs a name of 1 to {LONGEST_NAME} letters on one line")
    check_class_names((name,))


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


def _collection(features: Sequence[Feature]) -> bytes:
    """A feature per line."""
    lines = b",\n".join(orjson.dumps(feature) for feature in features)
    return b'{"type":"FeatureCollection","features":[\n' + lines + b"\n]}\n"


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other viewers on this machine from writing to a folder meanwhile, where the system has locks for that."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
