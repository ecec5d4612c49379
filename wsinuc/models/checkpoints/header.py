"""JSON of a checkpoint's header -> the config that it describes, every field of its type and in its range.

A config says what its fields may be where it declares them: ``base: Annotated[int, Meta(ge=32,
le=1024)]``. So a header from a stranger cannot ask for a billion members: it is refused by the
field's name, its value and its range, before anything is built. Configs that are made in Python are
not read through here and check in ``__post_init__`` what depends on several fields.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from wsinuc.errors import CheckpointError

Real = Annotated[float, Meta(ge=-1e6, le=1e6)]
"""Any number that a calculation can bear."""
Mpp = Annotated[float, Meta(gt=0, le=100)]
"""um per pixel, of slides that a model takes or of images that it makes."""

T = TypeVar("T")
_LONGEST = 400
"""Characters of a quoted file that a message shows at most."""
_UNFIT = "the model's header does not fit this version of wsinuc"


def from_header(kind: type[T], data: Any, *, more: bool = False) -> T:
    """A config from what a header holds.

    Parameters
    ----------
    kind
        A frozen dataclass.
    data
        JSON types, lists where the config has tuples.
    more
        Fields that the config does not have are left alone instead of refused.

    Raises
    ------
    CheckpointError
        A field is missing, unknown, of another type, or out of its range; several do not go together.
    """
    try:
        config = msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{_UNFIT}: {one_line(_explained(error, data))}") from error
    except (RecursionError, OverflowError) as error:
        raise CheckpointError(f"{_UNFIT}: {one_line(str(error))}") from error
    unknown = None if more else _unknown(config, data)
    if unknown is not None:
        raise CheckpointError(
            f"{_UNFIT}: it has a field {unknown[:100]!r} that is unknown here; the "
            "weights may come from a newer version: upgrade wsinuc"
        )
    return config


def parse_header(text: str | bytes) -> Any:
    """JSON as Python has it, but without doubled names, NaN and infinities; raises ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def one_line(text: str) -> str:
    """A text that may quote a file, without control characters and not longer than a few lines of a terminal."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:100]!r} stands in it twice")
    return content


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


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


def _unknown(config: Any, data: Any) -> str | None:
    """The first field of the data that the config made of it does not have."""
    if dataclasses.is_dataclass(config) and isinstance(data, Mapping):
        known = {field.name for field in dataclasses.fields(config)}
        for name, value in data.items():
            if name not in known:
                return str(name)
            deeper = _unknown(getattr(config, name), value)
            if deeper is not None:
                return f"{name}.{deeper}"
    if isinstance(config, tuple) and isinstance(data, list | tuple):
        unknown = (_unknown(*pair) for pair in zip(config, data, strict=False))
        return next((name for name in unknown if name is not None), None)
    return None
