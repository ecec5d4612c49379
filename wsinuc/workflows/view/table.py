"""The table of nuclei as a viewer needs it: places and classes in memory, the rest when it is asked for.

The parts of a table are blocks of the slide. So their rows lie together on the slide, too, and the bounding boxes
of the parts are the index of the table: what a tile shows lies in the rows of a few parts. A nucleus is named by
its row, counted over all parts; its id is one more where a run numbered the nuclei, and is kept in any case.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ConfigError, DataError
from wsinuc.nuclei.columns import class_indices
from wsinuc.nuclei.parquet import read_outlines, read_some, read_table
from wsinuc.nuclei.table import Frame, bounding_boxes
from wsinuc.recent import Recent
from wsinuc.store.parts import part_hashes

OUTLINE_BYTES = 256 * 2**20
"""Room for outlines of parts that were looked at last."""
COLUMN_BYTES = 256 * 2**20
"""Room for columns of measurements that were asked for last."""
CERTAINTIES = ("probability", "disagreement")
_EAGER = ("y_px", "x_px", "class")
"""What the first picture needs: a million nuclei are there in a tenth of a second."""
_SIZED_PARTS = 64
"""Parts, evenly over the table, whose areas say how large a nucleus is."""
_READERS = 4
REACH = 200
"""Level-0 pixels around a part's centroids within which its outlines lie, at the least."""


@dataclass(frozen=True, slots=True)
class Rings:
    """Outlines of one part of the table."""

    corners: NDArray[np.int32]
    """(m, 2) (y, x) in view pixels."""
    offsets: NDArray[np.int64]
    """(n + 1,) ring i is ``corners[offsets[i] : offsets[i + 1]]``."""
    boxes: NDArray[np.int64]
    """(n, 4) bounding boxes y0, x0, y1, x1, half-open."""

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.corners.nbytes + self.offsets.nbytes + self.boxes.nbytes


@dataclass(frozen=True, slots=True)
class NucleiTable:
    """All nuclei of a result; made by `load_table`."""

    folder: Path
    """The result."""
    names: tuple[str, ...]
    """Files of the parts, by their names in the result."""
    hashes: tuple[str | None, ...]
    starts: NDArray[np.int64]
    """(parts + 1,) part i has the rows ``starts[i]`` to ``starts[i + 1]``."""
    boxes: NDArray[np.float64]
    """(parts, 4) y0, x0, y1, x1 in level-0 pixels that the centroids of each part lie in."""
    frame: Frame
    class_names: tuple[str, ...]
    class_colors: tuple[tuple[int, int, int], ...]
    measurements: tuple[str, ...]
    y: NDArray[np.float32]
    """(n,) centroids in level-0 pixels, as is ``x``."""
    x: NDArray[np.float32]
    classes: NDArray[np.uint8]
    diameter: float
    """Diameter of a nucleus of median area in some of the parts, in level-0 pixels; 1 where they have none."""
    _rings: Recent[Rings]
    _columns: Recent[NDArray[Any]]
    _lock: threading.Lock

    def __len__(self) -> int:
        return len(self.y)

    @property
    def ids(self) -> NDArray[np.int64]:
        """(n,) ids of the nuclei, ascending. Raises DataError for a damaged part."""
        return self._column("id", np.int64)

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(n,) probability of each nucleus. Raises DataError for a damaged part."""
        return self._column("probability", np.float32)

    @property
    def disagreements(self) -> NDArray[np.float32]:
        """(n,) disagreement on each nucleus. Raises DataError for a damaged part."""
        return self._column("disagreement", np.float32)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of everything that nuclei can be coloured and filtered by, but their class."""
        return (*CERTAINTIES, *self.measurements)

    def column(self, name: str) -> NDArray[np.float32]:
        """Values of a measurement, of the probability or the disagreement, (n,); NaN where it was not measured.

        Raises
        ------
        ConfigError
            The table has no such measurement.
        DataError
            A part is damaged.
        """
        if name not in self.columns:
            raise ConfigError(f"the table has no measurement {name!r}: it has {', '.join(self.columns)}")
        return self._column(name, np.float32)

    def _column(self, name: str, kind: type[np.generic]) -> NDArray[Any]:
        # One reader at a time: a page asks for tiles and a histogram at once.
        with self._lock:
            values = self._columns.get(name)
            if values is None:
                values = self._read_column(name).astype(kind, copy=False)
                self._columns.keep(name, values, values.nbytes)
        return values

    def _read_column(self, name: str) -> NDArray[Any]:
        with ThreadPoolExecutor(_READERS, thread_name_prefix="wsinuc-view-table") as pool:
            pieces = list(pool.map(lambda part: _read(self.folder / part, (name,)), self.names))
        if [len(piece.columns[name]) for piece in pieces] != np.diff(self.starts).tolist():
            raise DataError(f"{self.folder} has changed since it was opened: open it again")
        return np.concatenate([piece.columns[name] for piece in pieces])

    def parts_in(self, y0: float, x0: float, y1: float, x1: float) -> list[int]:
        """Parts with centroids in or near a box of level-0 pixels, as far as a nucleus reaches."""
        reach = max(REACH, 4 * self.diameter)
        near = (self.boxes[:, 0] < y1 + reach) & (self.boxes[:, 2] > y0 - reach)
        near &= (self.boxes[:, 1] < x1 + reach) & (self.boxes[:, 3] > x0 - reach)
        return [int(part) for part in np.flatnonzero(near)]

    def rows_in(self, y0: float, x0: float, y1: float, x1: float) -> NDArray[np.int64]:
        """Rows of the nuclei whose centroid lies in a half-open box of level-0 pixels."""
        found = [np.zeros(0, np.int64)]
        for part in self.parts_in(y0, x0, y1, x1):
            start, stop = self.starts[part], self.starts[part + 1]
            y, x = self.y[start:stop], self.x[start:stop]
            found.append(start + np.flatnonzero((y >= y0) & (y < y1) & (x >= x0) & (x < x1)))
        return np.concatenate(found)

    def rings(self, part: int) -> Rings:
        """Outlines of a part, whose file is compared with its hash when it is read. Raises DataError."""
        rings = self._rings.get(part)
        if rings is None:
            corners, offsets = read_outlines(self.folder / self.names[part], self.hashes[part])
            if len(offsets) - 1 != self.starts[part + 1] - self.starts[part]:
                raise DataError(f"{self.folder / self.names[part]} has changed since it was opened: open it again")
            rings = Rings(corners, offsets, bounding_boxes(corners, offsets))
            self._rings.keep(part, rings, rings.nbytes)
        return rings

    def part_of(self, row: int) -> int:
        """The part that has a row."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def row_of(self, nucleus: int) -> int | None:
        """The row of the nucleus with an id; None where there is none."""
        # Ids ascend over the parts.
        row = int(np.searchsorted(self.ids, nucleus))
        if row < len(self) and self.ids[row] == nucleus:
            return row
        return None

    def outline(self, row: int) -> NDArray[np.float64]:
        """Corners (y, x) of a nucleus in level-0 pixels. Raises DataError."""
        part = self.part_of(row)
        rings = self.rings(part)
        number = row - int(self.starts[part])
        corners = rings.corners[rings.offsets[number] : rings.offsets[number + 1]]
        return corners.astype(np.float64) * np.asarray(self.frame.downsample, np.float64)

    def record(self, row: int) -> dict[str, Any]:
        """Everything that the table says of a nucleus, polygons left out. Raises DataError."""
        part = self.part_of(row)
        table = read_table(self.folder / self.names[part], self.hashes[part])
        record: dict[str, Any] = table.slice(row - int(self.starts[part]), 1).to_pylist()[0]
        return {name: value for name, value in record.items() if not isinstance(value, bytes | dict)}


@dataclass(frozen=True, slots=True)
class _Piece:
    """The columns of one part that are held."""

    about: dict[str, Any]
    columns: dict[str, NDArray[Any]]


def load_table(folder: Path) -> NucleiTable:
    """The table of a finished result, with the positions of its nuclei.

    Raises
    ------
    DamageError, OutputError, DataError
        The result is none, or is damaged.
    """
    hashes = part_hashes(folder)
    if not hashes:
        raise DataError(f"{folder}: its table has no part: wsinuc verify says what is missing")
    with ThreadPoolExecutor(_READERS, thread_name_prefix="wsinuc-view-table") as pool:
        pieces = list(pool.map(lambda name: _read(folder / name, _EAGER), hashes))
    about = pieces[0].about
    y, x = about["frame"]["downsample"]
    frame = Frame(mpp=float(about["frame"]["mpp"]), downsample=(float(y), float(x)))
    columns = {name: np.concatenate([piece.columns[name] for piece in pieces]) for name in _EAGER}
    starts = np.concatenate([[0], np.cumsum([len(piece.columns["class"]) for piece in pieces])]).astype(np.int64)
    return NucleiTable(
        folder=folder,
        names=tuple(hashes),
        hashes=tuple(hashes.values()),
        starts=starts,
        boxes=_boxes(pieces, frame),
        frame=frame,
        class_names=tuple(c["name"] for c in about["classes"]),
        class_colors=tuple(tuple(c["color"]) for c in about["classes"]),
        measurements=tuple(about["measurements"]),
        y=(columns["y_px"] * y).astype(np.float32),
        x=(columns["x_px"] * x).astype(np.float32),
        classes=columns["class"],
        diameter=_diameter(folder, list(hashes), frame),
        _rings=Recent[Rings](OUTLINE_BYTES),
        _columns=Recent[NDArray[Any]](COLUMN_BYTES),
        _lock=threading.Lock(),
    )


def _read(path: Path, names: Sequence[str]) -> _Piece:
    table, about = read_some(path, names)
    try:
        columns = {name: np.asarray(table[name].to_numpy()) for name in names if name != "class"}
        if "class" in names:
            columns["class"] = class_indices(table, about)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged: its columns are not those of a table of nuclei ({error})") from error
    return _Piece(about, columns)


def _diameter(folder: Path, names: Sequence[str], frame: Frame) -> float:
    some = names[:: math.ceil(len(names) / _SIZED_PARTS)]
    areas_px = np.concatenate([_read(folder / name, ("area_px",)).columns["area_px"] for name in some])
    if not len(areas_px):
        return 1.0
    down = math.sqrt(math.prod(frame.downsample))
    return float(2 * math.sqrt(np.median(areas_px) / math.pi) * down)


def _boxes(pieces: Sequence[_Piece], frame: Frame) -> NDArray[np.float64]:
    down_y, down_x = frame.downsample
    boxes = np.full((len(pieces), 4), np.nan)
    for box, piece in zip(boxes, pieces, strict=True):
        y, x = piece.columns["y_px"], piece.columns["x_px"]
        # A part without nuclei has no box, and NaN is near nothing.
        if len(y):
            box[:] = (y.min() * down_y, x.min() * down_x, y.max() * down_y, x.max() * down_x)
    return boxes
