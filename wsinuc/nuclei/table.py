"""The table of nuclei: the one result that every other output is a view of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.grid import Box

MEASUREMENTS = ("area_um2", "length_um", "circularity", "solidity", "max_diameter_um", "min_diameter_um")
"""Names of what is measured of every nucleus, in the order in which it is written; `wsinuc.nuclei.measured_names` has
the others."""

PER_NUCLEUS = (
    "ids",
    "centroids",
    "areas_px",
    "classes",
    "class_probabilities",
    "probabilities",
    "disagreements",
)
"""Fields of `Nuclei` with one row per nucleus."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How the pixels of the view relate to the world."""

    mpp: float
    """um per view pixel, as really read (not as wished for)."""
    downsample: tuple[float, float]
    """Level-0 pixels per view pixel, (y, x)."""


def bounding_boxes(outlines: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bounding boxes (y0, x0, y1, x1) of rings in their coordinates, half-open, int64 ``(n, 4)``."""
    if len(offsets) < 2:
        # reduceat takes no empty list of starts.
        return np.zeros((0, 4), np.int64)
    low = np.minimum.reduceat(outlines, offsets[:-1])
    high = np.maximum.reduceat(outlines, offsets[:-1])
    return np.concatenate([low, high], axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Nuclei:
    """Nuclei as a struct of arrays, sorted by id.

    Outlines run along pixel edges ("cracks"), so a polygon's area is exactly its pixel count and filling it gives
    the same pixels back. They are integers in view pixels; ``frame`` turns them into level-0 pixels.

    Examples
    --------
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
    >>> nuclei
    <wsinuc.Nuclei: 2 at 0.5 um; Nucleus; 6 measurements each>
    >>> nuclei.centroids.tolist()
    [[10.0, 10.0], [10.0, 27.5]]
    >>> nuclei.measurements["area_um2"].tolist()
    [25.0, 37.5]
    >>> large = nuclei.select(nuclei.areas_px > 100)
    >>> large.ids.tolist(), large.outlines.tolist()
    ([2], [[5, 20], [5, 35], [15, 35], [15, 20]])
    """

    frame: Frame
    class_names: tuple[str, ...]
    class_colors: tuple[tuple[int, int, int], ...]
    ids: NDArray[np.int64]
    """(n,) 1..N over the slide once numbered; 1..n within a block's shard."""
    centroids: NDArray[np.float64]
    """(n, 2) (y, x) mean of pixel centres, view pixels (pixel (0, 0) has its centre at 0.5, 0.5)."""
    areas_px: NDArray[np.int32]
    """(n,) pixels of the view."""
    outlines: NDArray[np.int32]
    """(m, 2) (y, x) corner points of all rings one after another, view pixels; rings are not closed (first != last)."""
    offsets: NDArray[np.int64]
    """(n + 1,) ring i is ``outlines[offsets[i] : offsets[i + 1]]``."""
    classes: NDArray[np.uint8]
    """(n,) index into ``class_names``: the class of highest mean probability."""
    class_probabilities: NDArray[np.float32]
    """(n, classes) mean over the nucleus' pixels, 0 to 1."""
    probabilities: NDArray[np.float32]
    """(n,) probability of the nucleus, 0 to 1: the mean over its pixels, corrected where the model was measured."""
    disagreements: NDArray[np.float32]
    """(n,) mean Jensen-Shannon disagreement over the nucleus' pixels, 0 to 1 (1 = log 2)."""
    measurements: dict[str, NDArray[np.float32]]
    """(n,) by name: `MEASUREMENTS`, and those of the groups that were asked for; NaN where nothing can be measured."""

    cell_outlines: NDArray[np.int32] | None = None
    """(k, 2) outlines of the nuclei's cells, as ``outlines``; None where no cells were grown."""
    cell_offsets: NDArray[np.int64] | None = None
    """(n + 1,) as ``offsets``."""

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        measured = f"{len(self.measurements)} measurements each"
        return f"<wsinuc.Nuclei: {len(self):,} at {self.frame.mpp:g} um; {', '.join(self.class_names)}; {measured}>"

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in PER_NUCLEUS}
        lengths |= {"offsets": len(self.offsets) - 1} | {k: len(v) for k, v in self.measurements.items()}
        if self.cell_offsets is not None:
            lengths["cell_offsets"] = len(self.cell_offsets) - 1
        wrong = {name: length for name, length in lengths.items() if length != len(self)}
        if wrong:
            raise DataError(f"a table of {len(self)} nuclei needs {len(self)} rows in every column, got {wrong}")

    def select(self, index: NDArray[np.bool_] | NDArray[np.integer[Any]]) -> Nuclei:
        """The nuclei named by a mask ``(n,)`` or by positions, in that order, with the ids that they have."""
        # Takes a compiler, which reading a table does without.
        from wsinuc.labels import take_rings

        rows = np.asarray(index)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        else:
            rows = rows.astype(np.intp)
        outlines, offsets = take_rings(self.outlines, self.offsets, rows)
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in PER_NUCLEUS}
        measurements = {name: values[rows] for name, values in self.measurements.items()}
        if self.cell_outlines is not None and self.cell_offsets is not None:
            cells = take_rings(self.cell_outlines, self.cell_offsets, rows)
            columns |= {"cell_outlines": cells[0], "cell_offsets": cells[1]}
        return replace(self, outlines=outlines, offsets=offsets, measurements=measurements, **columns)

    def with_ids(self, start: int) -> Nuclei:
        """The same nuclei numbered ``start``, ``start + 1``, ..."""
        return replace(self, ids=np.arange(start, start + len(self), dtype=np.int64))

    def owned_by(self, core: Box) -> NDArray[np.bool_]:
        """Which nuclei have their centroid inside a half-open box of view pixels, bool ``(n,)``.

        Boxes that partition the view own every nucleus exactly once. A centroid is a sum of integers divided by an
        integer, so it is the same number in whatever block the nucleus was measured.
        """
        y, x = self.centroids.T
        inside: NDArray[np.bool_] = (y >= core.y0) & (y < core.y1) & (x >= core.x0) & (x < core.x1)
        return inside

    def touching(self, box: Box) -> NDArray[np.bool_]:
        """Which outlines reach or cross the border of a box of view pixels, bool ``(n,)``.

        Asked with the box that was read, this finds the nuclei that may have been cut.
        """
        boxes = bounding_boxes(self.outlines, self.offsets)
        reach = (boxes[:, :2] <= (box.y0, box.x0)) | (boxes[:, 2:] >= (box.y1, box.x1))
        return np.asarray(reach.any(axis=1))

    def sharing(self, box: Box) -> NDArray[np.bool_]:
        """Which outlines have a bounding box that shares a pixel with a box of view pixels, bool ``(n,)``."""
        boxes = bounding_boxes(self.outlines, self.offsets)
        shares = (boxes[:, :2] < (box.y1, box.x1)) & (boxes[:, 2:] > (box.y0, box.x0))
        return np.asarray(shares.all(axis=1))

    def level0_centroids(self) -> NDArray[np.float64]:
        """Centroids in level-0 pixels, float64 ``(n, 2)`` (y, x)."""
        return self.centroids * np.asarray(self.frame.downsample, np.float64)


def concatenate(parts: Sequence[Nuclei]) -> Nuclei:
    """All nuclei of several tables of one slide, in the given order, with the ids that they have.

    Raises
    ------
    DataError
        When there is no table, or two differ in frame or classes.
    """
    if not parts:
        raise DataError("expected at least one table of nuclei to join, got none: start from empty(...)")
    first = parts[0]
    for part in parts[1:]:
        for name in ("frame", "class_names", "class_colors"):
            if getattr(part, name) != getattr(first, name):
                raise DataError(
                    f"cannot join nuclei whose {name} differ: {getattr(first, name)} and {getattr(part, name)}; "
                    "they come from different slides or models"
                )
    outlines, offsets = _joined_rings([(part.outlines, part.offsets) for part in parts])
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in PER_NUCLEUS}
    cells = [(part.cell_outlines, part.cell_offsets) for part in parts]
    rings = [(ring, ends) for ring, ends in cells if ring is not None and ends is not None]
    if len(rings) == len(parts):
        columns["cell_outlines"], columns["cell_offsets"] = _joined_rings(rings)
    return replace(
        first,
        outlines=outlines,
        offsets=offsets,
        measurements={name: np.concatenate([part.measurements[name] for part in parts]) for name in first.measurements},
        **columns,
    )


def _joined_rings(
    parts: Sequence[tuple[NDArray[np.int32], NDArray[np.int64]]],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Outlines and offsets of several tables one after another."""
    # Each table's offsets count from its own first corner.
    starts = np.cumsum([0] + [len(outlines) for outlines, _ in parts])
    offsets = [ends[:-1] + start for (_, ends), start in zip(parts, starts[:-1], strict=True)]
    joined = np.concatenate([*offsets, starts[-1:]]).astype(np.int64)
    return np.concatenate([outlines for outlines, _ in parts]), joined


def empty(
    frame: Frame,
    class_names: tuple[str, ...] = (),
    class_colors: tuple[tuple[int, int, int], ...] = (),
    measurements: Sequence[str] = MEASUREMENTS,
) -> Nuclei:
    """A table without nuclei, with columns for these measurements."""
    return Nuclei(
        frame=frame,
        class_names=class_names,
        class_colors=class_colors,
        ids=np.zeros(0, np.int64),
        centroids=np.zeros((0, 2)),
        areas_px=np.zeros(0, np.int32),
        outlines=np.zeros((0, 2), np.int32),
        offsets=np.zeros(1, np.int64),
        classes=np.zeros(0, np.uint8),
        class_probabilities=np.zeros((0, len(class_names)), np.float32),
        probabilities=np.zeros(0, np.float32),
        disagreements=np.zeros(0, np.float32),
        measurements={name: np.zeros(0, np.float32) for name in measurements},
    )
