"""JSON of a checkpoint's header -> the config that it describes, every field of its type and in its range.

Read through `wsinuc.typed_json`, with what a header has beyond other JSON: errors of checkpoints, no
doubled names, no NaN.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from msgspec import Meta

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.typed_json import from_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Real = Annotated[float, Meta(ge=-1e6, le=1e6)]
"""Any number that a calculation can bear."""
Mpp = Annotated[float, Meta(gt=0, le=100)]
"""um per pixel, of slides that a model takes or of images that it makes."""

T = TypeVar("T")
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
    return from_json(kind, data, error=CheckpointError, subject=_UNFIT, more=more)


def check_readable(config: DataclassInstance) -> None:
    """Raise ConfigError for settings that `from_header` would refuse: before a training, and not when its model is
    opened."""
    written = json.loads(json.dumps(asdict(config)))
    from_json(type(config), written, error=ConfigError, subject="no model is made with these settings", more=False)


def parse_header(text: str | bytes) -> Any:
    """JSON as Python has it, but without doubled names, NaN and infinities; raises ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:100]!r} stands in it twice")
    return content


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")
