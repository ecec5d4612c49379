"""Checkpoints with odd headers, made of good ones without their weights being touched."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Place = tuple[str | int, ...]
"""Names and positions that lead to one value of a header."""

ODD: tuple[Any, ...] = (
    None,
    True,
    "",
    "x\x1b[31m",
    "9" * 5000,
    -1,
    0,
    1,
    3,
    2**31,
    10**9,
    10**30,
    -(10**30),
    1e308,
    0.5,
    [],
    [[]],
    [1, 2, 3],
    [1e9] * 2,
    ["a"] * 1000,
    {},
    {"a": 1},
    {"model": "fast"},
)
"""What may stand in the place of any value."""


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Places of all values of a header, inner ones too."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in items:
        yield from places(each, (*at, name))


def changed(config: dict[str, Any], at: Place, value: Any) -> dict[str, Any]:
    """A copy of a header with one value replaced."""
    made = copy.deepcopy(config)
    inner: Any = made
    for step in at[:-1]:
        inner = inner[step]
    inner[at[-1]] = value
    return made


def without(config: dict[str, Any], at: Place) -> dict[str, Any]:
    """A copy of a header without one value."""
    made = copy.deepcopy(config)
    inner: Any = made
    for step in at[:-1]:
        inner = inner[step]
    del inner[at[-1]]
    return made


def raw_parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file as JSON, and the weights behind it."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_raw(path: Path, header: str | bytes, weights: bytes = b"") -> Path:
    """A safetensors file with any text for a header."""
    text = header if isinstance(header, bytes) else header.encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + weights)
    return path


def with_header(path: Path, own: str, out: Path) -> Path:
    """The same weights with another header of wsinuc, given as text."""
    header, weights = raw_parts(path)
    header["__metadata__"]["wsinuc"] = own
    return write_raw(out, json.dumps(header), weights)


def own_header(path: Path) -> dict[str, Any]:
    """The header that wsinuc wrote."""
    return json.loads(raw_parts(path)[0]["__metadata__"]["wsinuc"])
