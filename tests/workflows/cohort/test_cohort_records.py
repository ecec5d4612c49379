"""What a cohort writes down as it goes: right at every moment, in time linear in the number of slides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsinuc.errors import SlideError
from wsinuc.workflows.cohort import records as cohort_records
from wsinuc.workflows.cohort.records import CohortRecords
from wsinuc.workflows.cohort.slide_list import SlideJob
from wsinuc.workflows.cohort.state import STATES, SlideState, StateFolder


class Clock:
    """Every reading is a second later; a table thus takes a second, and so does whatever comes between."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_tables_are_written_for_a_share_of_the_time_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 600 slides that fail in a row: tables by the clock, states once each, and what is left behind is right."""
    tables: list[int] = []
    files: list[str] = []
    write_table = cohort_records.write_summaries
    write_state = StateFolder.write

    def counted(states: list[SlideState], out: Path, *, report: bool) -> None:
        tables.append(len(states))
        write_table(states, out, report=report)

    monkeypatch.setattr(cohort_records, "write_summaries", counted)
    monkeypatch.setattr(StateFolder, "write", lambda self, state: (files.append(state.state), write_state(self, state)))
    jobs = [SlideJob(slide=tmp_path / f"{k:03d}.svs") for k in range(600)]
    records = CohortRecords(tmp_path, keep=True, clock=Clock())
    records.begin(jobs)
    for job in jobs:
        records.failed(job, SlideError(f"{job.slide}: no such file"))
    assert files == ["waiting"] * 600 + ["failed"] * 600
    assert len(tables) == 20  # one second in thirty
    records.finish(jobs)
    assert len(tables) == 21
    assert (tmp_path / "summary.csv").read_text().count(",failed,") == 600
    assert {state.state for state in StateFolder(tmp_path).all().values()} == {"failed"}


def test_only_what_took_work_is_forced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[int] = []
    monkeypatch.setattr(os, "fsync", forced.append)
    folder = StateFolder(tmp_path)
    for state in STATES:
        folder.write(SlideState(name=state, slide="a.svs", state=state))
    assert len(forced) == 4  # running and done, each as a file and as a name in its folder
    assert sorted(folder.all()) == sorted(STATES)


def test_a_state_file_of_anything_is_no_state(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.write(SlideState(name="good", slide="a.svs"))
    for name, content in (
        ("deep", b"[" * 100_000),
        ("list", b"[1]"),
        ("utf-16", '{"slide": "a"}'.encode("utf-16")),
        ("digits", b'{"slide": ' + b"9" * 10_000 + b"}"),
        ("brackets", b'{"slide": [' + b"[]," * 2_000_000 + b"[]]}"),
        ("nul", b"\0\0"),
    ):
        (folder.path / f"{name}.json").write_bytes(content)
    assert list(folder.all()) == ["good"]
