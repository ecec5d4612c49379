"""Names of classes as people write them: any text, matched without regard to case, never changed without a word.

The names "Immune cells" and "immune cells" are one class; which spelling counts is said here, and a note tells
where a file has another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import ImageColor

from wsinuc.datasets.files import read_table
from wsinuc.errors import DataError
from wsinuc.nuclei.classes import PRINTABLE, NucleusClass

PALETTE = ("#c8001e", "#00a0c8", "#2d8c2d", "#f0b400", "#8c46c8", "#ff8200", "#0046c8", "#b48c64")
"""Colours of classes that name none, in turn."""
MAX_CLASSES = 100
"""More names than that are comments or measurements, not classes."""
MAX_LENGTH = 100
"""Characters of a name, see `wsinuc.nuclei.classes.ClassName`."""


def read_classes(path: Path) -> tuple[NucleusClass, ...]:
    """The classes of a ``classes.csv`` (name, color); none where the file is missing.

    Raises
    ------
    DataError
        The table is damaged, a colour is none, or a name is missing, stands twice or cannot be printed.
    """
    if not path.exists():
        return ()
    classes = []
    for i, row in enumerate(read_table(path, ("name",))):
        try:
            color = ImageColor.getrgb(row.get("color") or PALETTE[i % len(PALETTE)])[:3]
        except ValueError:
            raise DataError(f"{path}: a color looks like #c8001e, got {row['color']!r}") from None
        check_name(row["name"], path)
        classes.append(NucleusClass(row["name"], (color[0], color[1], color[2])))
    numbers_of(classes, path)
    return tuple(classes)


def free_classes(names: Mapping[str, int], where: Path) -> tuple[NucleusClass, ...]:
    """The classes that names stand for, by name, each in its commonest spelling and a colour of its own.

    Parameters
    ----------
    names
        Each name as it is written -> how often; an empty one stands for no class.
    where
        For errors: the data set.

    Raises
    ------
    DataError
        A name cannot be printed, or there are more than `MAX_CLASSES`.

    Examples
    --------
    >>> [c.name for c in free_classes({"Tumor": 3, "tumor": 1, "Immune cells": 2, "": 5}, Path("mine"))]
    ['Immune cells', 'Tumor']
    """
    spellings: dict[str, str] = {}
    # The commonest first; of two that are equally common the one that sorts first.
    for name in sorted(filter(None, names), key=lambda name: (-names[name], name)):
        check_name(name, where)
        spellings.setdefault(name.casefold(), name)
    if len(spellings) > MAX_CLASSES:
        shown = ", ".join(sorted(spellings.values())[:5])
        raise DataError(
            f"{where} has {len(spellings)} names of classes ({shown}, ...), more than {MAX_CLASSES}: "
            "the column class holds something else, or list the classes that are meant in classes.csv"
        )
    colors = [ImageColor.getrgb(PALETTE[i % len(PALETTE)]) for i in range(len(spellings))]
    ordered = [spellings[key] for key in sorted(spellings)]
    return tuple(NucleusClass(name, (c[0], c[1], c[2])) for name, c in zip(ordered, colors, strict=True))


def numbers_of(classes: Iterable[NucleusClass], where: Path | str) -> dict[str, int]:
    """Number of each class, from 1, by its name without regard to case; raises DataError where two names are one."""
    numbers: dict[str, int] = {}
    names: list[str] = []
    for number, each in enumerate(classes, start=1):
        first = numbers.setdefault(each.name.casefold(), number)
        if first != number:
            raise DataError(
                f"{where} lists {names[first - 1]!r} and {each.name!r}: names of classes are compared without regard "
                "to case, so these are one; keep one of them"
            )
        names.append(each.name)
    return numbers


def other_spellings(names: Iterable[str], classes: Sequence[NucleusClass]) -> dict[str, str]:
    """Names that are spelled in another way than their class is called -> the name of the class."""
    called = {each.name.casefold(): each.name for each in classes}
    differing = sorted({name for name in names if name and called.get(name.casefold(), name) != name})
    return {name: called[name.casefold()] for name in differing}


def spelling_notes(names: Iterable[str], classes: Sequence[NucleusClass]) -> tuple[str, ...]:
    """A note on each name that is spelled in another way than its class is called."""
    spellings = other_spellings(names, classes)
    return tuple(f"the class {name!r} is taken for {called!r}" for name, called in spellings.items())


def check_name(name: str, where: Path | str) -> None:
    """Raise DataError for a name of a class that cannot be shown or stored."""
    if not name.strip():
        raise DataError(f"{where}: a class without a name; give it one, or leave its line out")
    if len(name) > MAX_LENGTH or not re.fullmatch(PRINTABLE, name):
        raise DataError(
            f"{where}: a class is named by up to {MAX_LENGTH} printable characters, got {name[:40]!r} "
            f"of {len(name)}: shorten it, or look whether the column class holds something else"
        )
