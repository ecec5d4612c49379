"""From labels and scores to the table of nuclei.

Sums are integers in coordinates of the whole view, so a nucleus gets the same numbers in whatever block it is
measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box
from wsinuc.kernels import kernel
from wsinuc.labels import table_length, trace_outlines
from wsinuc.nuclei.shape import ring_shapes
from wsinuc.nuclei.table import Frame, Nuclei


class ShownClass(Protocol):
    """A class with the name and the colour that users see."""

    @property
    def name(self) -> str: ...
    @property
    def color(self) -> tuple[int, int, int]: ...


def measure(
    labels: NDArray[np.int32], scores: NDArray[np.uint8], box: Box, frame: Frame, classes: Sequence[ShownClass]
) -> Nuclei:
    """Everything that the table holds of the nuclei in a box.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, each label one 4-connected piece without holes; ids dense.
    scores
        uint8 ``(channels, h, w)``: foreground, disagreement, one per class; further channels are ignored.
    box
        Where in the view the arrays lie.
    classes
        In the order of their channels.

    Returns
    -------
    Nuclei in the order of their labels, which become their ids.
    """
    assert labels.shape == scores.shape[1:] == box.shape, (labels.shape, scores.shape, box.shape)
    labels = np.ascontiguousarray(labels, dtype=np.int32)
    ids, outlines, offsets = trace_outlines(labels)
    sums = _position_sums(labels, box.y0, box.x0)[ids]
    areas = sums[:, 0]
    levels = _score_sums(labels, scores[: 2 + len(classes)])[ids]
    # float64 holds these sums exactly, so each mean is rounded once and in the same way everywhere.
    means = (levels / (255.0 * areas[:, None])).astype(np.float32)
    # From the array's coordinates to the view's.
    outlines += np.array([box.y0, box.x0], np.int32)
    return Nuclei(
        frame=frame,
        class_names=tuple(c.name for c in classes),
        class_colors=tuple(c.color for c in classes),
        ids=ids.astype(np.int64),
        centroids=sums[:, 1:] / areas[:, None] + 0.5,
        areas_px=areas.astype(np.int32),
        outlines=outlines,
        offsets=offsets,
        classes=_most(levels[:, 2:]),
        class_probabilities=np.ascontiguousarray(means[:, 2:]),
        probabilities=np.ascontiguousarray(means[:, 0]),
        disagreements=np.ascontiguousarray(means[:, 1]),
        measurements=shape_measurements(areas, ring_shapes(outlines, offsets), frame.mpp),
    )


def _most(levels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Index of the largest column, the first of equals; 0 when there are no classes."""
    if not levels.shape[1]:
        return np.zeros(len(levels), np.uint8)
    columns: NDArray[np.intp] = levels.argmax(axis=1)
    return columns.astype(np.uint8)


def shape_measurements(
    areas: NDArray[np.int64], shapes: NDArray[np.float64], mpp: float
) -> dict[str, NDArray[np.float32]]:
    """The basic measurements of outlines by name, from their areas ``(n,)`` in px and their `ring_shapes`."""
    length, hull, longest, narrowest = shapes.T
    columns = {
        "area_um2": areas * mpp**2,
        "length_um": length * mpp,
        "circularity": np.minimum(1.0, 4 * np.pi * areas / length**2),
        "solidity": (areas - 0.5) / hull,  # the hull is that of a polygon half a pixel smaller: see shape.py
        "max_diameter_um": longest * mpp,
        "min_diameter_um": narrowest * mpp,
    }
    return {name: values.astype(np.float32) for name, values in columns.items()}


@kernel
def _position_sums(labels: NDArray[np.int32], y0: int, x0: int) -> NDArray[np.int64]:
    """Area and sums of the rows and columns of each label's pixels, int64 ``(largest + 1, 3)``."""
    sums = np.zeros((table_length(labels), 3), np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label > 0:
                sums[label, 0] += 1
                sums[label, 1] += y + y0
                sums[label, 2] += x + x0
    return sums


@kernel
def _score_sums(labels: NDArray[np.int32], scores: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Sum of every channel over each label's pixels, int64 ``(largest + 1, channels)``."""
    sums = np.zeros((table_length(labels), scores.shape[0]), np.int64)
    for y in range(labels.shape[0]):
        # Channel by channel within a row, so that memory is read in the order in which it lies.
        for channel in range(scores.shape[0]):
            for x in range(labels.shape[1]):
                label = labels[y, x]
                if label > 0:
                    sums[label, channel] += scores[channel, y, x]
    return sums
