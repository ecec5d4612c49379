"""JSON to typed values: what fits comes back as it was, what does not is named in one line."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from wsinuc.errors import CheckpointError, DataError
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.typed_json import from_json

ROUND = {"name": "round", "color": [200, 40, 40]}


def read(data: object, **how: bool) -> NucleusClass:
    return from_json(NucleusClass, data, error=DataError, subject="no class", **how)


def test_what_asdict_gives_comes_back():
    assert read(json.loads(json.dumps(asdict(NucleusClass("round", (1, 2, 3)))))) == NucleusClass("round", (1, 2, 3))
    assert from_json(tuple[NucleusClass, ...], [ROUND], error=DataError, subject="") == (
        NucleusClass("round", (200, 40, 40)),
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "round"}, "no class: Object missing required field `color`"),
        ({**ROUND, "color": [1, 2, 256]}, r"no class: color\[2\]: .* got 256"),
        ({**ROUND, "color": "red"}, "no class: color: .* got 'red'"),
        ([], "no class: Expected `object`, got `array`"),
    ],
)
def test_what_does_not_fit_is_named(data: object, message: str):
    with pytest.raises(DataError, match=message) as caught:
        read(data)
    assert "\n" not in str(caught.value)


def test_unknown_fields_are_refused_where_that_is_asked_for():
    assert read({**ROUND, "shape": 1}) == NucleusClass("round", (200, 40, 40))
    with pytest.raises(CheckpointError, match="a field 'shape' that is unknown here"):
        from_json(NucleusClass, {**ROUND, "shape": 1}, error=CheckpointError, subject="header", more=False)
