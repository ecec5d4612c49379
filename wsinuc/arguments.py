"""What a caller gave, as code needs it, or one error that says what was expected and what came.

Python lets anything be passed for anything, and fails where a value is used, with the words of that place. Public
functions look at their arguments with these first.
"""

from __future__ import annotations

import operator
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
