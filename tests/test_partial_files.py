"""Several writers of one file at once: each has a partial file of its own, and a whole file has the name."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from helpers.killed import in_child
from wsinuc import durable, own_files
from wsinuc.exports.atomic import replacing
from wsinuc.own_files import partial_file, usual_names

needs_locks = pytest.mark.skipif(own_files.fcntl is None, reason="needs flock")
ONE = b"one" * 1000
OTHER = b"other" * 2000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("is_first_one_first", [True, False])
def test_two_writers_of_one_file_do_not_meet(tmp_path: Path, is_first_one_first: bool) -> None:
    path = tmp_path / "a.csv"
    one = replacing(path)
    other = replacing(path)
    first = one.__enter__()
    first.write(ONE[:500])
    second = other.__enter__()
    second.write(OTHER[:500])
    first.write(ONE[500:])
    second.write(OTHER[500:])
    ends = [(one, ONE), (other, OTHER)]
    if not is_first_one_first:
        ends.reverse()
    for writer, content in ends:
        writer.__exit__(None, None, None)
        assert path.read_bytes() == content
    assert names(tmp_path) == ["a.csv"]


def test_more_writers_than_there_are_usual_names(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with ExitStack() as stack:
        streams = [stack.enter_context(replacing(path)) for _ in range(6)]
        for stream in streams:
            stream.write(ONE)
        assert len(names(tmp_path)) == 6
    assert path.read_bytes() == ONE
    assert names(tmp_path) == ["a.csv"]


def test_a_writer_that_fails_takes_its_own_file_along_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with replacing(path) as stream:
        with pytest.raises(RuntimeError), replacing(path):
            raise RuntimeError
        assert names(tmp_path) == [usual_names(path)[0].name]
        stream.write(ONE)
    assert path.read_bytes() == ONE
    assert names(tmp_path) == ["a.csv"]


@needs_locks
@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
def test_what_a_killed_process_has_left_is_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"

    def work() -> None:
        # Two at once: each has left its own.
        with durable.replacing(path) as one, durable.replacing(path) as other:
            for stream in (one, other):
                stream.write(ONE)
                stream.flush()
            os._exit(9)

    assert in_child(work).code == 9
    assert names(tmp_path) == [each.name for each in usual_names(path)[:2]]
    with replacing(path) as stream:
        assert names(tmp_path) == [usual_names(path)[0].name]
        stream.write(OTHER)
    assert names(tmp_path) == ["a.csv"]


@needs_locks
def test_a_file_that_is_taken_for_abandoned_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer comes between the creation of the file and its lock, and makes its own of that name."""
    lock = own_files._lock
    usual = usual_names(tmp_path / "a.csv")[0]
    others: list[int] = []

    def late(descriptor: int) -> bool:
        if not others:
            usual.unlink()
            others.append(os.open(usual, os.O_CREAT | os.O_RDWR))
        return lock(descriptor)

    monkeypatch.setattr(own_files, "_lock", late)
    with partial_file(tmp_path / "a.csv") as (partial, stream):
        assert partial != usual
        assert os.path.samestat(usual.stat(), os.fstat(others[0]))
        stream.close()
    os.close(others[0])


@needs_locks
def test_file_systems_that_cannot_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(own_files.fcntl, "flock", refuse)
    left = usual_names(tmp_path / "a.csv")[0]
    left.write_bytes(b"perhaps of another writer")
    for name in ("a.csv", "b.csv"):
        with replacing(tmp_path / name) as stream:
            stream.write(ONE)
    assert names(tmp_path) == ["a.csv", left.name, "b.csv"]


def test_machines_that_do_not_see_each_others_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    with partial_file(path) as (here, stream):
        stream.close()
        monkeypatch.setattr("socket.gethostname", lambda: "another")
        monkeypatch.setattr(own_files, "_lock", lambda descriptor: True)
        with partial_file(path) as (there, other):
            other.close()
            assert here.exists()
            assert here != there


def test_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_files, "fcntl", None)
    test_two_writers_of_one_file_do_not_meet(tmp_path, True)


def test_the_longest_names(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".json")
    assert len(os.fsencode(path.name)) == 255
    with replacing(path) as stream:
        stream.write(ONE)
    assert names(tmp_path) == [path.name]
    assert path.read_bytes() == ONE
