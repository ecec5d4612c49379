"""What a caller gave, as code needs it, or one error that says what was expected and what came.

Python lets anything be passed for anything, and fails where a value is used, with the words of that place. Public
functions look at their arguments with these first.
"""

from __future__ import annotations

import operator
import re
from numbers import Integral, Real
from typing import TypeVar

from wsinuc.errors import ConfigError, WsinucError

Kind = TypeVar("Kind")


def number(name: str, value: object, error: type[WsinucError] = ConfigError) -> float:
    """A number as Python has it, NaN and infinities among them; ``error`` is raised for everything else.

    Examples
    --------
    >>> number("mpp", "0.25")
    Traceback (most recent call last):
    wsinuc.errors.ConfigError: mpp must be a number, got '0.25' (str)
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise error(f"{name} must be a number, got {came(value)}")
    try:
        plain = float(value)
    except OverflowError:
        raise error(f"{name} must be a number, got one of {len(str(value))} digits") from None
    # A whole number stays one, as it was given.
    if isinstance(value, (int, float)):
        return value
    return plain


def whole_number(name: str, value: object, *, least: int | None = None, error: type[WsinucError] = ConfigError) -> int:
    """A whole number as Python has it, of at least ``least``; ``error`` is raised for everything else.

    Examples
    --------
    >>> whole_number("level", -1, least=0)
    Traceback (most recent call last):
    wsinuc.errors.ConfigError: level must be at least 0, got -1
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise error(f"{name} must be a whole number, got {came(value)}")
    plain = operator.index(value)
    if least is not None and plain < least:
        raise error(f"{name} must be at least {least}, got {plain}")
    return plain


def text(name: str, value: object, error: type[WsinucError] = ConfigError) -> str:
    """Text; ``error`` is raised for everything else.

    Examples
    --------
    >>> text("device", None)
    Traceback (most recent call last):
    wsinuc.errors.ConfigError: device must be text, got None (NoneType)
    """
    if not isinstance(value, str):
        raise error(f"{name} must be text, got {came(value)}")
    return value


def instance(value: object, kind: type[Kind], what: str, error: type[WsinucError] = ConfigError) -> Kind:
    """A value of a kind; ``error`` with ``what`` was expected is raised for everything else.

    Examples
    --------
    >>> instance("a.svs", int, "a count")
    Traceback (most recent call last):
    wsinuc.errors.ConfigError: expected a count, got 'a.svs' (str)
    """
    if not isinstance(value, kind):
        raise error(f"expected {what}, got {came(value)}")
    return value


def came(value: object) -> str:
    """A value and its type in few words, for messages.

    Examples
    --------
    >>> came([0] * 100)
    '[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (list)'
    """
    return f"{value!r:.60} ({type(value).__name__})"


_VALUE = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^,]*?))\s*(,|\Z)""", re.DOTALL)


def values(listed: str) -> tuple[str, ...]:
    """Values with commas between them, without the blanks around them; quotes keep together what is in them.

    Examples
    --------
    >>> values("09, 10"), values("'Tumor, NOS',\\"Stroma\\"")
    (('09', '10'), ('Tumor, NOS', 'Stroma'))
    >>> values("a,,"), values("O'Brien,'x'y,\\"open")
    (('a', '', ''), ("O'Brien", "'x'y", '"open'))
    """
    found = []
    at = 0
    comma = ","
    while comma:
        match = _VALUE.match(listed, at)
        assert match is not None  # the last form takes whatever stands there
        *forms, comma = match.groups()
        found.append(next(form for form in forms if form is not None))
        at = match.end()
    return tuple(found)


def quoted(value: str) -> str:
    """A value as `values` reads it again: in quotes where it has a comma, quotes, or blanks around it.

    Examples
    --------
    >>> quoted("Tumor"), quoted("Tumor, NOS")
    ('Tumor', '"Tumor, NOS"')
    """
    if values(value) == (value,):
        return value
    mark = "'" if '"' in value else '"'
    return f"{mark}{value}{mark}"
