"""Which map is shown, and which nuclei it counts; as it stands in a tile's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wsinuc.errors import ConfigError
from wsinuc.workflows.view.tiles.style import CLASS, NAMED, Style

UM = 50.0
"""Side of a square unless somebody asks for another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapChoice:
    """Which map the page asks for."""

    of: str
    """``density``, ``share``, ``probability``, ``disagreement`` or a measurement."""
    class_at: int | None = None
    """Position of the class that it is about; None for all nuclei."""
    um: float = UM
    """Side of a square in um."""


def parse_map(query: Mapping[str, Sequence[str]]) -> MapChoice | None:
    """The map in the query of an address, None where it asks for none; raises ConfigError for what cannot be one.

    Examples
    --------
    >>> parse_map({"map": ["share"], "mc": ["1"], "um": ["100"]})
    MapChoice(of='share', class_at=1, um=100.0)
    >>> parse_map({})
    """
    of = query.get("map", [""])[-1]
    if not of:
        return None
    class_at = query.get("mc", [""])[-1]
    try:
        return MapChoice(of=of, class_at=int(class_at) if class_at else None, um=float(query.get("um", [str(UM)])[-1]))
    except ValueError as error:
        raise ConfigError(f"the address asks for a map that cannot be: {error}") from None


def counted_by(style: Style) -> Style:
    """What of a style says which nuclei a map counts: its filters, and by which classes they are told apart.

    Classes that are hidden count all the same, because a share is one among all classes.
    """
    by = style.by if style.by in NAMED else CLASS
    return replace(style, by=by, hidden=frozenset(), filled=False)
