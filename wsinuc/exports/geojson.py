"""The table of nuclei as GeoJSON that QuPath 0.5.1, 0.6.0 and 0.7.0 all read completely.

QuPath reads a file all or nothing and keeps its whole JSON tree in memory: one bad feature loses every nucleus, and a
million nuclei in one file need about 10 GB of Java heap. So each polygon is checked before it is written, and above
``ONE_FILE_LIMIT`` nuclei the file is a zip of small collections, which QuPath reads one after another with about 1 GB.

Coordinates are level-0 pixels of the slide as QuPath opens it: x first, origin at the corner of the slide's bounds.
Features are written as they come, one per line, so memory does not grow with the slide; the same nuclei give the same
bytes, compressed or not.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from wsinuc.errors import DataError, OutputError
from wsinuc.exports.atomic import replacing
from wsinuc.exports.polygons import Polygons, level0_polygons
from wsinuc.nuclei import Nuclei

ONE_FILE_LIMIT = 50_000
"""Nuclei up to which one plain file is comfortable in QuPath (about 0.5 GB of heap)."""
SHARD = 20_000
"""Largest number of nuclei in one entry of a zip."""
SHAPE_NAMES = {
    "area_um2": "Nucleus: Area µm^2",
    "length_um": "Nucleus: Length µm",
    "circularity": "Nucleus: Circularity",
    "solidity": "Nucleus: Solidity",
    "max_diameter_um": "Nucleus: Max diameter µm",
    "min_diameter_um": "Nucleus: Min diameter µm",
}
"""Our measurements by the names that QuPath itself gives them, so that its classifiers and tables work."""

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "wsinuc:nucleus")
_BATCH = 4096
_BUFFER = 1 << 20
_LEVEL = 4
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What ``write_geojson`` wrote."""

    paths: tuple[Path, ...]
    count: int
    """Nuclei in the file: the number of objects that QuPath must show after import."""
    repaired: int
    """Of those, nuclei whose outline touched or crossed itself after rounding."""
    dropped: int
    """Nuclei left out because less than 1 px^2 remained."""


def default_geojson_name(count: int) -> str:
    """File name for ``count`` nuclei: one plain file while QuPath can load it with ease, else a zip of shards."""
    return "nuclei.geojson" if count <= ONE_FILE_LIMIT else "nuclei.geojson.zip"


def check_class_names(names: Iterable[str]) -> None:
    """Raise DataError for a class name that QuPath would refuse or misread.

    ``:`` splits a name into two levels of classes, a line break or an empty name make QuPath refuse the file, and
    spaces around a name are cut off.
    """
    for name in names:
        if not name.strip() or name != name.strip() or ":" in name or len(name.splitlines()) > 1:
            raise DataError(
                f"class name {name!r} would be refused or misread by QuPath: "
                "use a name without ':', line breaks or spaces around it"
            )


def write_geojson(
    nuclei: Iterable[Nuclei], path: Path | str, *, origin_yx: tuple[float, float] = (0.0, 0.0), run_id: str
) -> ExportReport:
    """Write nuclei as QuPath detections; the suffix of ``path`` decides the form.

    Parameters
    ----------
    nuclei
        Parts of the table in id order; only one part is held at a time.
    path
        ``.geojson``, ``.geojson.gz``, or ``.zip`` (entries of at most 20,000 nuclei).
    origin_yx
        (y, x) of QuPath's image origin in level-0 pixels: ``Slide.origin``.
    run_id
        Names the run; a nucleus keeps its UUID when the same run is exported again.

    Raises
    ------
    OutputError
        The suffix is none of these, or the file cannot be written.
    DataError
        A class has a name that QuPath would refuse or misread.
    """
    path = Path(path)
    write = _writer(path)
    tally = _Tally()
    with replacing(path) as stream:
        write(stream, _features(nuclei, origin_yx, run_id, tally))
    return ExportReport(paths=(path,), count=tally.count, repaired=tally.repaired, dropped=tally.dropped)


@dataclass(slots=True)
class _Tally:
    count: int = 0
    repaired: int = 0
    dropped: int = 0


def _writer(path: Path) -> Any:
    """The function that writes features in the form that the suffix of ``path`` asks for."""
    for suffix, write in ((".geojson", _write_collection), (".geojson.gz", _write_gzip), (".zip", _write_zip)):
        if path.name.lower().endswith(suffix):
            return write
    raise OutputError(f"QuPath reads .geojson, .geojson.gz and .zip, not {path.name}: choose one of these suffixes")


def _write_collection(stream: BinaryIO, features: Iterable[bytes]) -> None:
    """One FeatureCollection, a feature per line."""
    separator = b'{"type":"FeatureCollection","features":[\n'
    for feature in features:
        stream.write(separator + feature)
        separator = b",\n"
    stream.write(b"\n]}\n" if separator == b",\n" else separator + b"]}\n")


def _write_gzip(stream: BinaryIO, features: Iterable[bytes]) -> None:
    """The collection compressed, without name or time in the header so that the bytes are reproducible."""
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=_LEVEL) as packed,
        _buffered(packed) as buffered,
    ):
        _write_collection(buffered, features)


def _write_zip(stream: BinaryIO, features: Iterator[bytes]) -> None:
    """A zip of collections of at most ``SHARD`` features, with fixed times; at least one entry."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        first = next(features, None)
        for number in itertools.count():
            rest = itertools.islice(features, SHARD - 1)
            entry = zipfile.ZipInfo(f"nuclei-{number:05d}.geojson", _EPOCH)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            with archive.open(entry, "w") as packed, _buffered(packed) as buffered:
                _write_collection(buffered, itertools.chain([] if first is None else [first], rest))
            first = next(features, None)
            if first is None:
                return


def _buffered(stream: Any) -> BinaryIO:
    """Large writes to a compressor, which is slow on many small ones; closing it closes ``stream``."""
    return cast(BinaryIO, io.BufferedWriter(stream, _BUFFER))


def _features(parts: Iterable[Nuclei], origin_yx: tuple[float, float], run_id: str, tally: _Tally) -> Iterator[bytes]:
    """Encoded features of all parts, counted as they pass."""
    identity = hashlib.sha1(uuid.uuid5(_NAMESPACE, run_id).bytes, usedforsecurity=False)
    for part in parts:
        check_class_names(part.class_names)
        for start in range(0, len(part), _BATCH):
            stop = min(start + _BATCH, len(part))
            polygons = level0_polygons(part, start, stop, origin_yx)
            tally.repaired += sum(bool(polygons.keep[i]) for i in polygons.repaired)
            tally.dropped += int((~polygons.keep).sum())
            tally.count += int(polygons.keep.sum())
            yield from _encode(part, start, polygons, identity)


def _encode(part: Nuclei, start: int, polygons: Polygons, identity: Any) -> Iterator[bytes]:
    """Encoded features of one batch that begins at ``start`` in ``part``."""
    stop = start + len(polygons.keep)
    names, values = _measurements(part, start, stop)
    finite = np.isfinite(values.sum(axis=1)).tolist()
    classes = [
        orjson.Fragment(orjson.dumps({"name": name, "color": color}))
        for name, color in zip(part.class_names, part.class_colors, strict=True)
    ]
    rows, ids, chosen = values.tolist(), part.ids[start:stop].tolist(), part.classes[start:stop].tolist()
    for i in np.flatnonzero(polygons.keep).tolist():
        measured = dict(zip(names, rows[i], strict=True))
        if not finite[i]:
            measured = {name: value for name, value in measured.items() if np.isfinite(value)}
        feature = {
            "type": "Feature",
            "id": _uuid5(identity, ids[i]),
            "geometry": {"type": "Polygon", "coordinates": polygons.rings(i)},
            "properties": {"objectType": "detection", "classification": classes[chosen[i]], "measurements": measured},
        }
        yield orjson.dumps(feature, option=orjson.OPT_SERIALIZE_NUMPY)


def _measurements(part: Nuclei, start: int, stop: int) -> tuple[list[str], NDArray[np.float64]]:
    """QuPath's names and the (n, names) values, rounded to what is meaningful."""
    columns = {name: part.measurements[key] for key, name in SHAPE_NAMES.items() if key in part.measurements}
    columns |= {"Detection probability": part.probabilities, "Uncertainty": part.disagreements}
    if len(part.class_names) > 1:
        columns |= {f"Probability: {name}": part.class_probabilities[:, k] for k, name in enumerate(part.class_names)}
    values = np.stack([column[start:stop] for column in columns.values()], axis=1).astype(np.float64)
    return list(columns), np.round(values, 4)


def _uuid5(identity: Any, number: int) -> str:
    """``str(uuid.uuid5(namespace, str(number)))``, twice as fast; ``identity`` has hashed the namespace."""
    digest = identity.copy()
    digest.update(b"%d" % number)
    raw = bytearray(digest.digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
