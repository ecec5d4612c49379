"""Which nucleus to look at next: by the rule of ``wsinuc classify --ask``, a batch of nuclei at a time.

The rule looks at all nuclei, which takes two seconds of CPU for a million of them, so it is not asked at every key: it
names `BATCH` nuclei at once, which are then visited one by one, the most doubtful first. After "Learn" doubt and
features are those of what was learned, and the batch is the one that ``--ask`` would write. Until then there is no
classifier whose doubt could be asked for, so that of the model stands in for it (its disagreement), and nuclei are
spread over the slide alone; drawing and grouping are the same functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsinuc.workflows.view.tiles.style import Style

if TYPE_CHECKING:
    from wsinuc.workflows.view.opened import Opened
    from wsinuc.workflows.view.table import NucleiTable
    from wsinuc.workflows.view.teach.learn import Learned
    from wsinuc.workflows.view.teach.teaching import Teaching
    from wsinuc.workflows.view.tiles.style import Paint

BATCH = 50
"""Nuclei that are named at once."""
SEED = 0
"""That of ``wsinuc classify --ask``, unless another is given."""
Rows = NDArray[np.int64]


def next_doubtful(opened: Opened, style: Style) -> int | None:
    """The row of a nucleus that it helps to know, among those shown; None where all were looked at."""
    teaching = opened.teaching
    if teaching is None:
        return None
    paint = opened.paint(style)
    with teaching.asking:
        row = _first_left(teaching, paint)
        if row is None:
            teaching.batch = _new_batch(teaching, paint)
            row = _first_left(teaching, paint)
        if row is not None:
            teaching.visited.append(row)
    return row


def _first_left(teaching: Teaching, paint: Paint) -> int | None:
    """The first nucleus of the batch that is shown, has no label and was not looked at."""
    done = {*teaching.labelled(), *teaching.visited}
    rows = np.array([row for row in teaching.batch if row not in done], np.int64)
    shown = paint.shown(rows)
    return int(shown[0]) if len(shown) else None


def _new_batch(teaching: Teaching, paint: Paint) -> list[int]:
    """Rows of nuclei to look at, the most doubtful first."""
    table = paint.table
    rows = paint.shown(np.arange(len(table)))
    rows = np.setdiff1d(rows, [*teaching.labelled(), *teaching.visited], assume_unique=True)
    if not len(rows):
        return []
    # A model of one member has no disagreement to go by.
    doubt = np.nan_to_num(teaching.doubt().astype(np.float64))
    asked = np.full(len(table), -1.0)
    asked[rows] = doubt[rows]
    chosen = by_disagreement(table, asked) if teaching.learned is None else by_learning(table, teaching.learned, asked)
    return [int(row) for row in chosen[np.argsort(-doubt[chosen], kind="stable")]]


def by_learning(table: NucleiTable, learned: Learned, doubts: NDArray[np.float64]) -> Rows:
    """Rows of the nuclei that ``wsinuc classify --ask`` names; doubts ``(n,)`` are below 0 where none is asked for."""
    from wsinuc.workflows.reclassify.ask import next_questions

    questions = next_questions([learned.source], learned.classifier, BATCH, seed=SEED, doubts=[doubts])
    rows = [table.row_of(question.id) for question in questions]
    return np.array([row for row in rows if row is not None], np.int64)


def by_disagreement(table: NucleiTable, doubts: NDArray[np.float64]) -> Rows:
    """Rows of doubtful nuclei that are spread over the slide; doubts ``(n,)`` are below 0 where none is asked for."""
    from wsinuc.workflows.reclassify.ask import draw_doubtful, representatives

    rng = np.random.default_rng(SEED)
    rows, times = draw_doubtful(doubts, BATCH, rng)
    places = np.stack([table.y[rows], table.x[rows]], axis=1).astype(np.float64)
    places = (places - places.mean(axis=0)) / max(1.0, float(places.std()))
    chosen: Rows = rows[representatives(places, times, BATCH, rng)].astype(np.int64)
    return chosen
