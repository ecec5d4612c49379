"""A GeoJSON file that a viewer writes beside a result: what labels and training windows have in common.

Every edit is on the disk before the page hears of it: the file is read again, changed and replaced as a whole, one
writer at a time. So a crash loses nothing, two windows (or two programs) keep each other's edits, and what others have
put into the file stays. A file that cannot be read is never replaced.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsinuc import durable, limits, own_files
from wsinuc.errors import DataError, OutputError
from wsinuc.exports.qupath.class_names import check_class_names
from wsinuc.exports.qupath.collection import collection_text

MOST_UNDONE = 1000
LONGEST_NAME = 100
Feature = dict[str, Any]
Changes = Mapping[str, Feature | None]
"""Features by their id; None where there is to be none."""
Work = Callable[[Sequence[Feature]], Changes]
"""What an edit makes of the features that are in the file."""


class _ChangedSinceError(DataError):
    """Somebody has gone on from an edit that was to be taken back."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Features as they were before and after one action."""

    before: Changes
    after: Changes


@dataclass
class FeatureFile:
    """A file of features that several may write to. Safe to share between threads."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def features(self) -> list[Feature]:
        """The features as the file has them now, none where there is no file. Raises DataError."""
        return read_features(self.path)

    def edit(self, work: Work) -> Edit:
        """Put features in the place of those of the same id; on the disk when this returns.

        Parameters
        ----------
        work
            Makes the changes from the features that are in the file while nobody else writes to it.

        Raises
        ------
        DataError
            The file cannot be read, or the edit cannot be made.
        OutputError
            The file cannot be written.
        """
        with self._lock:
            try:
                return self._edit(work)
            except OSError as error:
                if isinstance(error, OutputError):
                    raise
                raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _edit(self, work: Work) -> Edit:
        with _alone_in(self.path.parent):
            own_files.check_file(self.path)
            features = self.features()
            after = dict(work(features))
            before: dict[str, Feature | None] = dict.fromkeys(after)
            before |= {id_of(each): each for each in features if id_of(each) in after}
            kept = [each for each in features if id_of(each) not in after]
            new = [each for each in after.values() if each is not None]
            with durable.replacing(self.path) as stream:
                stream.write(collection_text([*kept, *new]))
        return Edit(before, after)

    @property
    def stamp(self) -> tuple[int, int, int] | None:
        """What changes when the file does; None where there is none."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


@dataclass
class EditLog:
    """The actions of one viewer, so that they can be taken back, the last one first. Safe to share between threads."""

    _edits: list[tuple[FeatureFile, Edit, bool]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def do(self, file: FeatureFile, work: Work, *, strict: bool = False) -> Edit:
        """Edit a file and remember it; raises as `FeatureFile.edit` does.

        Parameters
        ----------
        strict
            Whether it is taken back only as long as nobody has changed the same features since.
        """
        with self._lock:
            edit = file.edit(work)
            self._edits.append((file, edit, strict))
            del self._edits[:-MOST_UNDONE]
        return edit

    def take_back(self) -> int:
        """Undo the last action; how many features it was about, 0 where there is none.

        Raises
        ------
        DataError
            Somebody has changed the same features since, or the file cannot be read.
        OutputError
            The file cannot be written.
        """
        with self._lock:
            if not self._edits:
                return 0
            # Removed when it has been written: an error leaves it to be taken back again.
            file, edit, strict = self._edits[-1]
            try:
                file.edit(lambda features: _reverted(features, edit, strict=strict))
            except _ChangedSinceError:
                # It never can be any more, and those before it are not to wait for it.
                self._edits.pop()
                raise
            self._edits.pop()
            return len(edit.before)


def _reverted(features: Sequence[Feature], edit: Edit, *, strict: bool) -> Changes:
    if strict:
        there = {id_of(each): each for each in features}
        if any(there.get(name) != feature for name, feature in edit.after.items()):
            raise _ChangedSinceError(
                "this cannot be taken back: it has been changed since, in another window or program"
            )
    return edit.before


def read_features(path: Path) -> list[Feature]:
    """The features of a file, none where there is no file.

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
        raise DataError(f"{path}: the file cannot be read ({error.strerror or error})") from error
    parsed = limits.parse_json(content, str(path))
    features = parsed.get("features") if isinstance(parsed, dict) else None
    if not isinstance(features, list) or not all(isinstance(each, dict) for each in features):
        raise DataError(f"{path}: expected GeoJSON (a FeatureCollection): move the file away, or mend it")
    return features


def id_of(feature: Feature) -> str:
    """The name by which programs know a feature; empty where it has none that is text."""
    name = feature.get("id")
    return name if isinstance(name, str) else ""


def class_of(feature: Feature) -> str:
    """The class that a feature names; empty where it names none."""
    classification = properties_of(feature).get("classification")
    name = classification.get("name") if isinstance(classification, dict) else None
    return name if isinstance(name, str) else ""


def properties_of(feature: Feature) -> dict[str, Any]:
    """What a feature says of itself; empty where that is no JSON object."""
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def check_name(name: str) -> None:
    """Raise DataError for a class that QuPath would refuse or misread, or nobody could read."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise DataError(f"a class needs a name of 1 to {LONGEST_NAME} letters on one line")
    check_class_names((name,))


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
        # Many network disks lock no folders, or nothing at all; there one viewer at a time has to be enough.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
