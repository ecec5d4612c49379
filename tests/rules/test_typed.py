"""Values in stored JSON that have another type than their readers count on, sealed as if we had written them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from helpers.files.checkpoints import ODD, changed, places
from wsinuc.grid import Box
from wsinuc.store.ledger import Entry, read_entry, write_entry, write_sealed
from wsinuc.store.manifest import BROKEN, SEALED, parse_summary, with_manifest
from wsinuc.store.typed import Figures, typed
from wsinuc.workflows.cohort.state import SlideState, StateFolder
from wsinuc.workflows.cohort.summary import to_csv, to_markdown

ENTRY = Entry(
    block=3,
    nuclei=7,
    shard_sha256="0" * 64,
    unreadable=(Box(0, 0, 3, 4),),
    tiles=4,
    at_edge=1,
    seconds={"read": 0.5, "score": 2},
)
STATE = SlideState(
    name="a",
    slide="a.svs",
    state="done",
    attempts=2,
    blocks=4,
    versions={"wsinuc": "1"},
    figures={
        "nuclei": 7,
        "counts": {"n": 7},
        "tissue_mm2": 1.5,
        "seconds": {"total": 2.0},
        "notes": ["x"],
        "slide_mm2": 3,
    },
)


def test_an_entry_comes_back_and_one_of_odd_values_counts_for_nothing(tmp_path: Path):
    write_entry(ENTRY, tmp_path, "run")
    path = tmp_path / "000003.json"
    assert read_entry(path, "run") == ENTRY
    good = json.loads(json.dumps(asdict(ENTRY)))
    for at in places(good):
        for value in ODD:
            write_sealed(changed(good, at, value), path, "run")
            found = read_entry(path, "run")
            assert found is None or (
                isinstance(found.nuclei, int) and all(type(box) is Box for box in found.unreadable)
            )
    write_sealed({**good, "unreadable": [{"y0": 3, "x0": 0, "y1": 1, "x1": 4}]}, path, "run")
    assert read_entry(path, "run") is None


def test_a_state_comes_back_and_one_of_odd_values_can_be_written_into_tables(tmp_path: Path):
    states = StateFolder(tmp_path)
    states.write(STATE)
    assert states.read("a") == STATE
    good = json.loads(json.dumps(asdict(STATE)))
    path = next(states.path.glob("*.json"))
    for at in places(good):
        for value in ODD:
            path.write_text(json.dumps(changed(good, at, value)))
            found = [state for state in states.all().values() if state is not None]
            assert to_csv(found)
            assert to_markdown(found)
    path.write_text(json.dumps({**good, "of a later version": 1}))
    assert states.read("a") == STATE
    assert replace(STATE, name="b") != STATE


@pytest.mark.parametrize(
    "odd", [{"nuclei": "9"}, {"nuclei": -1}, {"blocks": [1]}, {"settings": 3}, {"seconds": {"a": None}}, {"notes": [1]}]
)
def test_a_summary_of_odd_values_is_broken(odd: dict):
    good = {"nuclei": 9, "blocks": 2, "settings": {"block": 2048}, "notes": ["x"]}
    assert parse_summary(json.dumps(with_manifest(good, {})).encode()).kind == SEALED
    assert parse_summary(json.dumps(with_manifest({**good, **odd}, {})).encode()).kind == BROKEN
    assert parse_summary(json.dumps({"made_by": "wsinuc", **odd}).encode()).kind == BROKEN


def test_numbers_and_names_that_are_none_do_not_fit():
    assert typed(Figures, {"tissue_mm2": 10**400}) is None
    assert typed(Figures, {"nuclei\ud800": 1}) is None


def test_names_of_files_may_be_no_unicode(tmp_path: Path):
    odd = replace(STATE, slide="latin-\udce9.svs", error="latin-\udce9")
    StateFolder(tmp_path).write(odd)
    assert StateFolder(tmp_path).read("a") == odd
    summary = with_manifest({"slide": "latin-\udce9.svs", "notes": ["\udce9"], "counts": {"\udce9": 1}}, {})
    assert parse_summary(json.dumps(summary).encode()).kind == SEALED
