"""Will QuPath take this file, and what will it make of it?

QuPath shows an error dialog for few of the files that it refuses, and none for what it silently leaves out. This module
reads a file the way QuPath 0.5.1, 0.6.0 and 0.7.0 do, and says so in words.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from wsinuc.annotations.events import Event, JsonError, TooMuch, json_events, made_plain, plain_errors
from wsinuc.annotations.features import Unrecognised, raw_features
from wsinuc.annotations.files import MAX_ENTRIES
from wsinuc.errors import DataError, RemoteError
from wsinuc.exports.qupath.geometry import Issue
from wsinuc.exports.qupath.plain import plain_polygons, portions
from wsinuc.exports.qupath.rules import Feature, odd, read_feature, rejected
from wsinuc.limits import MAX_RATIO
from wsinuc.urls import Place, PlaceLike, Url, to_place

MAX_BYTES = 1 << 30
"""Largest JSON document that is read; QuPath would need about 16 GB of heap for it. Also keeps zip bombs out."""
MAX_ARCHIVE = 16 << 30
"""Largest size of a zip's entries together, in bytes after unpacking."""
HEAP_PER_BYTE = 15
"""Bytes of Java heap that QuPath needs per byte of one JSON document (measured 13 to 16)."""
HEAP_ADVICE = 1 << 30
"""Heap from which we advise to write a zip of shards."""
MAX_KINDS = 1000
"""Kinds of problems that are told apart; a file of nothing but problems may hold any number."""
_TRAILING_COMMA = re.compile(rb",\s*\]\s*\Z")


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of problem in a file, and how often it occurs."""

    kind: Literal["rejected", "lost", "odd"]
    reason: str
    versions: tuple[str, ...]
    """Versions of QuPath that refuse the whole file for it."""
    count: int
    where: str
    """Where it occurs first: "file", "feature 3", "a.geojson, feature 3" (features count from 0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What QuPath will do with a file."""

    path: Place
    count: int
    """Objects that QuPath would import if it accepts the file."""
    by_type: dict[str, int]
    by_class: dict[str, int]
    findings: tuple[Finding, ...]
    """In order of first occurrence."""
    heap_bytes: int
    """Java heap that the largest document in the file needs, about."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What makes QuPath refuse the file or lose objects."""
        return tuple(f for f in self.findings if f.kind != "odd")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What QuPath accepts but understands differently."""
        return tuple(f for f in self.findings if f.kind == "odd")

    @property
    def ok(self) -> bool:
        """Whether every version imports every object."""
        return not self.problems

    @property
    def rejected_by(self) -> frozenset[str]:
        """Versions of QuPath that refuse the whole file."""
        return frozenset(version for finding in self.findings for version in finding.versions)


def check_geojson(path: PlaceLike) -> CheckReport:
    """Read ``path``, a file or its URL, as QuPath does and report what it would import, refuse, lose or misread.

    Parameters
    ----------
    path
        ``.geojson``, ``.geojson.gz`` or ``.zip``; or its URL.

    Returns
    -------
    CheckReport
        ``ok``, ``count``, what was found of which type and class, and every kind of problem with where it occurs first.

    Raises
    ------
    DataError
        The file does not exist or cannot be opened at all.
    RemoteError
        The URL cannot be reached.

    Examples
    --------
    >>> import wsinuc
    >>> report = wsinuc.check_geojson("examples/data/region.geojson")
    >>> report.ok, report.count
    (True, 1)
    """
    path = to_place(path)
    if isinstance(path, Path) and not path.is_file():
        raise DataError(f"no such file: {path}")
    ledger = _Ledger()
    try:
        with path.open() if isinstance(path, Url) else open(path, "rb") as stream:
            _check_file(path.name.lower(), stream, ledger)
    except RemoteError:
        raise
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return ledger.report(path)


class _Ledger:
    """Findings grouped by reason, and counts of what is imported."""

    def __init__(self) -> None:
        self.counts: Counter[Issue] = Counter()
        self.first: dict[Issue, str] = {}
        self.types: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.colors: dict[str, Any] = {}
        self.ids: set[str] = set()
        self.largest = 0

    def note(self, issue: Issue, where: str = "file") -> None:
        # Messages quote the file, so that a file can make as many of them as it has features.
        if len(self.counts) >= MAX_KINDS and issue not in self.counts:
            issue = Issue(issue.kind, "problems of further kinds", issue.versions)
        self.counts[issue] += 1
        self.first.setdefault(issue, where)

    def add(self, feature: Feature, identity: Any, where: str) -> None:
        """Count one feature that QuPath imports."""
        for issue in feature.issues:
            self.note(issue, where)
        self.types[feature.object_type] += 1
        self.classes[feature.class_name or "none"] += 1
        if feature.color is not None:
            first_color = self.colors.setdefault(str(feature.class_name), feature.color)
            if first_color != feature.color:
                self.note(odd("a class comes in two colors: QuPath uses the first"), where)
        if isinstance(identity, str):
            if identity in self.ids:
                self.note(odd("an id occurs twice"), where)
            self.ids.add(identity)

    def add_all(self, other: _Ledger) -> None:
        """Add all of another ledger; of what both have noted this one's place stays."""
        for issue, count in other.counts.items():
            self.counts[issue] += count
            self.first.setdefault(issue, other.first[issue])
        self.types += other.types
        self.classes += other.classes
        self.colors = {**other.colors, **self.colors}
        self.ids |= other.ids

    def report(self, path: Place) -> CheckReport:
        if not self.types and not self.counts:
            self.note(odd("the file holds no objects"))
        return CheckReport(
            path=path,
            count=self.types.total(),
            by_type=dict(self.types.most_common()),
            by_class=dict(self.classes.most_common()),
            findings=tuple(Finding(i.kind, i.reason, i.versions, n, self.first[i]) for i, n in self.counts.items()),
            heap_bytes=self.largest * HEAP_PER_BYTE,
        )


def _check_file(name: str, stream: BinaryIO, ledger: _Ledger) -> None:
    """Check a file whose form ``name`` (lower case) tells."""
    if name.endswith(".zip"):
        _check_zip(stream, ledger)
    elif name.endswith((".geojson", ".json", ".geojson.gz", ".json.gz")):
        if name.endswith((".json", ".json.gz")):
            ledger.note(odd("QuPath reads a dropped .json file twice: .geojson is faster"))
        if name.endswith(".gz"):
            # GeoJSON shrinks 5 to 50 times; what unpacks to far more is a bomb, and ends at the limit.
            packed = stream.seek(0, io.SEEK_END)
            limit = min(MAX_BYTES, MAX_RATIO * (packed + 1024))
            _check_document(lambda: _unpacked(stream), ledger, "", limit)
        else:
            _check_document(lambda: _from_start(stream), ledger, "")
        if ledger.largest * HEAP_PER_BYTE > HEAP_ADVICE:
            need = ledger.largest * HEAP_PER_BYTE / 1e9
            ledger.note(
                odd(f"QuPath needs about {need:.1f} GB of heap for one file of this size: write a .zip of shards")
            )
    else:
        ledger.note(
            Issue("lost", "QuPath imports nothing from a name that does not end in .geojson, .geojson.gz or .zip")
        )


def _from_start(stream: BinaryIO) -> BinaryIO:
    stream.seek(0)
    return stream


def _unpacked(stream: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=_from_start(stream)))


def _check_zip(stream: BinaryIO, ledger: _Ledger) -> None:
    """Every entry by itself: QuPath leaves out a bad one without a word."""
    try:
        with zipfile.ZipFile(stream) as archive:
            bomb = _bomb(archive.infolist())
            if bomb:
                ledger.note(rejected(bomb))
                return
            for entry in archive.infolist():
                if not entry.filename.lower().endswith((".geojson", ".json")):
                    ledger.note(
                        Issue("lost", "a zip with other entries than .geojson is refused when dropped on QuPath")
                    )
                    continue
                # Judged apart: of an entry that QuPath leaves out no object counts.
                inner = _Ledger()
                _check_document(_opener(archive, entry), inner, f"{entry.filename}, ")
                _merge(inner, ledger, entry.filename)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error) as error:
        ledger.note(rejected(f"the zip is damaged or encrypted ({error})"))


def _opener(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, archive.open(entry))


def _bomb(entries: list[zipfile.ZipInfo]) -> str:
    """Why an archive must not be unpacked, by its own table of contents; empty when it may be."""
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES:
        return f"a zip of {len(entries):,} entries: more than {MAX_ENTRIES:,} are not looked at"
    if total > MAX_ARCHIVE:
        return f"a zip of {total >> 30} GB: more than {MAX_ARCHIVE >> 30} GB are not looked at"
    for entry in entries:
        if entry.file_size > MAX_RATIO * (entry.compress_size + 1024):
            return f"{entry.filename} shrank more than {MAX_RATIO} times: no GeoJSON does, it is not unpacked"
    return ""


def _merge(inner: _Ledger, ledger: _Ledger, entry: str) -> None:
    """Add the findings of one zip entry; an entry that would be rejected is lost instead."""
    bad = [issue for issue in inner.counts if issue.kind == "rejected"]
    for issue in bad:
        ledger.note(Issue("lost", f"QuPath silently leaves out a zip entry: {issue.reason}"), inner.first[issue])
    for issue, count in inner.counts.items():
        if issue not in bad:
            ledger.counts[issue] += count
            ledger.first.setdefault(issue, inner.first[issue])
    ledger.largest = max(ledger.largest, inner.largest)
    if not bad:
        ledger.types += inner.types
        ledger.classes += inner.classes
        if not ledger.ids.isdisjoint(inner.ids):
            ledger.note(odd("an id occurs twice"), entry)
        ledger.ids |= inner.ids


def _check_document(opened: Callable[[], BinaryIO], ledger: _Ledger, prefix: str, limit: int | None = None) -> None:
    """Check one JSON document of at most ``limit`` bytes.

    It is read as a stream first, and as tolerantly as QuPath reads when that finds that it is no JSON.
    """
    where = prefix.rstrip(", ") or "file"
    if limit is None:
        limit = MAX_BYTES
    try:
        # Nearly all files are good JSON, and a stream takes the memory of one feature.
        for read in (_stream, _tolerant):
            part = _Ledger()
            source = _Counted(opened(), limit)
            try:
                _add_features(read(source, part), part, prefix)
            except Unrecognised:
                part = _unrecognised()  # whatever its features are
            except TooMuch as error:
                reason = str(error)
                break
            except JsonError as error:
                reason = str(error)
                continue
            finally:
                ledger.largest = max(ledger.largest, source.count)
            ledger.add_all(part)
            return
    except _TooLarge:
        reason = f"more than {MAX_BYTES >> 30} GB of JSON in one piece: write a .zip of shards"
        if limit < MAX_BYTES:
            reason = f"the file shrank more than {MAX_RATIO} times: no GeoJSON does, it is not unpacked"
        ledger.note(rejected(reason))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        ledger.note(rejected(f"the compressed data is damaged ({error})"), where)
    else:
        ledger.note(rejected(f"no valid JSON: {reason}"), where)


def _unrecognised() -> _Ledger:
    ledger = _Ledger()
    ledger.note(Issue("lost", "QuPath finds no FeatureCollection, Feature or geometry in the file: it imports nothing"))
    return ledger


def _add_features(events: Iterator[Event], ledger: _Ledger, prefix: str) -> None:
    """Judge every feature of a document; raises Unrecognised at its end when QuPath would import none of them."""
    with plain_errors():
        number = 0
        for portion in portions(raw_features(events)):
            for feature, plain in zip(portion, plain_polygons(portion), strict=True):
                identity = None
                if isinstance(feature, dict):
                    identity = feature.get("id")
                ledger.add(read_feature(feature, plain_polygon=plain), identity, f"{prefix}feature {number}")
                number += 1


def _stream(source: _Counted, ledger: _Ledger) -> Iterator[Event]:
    """JSON as it ought to be."""
    return json_events(cast(BinaryIO, source))


def _tolerant(source: _Counted, ledger: _Ledger) -> Iterator[Event]:
    """JSON as QuPath's reader takes it: with bytes that are no UTF-8, NaN, a comma too many, or nothing at all."""
    data = source.read()
    if not data.strip():
        return iter([("null", None)])  # what QuPath's reader makes of an empty text
    if not _is_utf8(data):
        ledger.note(odd("the file is not UTF-8: letters such as µ are lost"))
        data = data.decode("utf-8-sig", errors="replace").encode()
    if _TRAILING_COMMA.search(data[-1024:]):
        ledger.note(odd("a comma before the last bracket: other programs refuse the file"))
    return json_events(io.BytesIO(made_plain(data)))


def _is_utf8(data: bytes) -> bool:
    try:
        codecs.utf_8_decode(data, "strict", True)
    except UnicodeDecodeError:
        return False
    return True


class _TooLarge(Exception):
    """A document holds more than may be read."""


class _Counted(io.RawIOBase):
    """A stream that counts the bytes read from it, and raises _TooLarge beyond ``limit``."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return self.readall()
        # One byte beyond the limit tells a document that is too long from one that just fits.
        data = self._stream.read(min(size, self._limit + 1 - self.count))
        self.count += len(data)
        if self.count > self._limit:
            raise _TooLarge
        return data

    def readall(self) -> bytes:
        whole = io.BytesIO()
        for piece in iter(lambda: self.read(1 << 16), b""):
            whole.write(piece)
        return whole.getvalue()
