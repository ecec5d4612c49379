"""What is held out of a training together: windows of one patient, else of one slide, else of one image.

They look alike, in stain, in scanner and in disease. A model that has learned from one of them is not new to another,
and a score there says too much of how it would do on the next patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.labelled_image import Row

FEWEST = 2
"""Windows with nuclei without which nothing can be held out."""
LEVELS = {"patient": "patient", "slide": "slide", "name": "image"}
"""Attribute of an image -> what its windows are of, the coarsest first."""
ALONE = "window"
"""The level where each window stands for itself."""


@dataclass(frozen=True, slots=True)
class Kin:
    """Which windows are kept together; as text, what is held out."""

    groups: tuple[int, ...]
    """Of each window, from 0 in order of first appearance."""
    level: str
    """``patient``, ``slide``, ``image`` or ``window``."""
    within: str | None = None
    """The finest level of which all windows with nuclei share one, so that it cannot be held out; None is none."""

    @property
    def count(self) -> int:
        """How many groups there are."""
        return max(self.groups, default=-1) + 1

    def __str__(self) -> str:
        held = f"{self.count} {self.level}s"
        if self.level != ALONE:
            held = f"{held}, each whole"
        if self.within:
            return f"{held}, all of one {self.within}: nothing says how another would do"
        if self.level != LEVELS["patient"]:
            return f"{held}; patients are not known"
        return held


def kin_of(rows: Sequence[Row], nuclear: Sequence[bool]) -> Kin:
    """Which windows are kept together: the coarsest that leaves `FEWEST` groups with nuclei apart.

    Parameters
    ----------
    rows
        Attributes of the image that each window was cut from: ``patient``, ``slide`` and ``name`` are looked at, small
        letters or capitals, and of a window without the first the next ones.
    nuclear
        Whether each window shows a nucleus: others alone teach nothing.

    Examples
    --------
    >>> rows = [{"patient": "1"}, {"patient": "2"}, {"patient": "1"}]
    >>> print(kin_of(rows, [True] * 3), kin_of(rows, [True] * 3).groups)
    2 patients, each whole (0, 1, 0)
    >>> print(kin_of([{"slide": "a", "name": "a_1"}, {"slide": "a", "name": "a_2"}], [True] * 2))
    2 windows, all of one slide: nothing says how another would do
    """
    # As people write them: Patient, PATIENT.
    rows = [{attribute.casefold(): value for attribute, value in row.items()} for row in rows]
    names = tuple(LEVELS)
    within = None
    for number, name in enumerate(names):
        if not any(row.get(name) for row in rows):
            continue
        keys = [_key(row, names[number:], index) for index, row in enumerate(rows)]
        groups = _numbered(keys)
        if len({group for group, shows in zip(groups, nuclear, strict=True) if shows}) < FEWEST:
            within = LEVELS[name]
        elif len(set(groups)) == len(rows) and name == "name":
            break
        else:
            return Kin(groups, LEVELS[name], within)
    return Kin(tuple(range(len(rows))), ALONE, within)


def _key(row: Row, names: Sequence[str], index: int) -> tuple[str, str]:
    """What a window shares with its kin: its first known attribute; else a key of its own."""
    return next(((name, row[name]) for name in names if row.get(name)), ("", str(index)))


def _numbered(keys: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    numbers: dict[tuple[str, str], int] = {}
    return tuple(numbers.setdefault(key, len(numbers)) for key in keys)


def fold_of(kin: Kin, nuclear: Sequence[bool], folds: int, seed: int | None = None) -> NDArray[np.intp]:
    """Fold of each window, ``(windows,)``: kin in one, and nuclei and windows in each as evenly as can be.

    Parameters
    ----------
    folds
        No more than there are groups of kin are made.
    seed
        Decides between equals; None takes them as they come.

    Examples
    --------
    >>> fold_of(Kin((0, 1, 2, 3, 4), "window"), [True] * 5, 2).tolist()
    [0, 1, 0, 1, 0]
    >>> fold_of(Kin((0, 0, 1, 2), "patient"), [True] * 4, 2).tolist()
    [0, 0, 1, 1]
    """
    groups = np.array(kin.groups, np.intp)
    windows = np.bincount(groups)
    showing = np.bincount(groups, np.array(nuclear, np.float64)).astype(np.intp)
    order = np.arange(kin.count) if seed is None else np.random.default_rng(seed).permutation(kin.count)
    filled = [(0, 0)] * min(folds, kin.count)
    fold = np.empty(kin.count, np.intp)
    # The largest groups first, each into the emptiest fold: groups of one size are dealt out in turn.
    for group in sorted(order.tolist(), key=lambda group: (-showing[group], -windows[group])):
        fold[group] = min(range(len(filled)), key=filled.__getitem__)
        nuclei, all_of_them = filled[fold[group]]
        filled[fold[group]] = (nuclei + int(showing[group]), all_of_them + int(windows[group]))
    return fold[groups]
