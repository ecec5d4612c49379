"""Connected pieces of a label picture, and what they give away: that it is none, or that a number was used twice.

Pieces are 4-connected, like every outline in wsinuc.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.labels import connected_pieces, pixel_counts

SPECK_PX = 4
"""Pieces of fewer pixels that touch another number are no nuclei but the rim of one."""
MAX_SPECKS = 0.01
"""Share of the nuclear pixels in such pieces from which a picture is no label picture."""
MIN_PIECE_PX = 10
"""A smaller piece that lies apart from its nucleus is a slip of the annotator's hand, not another nucleus."""
FAR = 2
"""A piece is far from the largest one of its number when the gap exceeds so many times that one's length."""
ENCLOSED = 0.9
"""Share of its outline along which a number adjoins another one that encloses it."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Connected pieces of a label picture."""

    labels: NDArray[np.int32]
    """(h, w) the picture."""
    at: NDArray[np.int32]
    """(h, w) number of each pixel's piece, 0 is background."""
    sizes: NDArray[np.int64]
    """(pieces + 1,) pixels."""
    owner: NDArray[np.int32]
    """(pieces + 1,) label of each piece."""

    @classmethod
    def of(cls, labels: NDArray[np.int32]) -> Pieces:
        """The pieces of a picture ``(h, w)``."""
        at = connected_pieces(labels)
        sizes = pixel_counts(at)
        owner = np.zeros(len(sizes), np.int32)
        owner[at.ravel()] = labels.ravel()
        return cls(labels, at, sizes, owner)


def refuse_rims(pieces: Pieces, source: Path) -> None:
    """Raise DataError where rims of in-between values show that a picture was smoothed or compressed with loss."""
    small = pieces.sizes < SPECK_PX
    small[0] = False
    if not small.any():
        return
    touching = np.zeros(len(pieces.sizes), np.bool_)
    for one, other in _neighbours(pieces.labels):
        met = (pieces.labels[one] != pieces.labels[other]) & (pieces.labels[one] > 0) & (pieces.labels[other] > 0)
        touching[pieces.at[one][met]] = True
        touching[pieces.at[other][met]] = True
    specks = small & touching
    share = pieces.sizes[specks].sum() / pieces.sizes[1:].sum()
    # A few specks are slips of a hand; a smoothed mask has them around every nucleus.
    if share > MAX_SPECKS and specks.sum() >= 20:
        raise DataError(
            f"{source}: {share:.0%} of the labelled pixels have values of their own at the rim of others, as smoothed "
            "(anti-aliased), resized or JPEG-compressed masks and photographs have; save labels without "
            "interpolation as PNG"
        )


def refuse_borders(pieces: Pieces, numbers: NDArray[np.int64], source: Path) -> None:
    """Raise DataError where one number encloses most others: a class for borders, or a background with a number."""
    ones = []
    others = []
    for one, other in _neighbours(pieces.labels):
        met = pieces.labels[one] != pieces.labels[other]
        ones += [pieces.labels[one][met], pieces.labels[other][met]]
        others += [pieces.labels[other][met], pieces.labels[one][met]]
    width = len(numbers)
    # A pair of labels as one number, so that one sort counts how many pixel edges each pair shares.
    pairs, lengths = np.unique(
        np.concatenate(ones).astype(np.int64) * width + np.concatenate(others), return_counts=True
    )
    inner, outer = np.divmod(pairs, width)
    outline = np.zeros(width, np.int64)
    np.add.at(outline, inner, lengths)
    enclosed = (inner > 0) & (outer > 0) & (lengths >= ENCLOSED * outline[inner])
    if not enclosed.any():
        return
    around = int(np.bincount(outer[enclosed]).argmax())
    inside = inner[enclosed & (outer == around)]
    rest = np.count_nonzero(outline[1:]) - 1
    # One nucleus may well lie in another: a border goes around several pieces.
    if 2 * len(inside) > rest and np.isin(pieces.owner, inside).sum() > 1:
        raise DataError(
            f"{source}: the number {numbers[around]} encloses the others: it stands for borders, or for the "
            "background; "
            "give the nuclei, borders included, one number each, and the background 0"
        )


def scattered_labels(pieces: Pieces) -> NDArray[np.bool_]:
    """Which labels ``(most + 1,)`` have a piece that is `FAR` from their largest one."""
    far = np.zeros(int(pieces.labels.max()) + 1, np.bool_)
    counted = pieces.sizes >= MIN_PIECE_PX
    counted[0] = False
    times = np.bincount(pieces.owner[counted], minlength=len(far))
    several = np.flatnonzero(times > 1)
    if not len(several):
        return far
    boxes = _boxes(pieces.at, len(pieces.sizes))
    order = np.flatnonzero(counted & (times[pieces.owner] > 1))
    order = order[np.argsort(pieces.owner[order], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(pieces.owner[order])) + 1)
    for label, group in zip(several, groups, strict=True):
        largest = boxes[group[pieces.sizes[group].argmax()]]
        length = max(largest[2] - largest[0], largest[3] - largest[1])
        others = boxes[group]
        apart_y = np.maximum(others[:, 0] - largest[2], largest[0] - others[:, 2])
        apart_x = np.maximum(others[:, 1] - largest[3], largest[1] - others[:, 3])
        far[label] = (np.maximum(apart_y, apart_x) > FAR * length).any()
    return far


def _neighbours(labels: NDArray[Any]) -> tuple[tuple[tuple[slice, ...], tuple[slice, ...]], ...]:
    """Slices of a picture that put every pixel beside its lower, then beside its right neighbour."""
    below = (np.s_[:-1, :], np.s_[1:, :])
    right = (np.s_[:, :-1], np.s_[:, 1:])
    return below, right


def _boxes(pieces: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """``(count, 4)`` y0, x0, y1, x1 of each piece."""
    slices = cc3d.statistics(pieces)["bounding_boxes"]
    boxes = np.zeros((count, 4), np.int64)
    for number, box in enumerate(slices[:count]):
        boxes[number] = (box[0].start, box[1].start, box[0].stop, box[1].stop)
    return boxes
