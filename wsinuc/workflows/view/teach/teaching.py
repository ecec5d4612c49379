"""Labels of a result as the page shows them, and what was learned from them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.nuclei.classes import hex_color
from wsinuc.shown import shown
from wsinuc.workflows.view.edit.windows import Windows
from wsinuc.workflows.view.table import NucleiTable
from wsinuc.workflows.view.teach.labels import IGNORE, Labels
from wsinuc.workflows.view.teach.learn import Learned, learn
from wsinuc.workflows.view.tiles.palette import UNKNOWN, Rgb, class_colors

MOST_OUTLINES = 5000
"""Labelled nuclei that are outlined on the page, those labelled last."""


@dataclass
class Teaching:
    """The labels of one result, the classes that were learned from them last, and its training windows."""

    labels: Labels
    windows: Windows
    learned: Learned | None = None
    batch: list[int] = field(default_factory=list)
    """Rows of doubtful nuclei that were named last, to be looked at one by one."""
    visited: list[int] = field(default_factory=list)
    """Rows that were looked at because they are doubtful, since it was learned last."""
    asking: threading.Lock = field(default_factory=threading.Lock)
    """Held while doubtful nuclei are named, so that two keys do not name them twice."""
    _read: tuple[Any, dict[int, str]] = (None, {})
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def table(self) -> NucleiTable:
        """The nuclei."""
        return self.labels.table

    def labelled(self) -> dict[int, str]:
        """Class of each labelled nucleus by its row, as the file has it now. Raises DataError."""
        with self._lock:
            stamp = self.labels.file.stamp
            if stamp != self._read[0] or stamp is None:
                self._read = (stamp, self.labels.by_row())
            return self._read[1]

    def names(self) -> tuple[str, ...]:
        """Classes that a nucleus can be given by a key: those of the result, then new ones as they were given."""
        given = [name for name in self.labelled().values() if name != IGNORE]
        return tuple(dict.fromkeys([*self.table.class_names, *given, *self.windows.class_names()]))

    def color_of(self, name: str) -> Rgb:
        """The colour of a class."""
        names = self.names()
        if name not in names:
            return UNKNOWN if name == IGNORE else class_colors(len(names) + 1)[-1]
        return class_colors(len(names))[names.index(name)]

    def counts(self) -> list[dict[str, Any]]:
        """Each class that can be given, with its colour and how many nuclei have it by a label."""
        given = Counter(self.labelled().values())
        return [
            {"name": name, "shown": shown(name), "color": hex_color(self.color_of(name)), "labels": given[name]}
            for name in (*self.names(), IGNORE)
        ]

    def outlines(self) -> dict[str, list[Any]]:
        """Outlines of labelled nuclei and their colours, as (x, y) of level-0 pixels. Raises DataError."""
        last = list(self.labelled().items())[-MOST_OUTLINES:]
        rings = [self.table.outline(row)[:, ::-1] for row, _ in last]
        return {
            "xs": [ring[:, 0].tolist() for ring in rings],
            "ys": [(-ring[:, 1]).tolist() for ring in rings],
            "colors": [hex_color(self.color_of(name)) for _, name in last],
        }

    def give(self, rows: Sequence[int], name: str | None) -> None:
        """Give nuclei a class, or take it from them; on the disk when this returns. Raises as `Labels.give`."""
        self.labels.give(rows, name, UNKNOWN if name is None else self.color_of(name))

    def learn(self) -> dict[str, Any]:
        """Learn classes from the labels, for all nuclei. Raises DataError where the labels are too few."""
        learned = learn(self.labels.table, self.labels.path)
        with self._lock:
            self.learned = learned
            self.batch = []
            self.visited = []
        return learned.report()

    def doubt(self) -> NDArray[np.floating]:
        """(n,) how doubtful each nucleus is: by what was learned, else by the disagreement of the model."""
        if self.learned is not None:
            return self.learned.doubt
        return self.table.disagreements
