"""Hostile and odd inputs in one table: what it is, through which door it comes in, and what must come of it.

    PYTHONPATH=.:cli:tests python -m helpers.odd.inputs

prints the table. Each row makes its input in a folder; expected is the right value, or the one line of an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.odd.doors import DOORS, Given, Gives, Refused


@dataclass(frozen=True, kw_only=True)
class Row:
    """One odd input."""

    name: str
    door: str
    """A key of DOORS."""
    make: Callable[[Path], Path | Given]
    """Makes it in an empty folder."""
    expected: Gives | Refused

    def answer(self, folder: Path) -> Any:
        """Make it, and bring it in."""
        made = self.make(folder)
        return DOORS[self.door](made if isinstance(made, Given) else Given(made))


def table() -> tuple[Row, ...]:
    """All rows."""
    from helpers.odd import annotations, data, results, slides

    parts = (slides, annotations, data, results)
    return tuple(row for part in parts for row in part.rows())


def as_text(row: Row) -> str:
    """A line of the printed table."""
    expected = row.expected
    if isinstance(expected, Refused):
        return f"| {row.name} | {row.door} | {expected.error.__name__}: ... {expected.says} ... |"
    value = "the right pixels" if callable(expected.value) else repr(expected.value)
    return f"| {row.name} | {row.door} | {value}{f' (says: {expected.says})' if expected.says else ''} |"


if __name__ == "__main__":
    print("| input | door | expected |\n|---|---|---|")
    print("\n".join(as_text(each) for each in table()))
