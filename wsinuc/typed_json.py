"""JSON from a file or another process -> a dataclass, every field of its type and in its range.

A dataclass says what its fields may be where it declares them: ``base: Annotated[int, Meta(ge=32,
le=1024)]``. So a file from a stranger cannot ask for a billion members: it is refused by the
field's name, its value and its range, before anything is built. Dataclasses that are made in Python
are not read through here and check in ``__post_init__`` what depends on several fields.

The way out is ``dataclasses.asdict``: what it gives is what is read here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from wsinuc.errors import WsinucError

T = TypeVar("T")
_LONGEST = 400


def from_json(kind: type[T], data: Any, *, error: type[WsinucError], subject: str, more: bool = True) -> T:
    """A typed value from what JSON holds.

    Parameters
    ----------
    kind
        A frozen dataclass, or a container of them.
    data
        JSON types, lists where the dataclass has tuples.
    error
        What to raise.
    subject
        What does not fit, the beginning of the message.
    more
        Fields that the dataclass does not have are left alone instead of refused.

    Raises
    ------
    WsinucError
        ``error``: a field is missing, unknown, of another type, or out of its range; several do not go together.

    Examples
    --------
    >>> from wsinuc.nuclei.classes import NucleusClass
    >>> from wsinuc.errors import DataError
    >>> from_json(NucleusClass, {"name": "round", "color": [200, 40, 40]}, error=DataError, subject="no class")
    NucleusClass(name='round', color=(200, 40, 40))
    >>> from_json(NucleusClass, {"name": "round", "color": [200, 40, 400]}, error=DataError, subject="no class")
    Traceback (most recent call last):
    ...
    wsinuc.errors.DataError: no class: color[2]: Expected `int` <= 255, got 400
    """
    try:
        made = msgspec.convert(data, kind)
    except msgspec.ValidationError as fault:
        raise error(f"{subject}: {one_line(_explained(fault, data))}") from fault
    except (RecursionError, OverflowError, UnicodeEncodeError) as fault:
        # nested without end; whole numbers too large for a float; names of fields that are no Unicode
        raise error(f"{subject}: {one_line(str(fault))}") from fault
    unknown = None if more else _unknown(made, data)
    if unknown is not None:
        raise error(
            f"{subject}: it has a field {unknown[:100]!r} that is unknown here; the "
            "weights may come from a newer version: upgrade wsinuc"
        )
    return made


def one_line(text: str) -> str:
    """A text that may quote a file, without control characters and not longer than a few lines of a terminal."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    if len(shown) <= _LONGEST:
        return shown
    return shown[: _LONGEST - 3] + "..."


def _explained(error: msgspec.ValidationError, data: Any) -> str:
    """What msgspec says, with the field in front and the value behind."""
    text, _, path = str(error).partition(" - at `$")
    steps = re.findall(r"\.([^.\[`]+)|\[(\d+)\]", path)
    value: Any = data
    for name, index in steps:
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return f"{path.strip('.`')}: {text}"
    if not steps:
        return text
    shown = repr(value)
    return f"{path.strip('.`')}: {text}, got {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _unknown(made: Any, data: Any) -> str | None:
    """The first field of the data that a config made of it does not have."""
    if dataclasses.is_dataclass(made) and isinstance(data, Mapping):
        known = {field.name for field in dataclasses.fields(made)}
        for name, value in data.items():
            if name not in known:
                return str(name)
            deeper = _unknown(getattr(made, name), value)
            if deeper is not None:
                return f"{name}.{deeper}"
    if isinstance(made, tuple) and isinstance(data, list | tuple):
        deeper_ones = (_unknown(*pair) for pair in zip(made, data, strict=False))
        return next((name for name in deeper_ones if name is not None), None)
    return None
