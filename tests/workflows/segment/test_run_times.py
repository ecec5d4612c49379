"""Estimates of time: from earlier runs of the same conditions, and never worth an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wsinuc.workflows.segment.run_times import (
    KEPT,
    LEAST_S,
    Conditions,
    RunTime,
    add_run_time,
    pace_of,
    read_run_times,
)

HERE = Conditions(host="here", model="fast.safetensors, 7 bytes", device="auto", workers="2 threads")


def run(tiles: int, seconds: float, startup_s: float = 2.0, conditions: Conditions = HERE) -> RunTime:
    return RunTime(conditions=conditions, tiles=tiles, startup_s=startup_s, seconds=seconds)


def test_the_estimate_is_exact_for_what_was_measured() -> None:
    for tiles, seconds in ((10, 12.0), (400, 250.0)):
        expected = pace_of([run(tiles, seconds)], HERE)
        assert expected is not None
        assert expected.seconds(tiles) == pytest.approx(seconds)


def test_a_long_run_counts_for_more_than_a_short_one() -> None:
    expected = pace_of([run(10, 22.0), run(990, 992.0, startup_s=2.0)], HERE)
    assert expected is not None
    assert expected.s_per_tile == pytest.approx((20 + 990) / 1000)
    assert expected.runs == 2


@pytest.mark.parametrize("field", ["host", "model", "device", "workers"])
def test_runs_of_other_conditions_say_nothing(field: str) -> None:
    other = replace(HERE, **{field: "other"})
    assert pace_of([run(100, 50.0, conditions=other)], HERE) is None


def test_runs_are_kept_up_to_a_number_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "run-times.json"
    for number in range(KEPT + 5):
        add_run_time(path, run(number + 1, 50.0))
    assert [each.tiles for each in read_run_times(path)] == list(range(6, KEPT + 6))


def test_a_run_that_is_too_short_is_not_kept(tmp_path: Path) -> None:
    add_run_time(tmp_path / "times", run(3, LEAST_S - 0.1))
    add_run_time(tmp_path / "times", run(0, 100.0))
    assert not (tmp_path / "times").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[{"tiles": 3}]', b"\xff", b"[" * 10_000])
def test_a_damaged_file_is_an_empty_one_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "times"
    path.write_bytes(content)
    assert read_run_times(path) == []
    add_run_time(path, run(100, 50.0))
    assert read_run_times(path) == [run(100, 50.0)]


def test_a_place_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    add_run_time(tmp_path / "file" / "times", run(100, 50.0))
    assert read_run_times(tmp_path / "file" / "times") == []
