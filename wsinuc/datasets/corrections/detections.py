"""The nuclei of a finished result as QuPath was given them: by UUID, with the size and place of their outlines.

A result may hold a million nuclei, of which a person corrects some hundreds. So only numbers are kept of all, and
polygons are made of those that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.exports.qupath.polygons import Outlines, Polygons, level0_polygons
from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.table import bounding_boxes
from wsinuc.nuclei.uuids import nucleus_uuids
from wsinuc.store import iter_nuclei, provenance
from wsinuc.store.manifest import read_made

_BATCH = 4096
Key = bytes
"""The 16 bytes of a UUID."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Extents:
    """Place and size of outlines, in the pixels that QuPath counts."""

    boxes: NDArray[np.float64]
    """(n, 4) x0, y0, x1, y1."""
    areas: NDArray[np.float64]
    """(n,) squared pixels."""

    def resemble(self, number: int, box: NDArray[np.float64], area: float) -> bool:
        """Whether an outline has the place and size of nucleus ``number``, but for rounding."""
        same_place = np.abs(self.boxes[number] - box).max() <= ROUNDING_PX
        return bool(same_place) and abs(self.areas[number] - area) <= ROUNDING_SHARE * self.areas[number] + ROUNDING_PX


ROUNDING_PX = 0.05
"""Further a corner does not move when QuPath reads and writes it."""
ROUNDING_SHARE = 0.005
"""By more an area does not change then."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Detections:
    """The nuclei of a result that its GeoJSON has; made by `read_detections`."""

    result: Path
    origin_yx: tuple[float, float]
    outlines: Outlines
    class_names: tuple[str, ...]
    ids: NDArray[np.int64]
    """(n,) ascending."""
    classes: NDArray[np.uint8]
    """(n,) index into ``class_names``."""
    drawn: Extents
    """Of the outlines that the result's own GeoJSON has."""
    exact: Extents
    """Of outlines along the edges of pixels, which ``wsinuc export --outlines exact`` writes."""
    keys: NDArray[np.bytes_]
    """(n,) UUIDs in ascending order, 16 bytes each."""
    order: NDArray[np.intp]
    """(n,) which nucleus has the UUID ``keys[i]``."""

    def __len__(self) -> int:
        return len(self.ids)

    def class_of(self, number: int) -> str:
        """What the model calls nucleus ``number``."""
        return self.class_names[int(self.classes[number])]

    def find(self, key: Key) -> int | None:
        """Which nucleus has a UUID; None where none has."""
        place = int(np.searchsorted(self.keys, key))
        # NumPy takes zeros off the end of bytes.
        if place < len(self.keys) and self.keys[place] == key.rstrip(b"\0"):
            return int(self.order[place])
        return None

    def is_unchanged(self, number: int, box: NDArray[np.float64], area: float) -> bool:
        """Whether an outline is that of nucleus ``number`` as it was exported, smooth or exact."""
        return self.drawn.resemble(number, box, area) or self.exact.resemble(number, box, area)

    def polygons(self, numbers: Iterable[int]) -> dict[int, shapely.Polygon]:
        """The outlines of some nuclei, as the result's own GeoJSON has them."""
        wanted = self.ids[sorted(set(numbers))]
        found: dict[int, shapely.Polygon] = {}
        if not len(wanted):
            return found
        for part in iter_nuclei(self.result):
            chosen = part.select(np.isin(part.ids, wanted))
            shapes = _shapes(level0_polygons(chosen, 0, len(chosen), self.origin_yx, self.outlines))
            places = np.searchsorted(self.ids, chosen.ids).tolist()
            found |= dict(zip(places, shapes, strict=True))
        return found


def read_detections(result: Path, origin_yx: tuple[float, float]) -> Detections:
    """The nuclei of a finished result as its GeoJSON has them.

    Parameters
    ----------
    origin_yx
        (y, x) of QuPath's image origin in level-0 pixels: ``Slide.origin``.

    Raises
    ------
    DataError
        There is no nucleus in it, or its nuclei have no UUIDs.
    DamageError, OutputError
        The result is damaged or is none.
    """
    run = provenance(result)
    config = read_made(result).content.get("config", {})
    outlines: Outlines = "exact" if config.get("outlines") == "exact" else "smooth"
    parts = [_part(part, origin_yx, outlines, run.run_id) for part in _batches(iter_nuclei(result))]
    if not parts:
        raise DataError(f"{result} holds no nucleus, so nothing in it can have been corrected")
    ids, classes, boxes, areas, exact_boxes, exact_areas, keys = (
        np.concatenate(columns) for columns in zip(*(part.columns for part in parts), strict=True)
    )
    order = np.argsort(keys)
    return Detections(
        result=result,
        origin_yx=origin_yx,
        outlines=outlines,
        class_names=parts[0].class_names,
        ids=ids,
        classes=classes,
        drawn=Extents(boxes=boxes, areas=areas),
        exact=Extents(boxes=exact_boxes, areas=exact_areas),
        keys=keys[order],
        order=order,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Some nuclei, in the order of their ids."""

    class_names: tuple[str, ...]
    columns: tuple[NDArray[np.generic], ...]
    """ids, classes, boxes and areas as drawn and exact, UUIDs."""


def _batches(parts: Iterable[Nuclei]) -> Iterator[Nuclei]:
    for part in parts:
        for start in range(0, len(part), _BATCH):
            yield part.select(np.arange(start, min(start + _BATCH, len(part))))


def _part(nuclei: Nuclei, origin_yx: tuple[float, float], outlines: Outlines, run_id: str) -> _Part:
    polygons = level0_polygons(nuclei, 0, len(nuclei), origin_yx, outlines)
    shapes = np.array(_shapes(polygons))
    scale = np.tile(nuclei.frame.downsample, 2)
    exact = bounding_boxes(nuclei.outlines, nuclei.offsets) * scale - np.tile(origin_yx, 2)
    texts = nucleus_uuids(run_id, nuclei.ids)
    keys = np.frombuffer(bytes.fromhex("".join(texts).replace("-", "")), "S16")
    columns = (
        nuclei.ids,
        nuclei.classes,
        shapely.bounds(shapes),
        shapely.area(shapes),
        exact[:, [1, 0, 3, 2]],
        nuclei.areas_px * float(np.prod(nuclei.frame.downsample)),
        keys,
    )
    # What is smaller than a pixel is not in the GeoJSON, so it cannot be missing from what comes back.
    return _Part(nuclei.class_names, tuple(column[polygons.keep] for column in columns))


def _shapes(polygons: Polygons) -> list[shapely.Polygon]:
    """Shapely's polygons; empty where nothing of an area is left."""
    shapes = []
    for number, kept in enumerate(polygons.keep.tolist()):
        rings = polygons.rings(number) if kept else []
        shapes.append(shapely.Polygon(rings[0], rings[1:]) if rings else shapely.Polygon())
    return shapes
