"""Which nucleus to look at next: the most doubtful that has no label, not beside one that was just looked at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsinuc.workflows.view.tiles.style import Style

if TYPE_CHECKING:
    from wsinuc.workflows.view.opened import Opened

CANDIDATES = 2000
"""Most doubtful nuclei among which one is chosen."""
APART_UM = 60.0
"""How far apart two that follow each other are, where there is room."""
REMEMBERED = 200


def next_doubtful(opened: Opened, style: Style) -> int | None:
    """The row of a nucleus whose class or existence is in doubt, among those shown; None where all were looked at."""
    teaching = opened.teaching
    if teaching is None:
        return None
    paint = opened.paint(style)
    table = paint.table
    rows = paint.shown(np.arange(len(table)))
    rows = np.setdiff1d(rows, [*teaching.labelled(), *teaching.visited], assume_unique=True)
    if not len(rows):
        return None
    doubt = teaching.doubt()[rows]
    count = min(CANDIDATES, len(rows))
    rows = rows[np.argpartition(-doubt, count - 1)[:count]]
    rows = rows[np.argsort(-teaching.doubt()[rows], kind="stable")]
    seen = teaching.visited[-REMEMBERED:]
    far = _distances(np.stack([table.y[rows], table.x[rows]], 1), np.stack([table.y[seen], table.x[seen]], 1))
    apart = far * (opened.mpp or 1.0) >= APART_UM
    row = int(rows[np.argmax(apart)]) if apart.any() else int(rows[0])
    teaching.visited.append(row)
    return row


def _distances(points: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of each point from the nearest of the others; infinite where there are none."""
    if not len(others):
        return np.full(len(points), math.inf, np.float32)
    steps = points[:, None] - others[None]
    nearest: NDArray[np.float32] = np.sqrt((steps**2).sum(-1)).min(1)
    return nearest
