"""The table of nuclei as GeoJSON that QuPath 0.5.1, 0.6.0 and 0.7.0 all read completely.

QuPath reads a file all or nothing and keeps its whole JSON tree in memory: one bad feature loses every nucleus, and a
million nuclei in one file need about 10 GB of Java heap. So each polygon is checked before it is written, and above
``ONE_FILE_LIMIT`` nuclei the file is a zip of small collections, which QuPath reads one after another with about 1 GB.

Coordinates are level-0 pixels of the slide as QuPath opens it: x first, origin at the corner of the slide's bounds.
Nuclei are written as they come, a feature per line, so memory does not grow with the slide. They are cut into portions
by their position in the table alone, and portions are encoded (and compressed, in a zip) independently: the same nuclei
give the same bytes, however the table is cut into parts and however many threads are at it.
"""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from wsinuc import arguments
from wsinuc.errors import DataError, OutputError
from wsinuc.exports.atomic import replacing
from wsinuc.exports.qupath.class_names import check_class_names
from wsinuc.exports.qupath.collection import BEGIN, BETWEEN, END, collection_of
from wsinuc.exports.qupath.polygons import Outlines, Polygons, level0_polygons, ring_sizes
from wsinuc.exports.qupath.zip_writer import Deflated, ZipWriter
from wsinuc.nuclei import MEASUREMENTS, Nuclei, concatenate
from wsinuc.nuclei.measured_names import qupath_names
from wsinuc.nuclei.uuids import nucleus_uuids
from wsinuc.urls import PathLike, to_path

ONE_FILE_LIMIT = 50_000
"""Nuclei up to which one plain file is comfortable in QuPath (about 0.5 GB of heap)."""
SHARD = 10_000
"""Largest number of nuclei in one entry of a zip."""
SHAPE_NAMES = qupath_names(MEASUREMENTS)
"""Our measurements by the names that QuPath itself gives them, so that its classifiers and tables work."""

_BATCH = 4096
_GZIP_LEVEL = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What ``write_geojson`` wrote."""

    paths: tuple[Path, ...]
    count: int
    """Nuclei in the file: the number of objects that QuPath must show after import."""
    repaired: int
    """Nuclei among them whose outline touched or crossed itself after rounding."""
    dropped: int
    """Nuclei left out because less than 1 px^2 remained."""


def default_geojson_name(count: int) -> str:
    """File name for ``count`` nuclei: one plain file while QuPath can load it with ease, else a zip of shards."""
    if count <= ONE_FILE_LIMIT:
        return "nuclei.geojson"
    return "nuclei.geojson.zip"


def write_geojson(
    nuclei: Nuclei | Iterable[Nuclei],
    path: PathLike,
    *,
    origin_yx: tuple[float, float] = (0.0, 0.0),
    run_id: str,
    workers: int = 1,
    outlines: Outlines = "smooth",
) -> ExportReport:
    """Write nuclei as QuPath detections, or with their cells as QuPath cells; the suffix of ``path`` decides the form.

    Parameters
    ----------
    nuclei
        A table, or its parts in id order, of which only a few are held at a time.
    path
        ``.geojson``, ``.geojson.gz``, or ``.zip`` (entries of at most 10,000 nuclei).
    origin_yx
        (y, x) of QuPath's image origin in level-0 pixels: ``Slide.origin``.
    run_id
        Names the run; a nucleus keeps its UUID when the same run is exported again.
    workers
        Portions encoded at once, each in a thread. Does not change the bytes.
    outlines
        ``smooth``: with a third of the corners and the area of the pixels, see `wsinuc.exports.qupath.smooth`; length
        and circularity are then those of the written outline, as QuPath computes them. ``exact``: along the edges of
        pixels; length and circularity are the table's.

    Returns
    -------
    ExportReport
        The file, how many nuclei are in it, and how many were repaired or dropped.

    Raises
    ------
    OutputError
        The suffix is none of these, or the file cannot be written.
    DataError
        A class has a name that QuPath would refuse or misread.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import wsinuc
    >>> from wsinuc.grid import Box
    >>> from wsinuc.nuclei import Frame
    >>> from wsinuc.nuclei.measure import measure
    >>> from wsinuc.nuclei.classes import NucleusClass
    >>> labels = np.zeros((20, 40), np.int32)
    >>> labels[5:15, 5:15] = 1
    >>> labels[5:15, 20:35] = 2
    >>> scores = np.full((3, 20, 40), 255, np.uint8)  # foreground, disagreement, one class
    >>> frame = Frame(mpp=0.5, downsample=(1.0, 1.0))
    >>> nuclei = measure(labels, scores, Box(0, 0, 20, 40), frame, [NucleusClass("Nucleus", (0, 200, 80))])
    >>> path = tempfile.mkdtemp() + "/nuclei.geojson"
    >>> report = wsinuc.write_geojson([nuclei], path, run_id="example")
    >>> report.count, report.repaired, report.dropped
    (2, 0, 0)
    """
    path = to_path(path)
    write = _writer(path)
    if isinstance(nuclei, Nuclei):
        nuclei = (nuclei,)
    if not isinstance(nuclei, Iterable) or isinstance(nuclei, (str, bytes)):
        raise DataError(f"expected nuclei or parts of a table of them, got {arguments.came(nuclei)}")
    with replacing(path) as stream:
        tally = write(stream, nuclei, _Encoder(origin_yx, run_id, outlines), workers)
    return ExportReport(paths=(path,), count=tally.count, repaired=tally.repaired, dropped=tally.dropped)


@dataclass(frozen=True, slots=True)
class _Tally:
    """Numbers of an ``ExportReport`` that add up over portions."""

    count: int = 0
    repaired: int = 0
    dropped: int = 0

    def __add__(self, other: _Tally) -> _Tally:
        return _Tally(self.count + other.count, self.repaired + other.repaired, self.dropped + other.dropped)


def _tally(polygons: Polygons) -> _Tally:
    count = int(polygons.keep.sum())
    repaired = sum(bool(polygons.keep[i]) for i in polygons.repaired)
    return _Tally(count, repaired, len(polygons.keep) - count)


def _writer(path: Path) -> Callable[[BinaryIO, Iterable[Nuclei], _Encoder, int], _Tally]:
    """The function that writes nuclei in the form that the suffix of ``path`` asks for."""
    for suffix, write in ((".geojson", _write_collection), (".geojson.gz", _write_gzip), (".zip", _write_zip)):
        if path.name.lower().endswith(suffix):
            return write
    raise OutputError(f"QuPath reads .geojson, .geojson.gz and .zip, not {path.name}: choose one of these suffixes")


def _write_collection(stream: BinaryIO, nuclei: Iterable[Nuclei], encoder: _Encoder, workers: int) -> _Tally:
    """One FeatureCollection, a feature per line."""
    separator = BEGIN
    total = _Tally()
    with closing(_in_order(encoder.lines, _portions(nuclei, _BATCH), workers)) as encoded:
        for lines, tally in encoded:
            total += tally
            if lines:
                stream.write(separator + lines)
                separator = BETWEEN
    stream.write(END if total.count else collection_of([]))
    return total


def _write_gzip(stream: BinaryIO, nuclei: Iterable[Nuclei], encoder: _Encoder, workers: int) -> _Tally:
    """The collection compressed, without name or time in the header so that the bytes are reproducible."""
    with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=_GZIP_LEVEL) as packed:
        return _write_collection(cast(BinaryIO, packed), nuclei, encoder, workers)


def _write_zip(stream: BinaryIO, nuclei: Iterable[Nuclei], encoder: _Encoder, workers: int) -> _Tally:
    """A zip of collections of at most ``SHARD`` nuclei, with fixed times; at least one entry."""
    total = _Tally()
    archive = ZipWriter(stream)
    with closing(_in_order(encoder.entry, _portions(nuclei, SHARD), workers)) as encoded:
        for entry, tally in encoded:
            total += tally
            archive.add(_entry_name(archive.count), entry)
    if not archive.count:
        archive.add(_entry_name(0), Deflated.of(collection_of([])))
    archive.close()
    return total


def _entry_name(number: int) -> str:
    return f"nuclei-{number:05d}.geojson"


def _portions(parts: Iterable[Nuclei], size: int) -> Iterator[Nuclei]:
    """The nuclei of all parts in order, ``size`` at a time however the table is cut."""
    waiting: list[Nuclei] = []
    count = 0
    for part in parts:
        arguments.instance(part, Nuclei, "nuclei, or parts of a table of them", DataError)
        # Before anything of the part is written.
        check_class_names(part.class_names)
        start = 0
        while start < len(part):
            stop = min(len(part), start + size - count)
            waiting.append(part if stop - start == len(part) else part.select(np.arange(start, stop)))
            count += stop - start
            start = stop
            if count == size:
                yield concatenate(waiting)
                waiting = []
                count = 0
    if waiting:
        yield concatenate(waiting)


def _in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result]:
    """``work`` of every item, in their order; ``workers`` at once, and as many finished ones waiting."""
    if workers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="wsinuc-geojson") as pool:
        running: deque[Future[Result]] = deque()
        try:
            for item in items:
                running.append(pool.submit(work, item))
                # Memory holds as many portions, however much faster the table is read than the file is written.
                if len(running) > workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:  # whoever stops listening, on a full disk say, does not wait for portions nobody wants
            for future in running:
                future.cancel()


@dataclass(frozen=True, slots=True)
class _Encoder:
    """Nuclei to text; pure, so that threads can share it."""

    origin_yx: tuple[float, float]
    run_id: str
    outlines: Outlines

    def entry(self, part: Nuclei) -> tuple[Deflated, _Tally]:
        """A whole collection, compressed."""
        batches = [self.lines(batch) for batch in _portions([part], _BATCH)]
        content = collection_of([lines for lines, _ in batches if lines])
        return Deflated.of(content), sum((tally for _, tally in batches), _Tally())

    def lines(self, part: Nuclei) -> tuple[bytes, _Tally]:
        """A feature per nucleus that is kept, with commas between them."""
        polygons = level0_polygons(part, 0, len(part), self.origin_yx, self.outlines)
        cells = None
        if part.cell_outlines is not None and part.cell_offsets is not None:
            grown = replace(part, outlines=part.cell_outlines, offsets=part.cell_offsets)
            cells = level0_polygons(grown, 0, len(part), self.origin_yx, self.outlines)
            # A cell is written with its nucleus, or neither is.
            polygons = replace(polygons, keep=polygons.keep & cells.keep)
        if self.outlines == "smooth":
            part = _as_written(part, polygons)
            if cells is not None:
                part = _as_written(part, cells, "cell_")
        return BETWEEN.join(_features(part, polygons, cells, self.run_id)), _tally(polygons)


def _as_written(part: Nuclei, polygons: Polygons, prefix: str = "") -> Nuclei:
    """The nuclei with length and circularity of the polygons, which QuPath finds when it measures them itself."""
    down_y, down_x = part.frame.downsample
    lengths, areas = ring_sizes(polygons, (part.frame.mpp / down_y, part.frame.mpp / down_x))
    with np.errstate(divide="ignore", invalid="ignore"):  # of what is not kept
        circularity = np.minimum(1.0, 4 * np.pi * areas / lengths**2)
    written = {f"{prefix}length_um": lengths, f"{prefix}circularity": circularity}
    known = {name: written[name].astype(np.float32) for name in written if name in part.measurements}
    return replace(part, measurements=part.measurements | known)


def _features(part: Nuclei, polygons: Polygons, cells: Polygons | None, run_id: str) -> Iterator[bytes]:
    """An encoded feature per nucleus that is kept: a detection, or a cell with its nucleus."""
    names, values = _measurements(part)
    # A sum is finite only if all of its terms are.
    finite = np.isfinite(values.sum(axis=1)).tolist()
    # Encoded once for all nuclei of a class.
    classes = [
        orjson.Fragment(orjson.dumps({"name": name, "color": color}))
        for name, color in zip(part.class_names, part.class_colors, strict=True)
    ]
    rows = values.tolist()
    class_of = part.classes.tolist()
    ids = nucleus_uuids(run_id, part.ids)
    for i in np.flatnonzero(polygons.keep).tolist():
        measured = dict(zip(names, rows[i], strict=True))
        if not finite[i]:  # orjson would write null, which is no measurement
            measured = {name: value for name, value in measured.items() if np.isfinite(value)}
        nucleus = {"type": "Polygon", "coordinates": polygons.rings(i)}
        kind = "detection"
        feature: dict[str, Any] = {"type": "Feature", "id": ids[i], "geometry": nucleus}
        if cells is not None:
            kind = "cell"
            feature["geometry"] = {"type": "Polygon", "coordinates": cells.rings(i)}
            # Beside the geometry: QuPath overlooks it among the properties.
            feature["nucleusGeometry"] = nucleus
        feature["properties"] = {
            "objectType": kind,
            "classification": classes[class_of[i]],
            "measurements": measured,
        }
        yield orjson.dumps(feature, option=orjson.OPT_SERIALIZE_NUMPY)


def _measurements(part: Nuclei) -> tuple[list[str], NDArray[np.float64]]:
    """QuPath's names and the (n, names) values, rounded to what is meaningful."""
    columns = {name: part.measurements[key] for key, name in SHAPE_NAMES.items() if key in part.measurements}
    columns |= {name: part.measurements[key] for key, name in qupath_names(part.measurements).items()}
    columns |= {"Detection probability": part.probabilities, "Uncertainty": part.disagreements}
    if len(part.class_names) > 1:
        columns |= {f"Probability: {name}": part.class_probabilities[:, k] for k, name in enumerate(part.class_names)}
    values = np.stack(list(columns.values()), axis=1).astype(np.float64)
    return list(columns), np.round(values, 4)
