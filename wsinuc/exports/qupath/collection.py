"""A collection of features as text that people can read, too: a line for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

BEGIN = b'{"type":"FeatureCollection","features":[\n'
BETWEEN = b",\n"
END = b"\n]}\n"


def collection_text(features: Iterable[Mapping[str, Any]]) -> bytes:
    """GeoJSON of features that are in memory; arrays in them are written as lists.

    Examples
    --------
    >>> print(collection_text([{"type": "Feature"}, {"type": "Feature"}]).decode(), end="")
    {"type":"FeatureCollection","features":[
    {"type":"Feature"},
    {"type":"Feature"}
    ]}
    """
    return collection_of([orjson.dumps(each, option=orjson.OPT_SERIALIZE_NUMPY) for each in features])


def collection_of(lines: Sequence[bytes]) -> bytes:
    """GeoJSON of features that are text already, each on a line without its end."""
    if not lines:
        return BEGIN + END.lstrip()
    return BEGIN + BETWEEN.join(lines) + END
