"""Templates to HTML: everything that is filled in is escaped, and what a terminal would obey is written out."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wsinuc.shown import shown

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, values: dict[str, Any]) -> str:
    """The page that a template gives; a value that it asks for and does not get is an error."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = escaping(_TEMPLATES)
    environment.filters |= {"count": _count, "area": _area, "density": _density, "percent": percent}
    return environment


def escaping(folder: Path) -> Environment:
    """Templates of a folder, in which everything that is filled in is escaped."""
    return Environment(
        loader=FileSystemLoader(folder),
        # For every template: names of slides and classes come from anywhere.
        autoescape=True,
        undefined=StrictUndefined,
        # A process that runs on while its installation is replaced makes all its pages alike.
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        # Names that are escape sequences stay readable, and are none.
        finalize=_plain,
    )


def _plain(value: object) -> object:
    # Only plain text: what is marked as safe has been through here, and included templates keep their lines.
    if type(value) is str:
        return shown(value)
    return value


def _count(value: int) -> str:
    return f"{value:,}"


def _area(mm2: float) -> str:
    """An area with three digits that count.

    Examples
    --------
    >>> _area(0.01234), _area(12.345), _area(1234.5), _area(0.0)
    ('0.0123 mm²', '12.3 mm²', '1,234 mm²', '0 mm²')
    """
    if 0 < mm2 < 0.001:
        return "under 0.001 mm²"
    if mm2 >= 1000:
        return f"{mm2:,.0f} mm²"
    return f"{mm2:.3g} mm²"


def _density(per_mm2: float | None) -> str:
    if per_mm2 is None:
        return "–"
    return f"{per_mm2:,.0f}"


def percent(share: float) -> str:
    """A share from 0 to 1 in percent.

    Examples
    --------
    >>> percent(0.25), percent(0.0001), percent(0.0)
    ('25.0%', 'under 0.1%', '0.0%')
    """
    if 0 < share < 0.0005:
        return "under 0.1%"
    return f"{share:.1%}"
