"""Locks: who holds, who is dead, and clocks that disagree. Other machines are played by signs with other host names."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from helpers.locks import QUICK, another_process, beating
from wsinuc.errors import LockedError
from wsinuc.store import ResultStore, lock
from wsinuc.store.lock import filesystem_now, locked, look
from wsinuc.store.manifest import inspect


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.wsinuc" / ".run").mkdir(parents=True)
    return tmp_path / "a.wsinuc" / ".run" / "lock"


def elsewhere(path: Path, *, age_s: float, **changes: object) -> None:
    """A lock of another machine, last renewed ``age_s`` ago by the clock of the file system."""
    sign = {"pid": 7, "started": 1.0, "host": "elsewhere", "token": "theirs", "heartbeat_s": 10.0, **changes}
    path.write_text(json.dumps(sign))
    stamp = filesystem_now(path.parent) - age_s
    os.utime(path, (stamp, stamp))


def test_the_heartbeat_renews_the_stamp(path: Path) -> None:
    with locked(path, QUICK):
        os.utime(path, (1.0, 1.0))
        end = time.monotonic() + 10
        while path.stat().st_mtime < 1e9 and time.monotonic() < end:
            time.sleep(0.01)
        assert abs(filesystem_now(path.parent) - path.stat().st_mtime) < 30
        holder = look(path)
        assert holder is not None
        assert (holder.pid, holder.host, holder.alive) == (os.getpid(), socket.gethostname(), True)
    assert look(path) is None
    assert list(path.parent.iterdir()) == []


def test_a_lock_of_another_machine_that_gives_signs_of_life_holds(path: Path) -> None:
    elsewhere(path, age_s=20)
    with pytest.raises(LockedError, match=r"process 7 on elsewhere, last sign of life 2\d s ago"), locked(path, QUICK):
        pass
    assert look(path).alive is None


def test_a_silent_lock_of_another_machine_is_taken_over_after_watching_it(path: Path) -> None:
    elsewhere(path, age_s=100)
    begin = time.monotonic()
    with locked(path, QUICK):
        assert time.monotonic() - begin >= QUICK.watch_s
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(path.parent.iterdir()) == []


def test_the_clock_of_this_machine_does_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    for skew in (-86400.0, 86400.0):
        monkeypatch.setattr(time, "time", lambda skew=skew: now() + skew)
        elsewhere(path, age_s=20)
        with pytest.raises(LockedError), locked(path, QUICK):
            pass
        elsewhere(path, age_s=100)
        with locked(path, QUICK):
            pass


@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_a_holder_whose_stamps_are_an_hour_off_keeps_its_lock_while_its_heart_beats(path: Path, skew_s: float) -> None:
    """On a file system that takes stamps from its clients, age says nothing; the change of the stamp does."""
    elsewhere(path, age_s=-skew_s)

    def beat() -> None:
        stamp = time.time() + skew_s
        os.utime(path, (stamp, stamp))

    with beating(beat), pytest.raises(LockedError, match="elsewhere"), locked(path, QUICK):
        pass


def test_a_dead_holder_whose_clock_was_ahead_is_found_out(path: Path) -> None:
    elsewhere(path, age_s=-3600)
    with locked(path, QUICK):
        pass


def test_a_lock_without_heartbeat_is_never_taken_over(path: Path) -> None:
    path.write_text(json.dumps({"pid": 7, "started": 1.0, "host": "elsewhere"}))
    os.utime(path, (1.0, 1.0))
    with pytest.raises(LockedError, match="delete"), locked(path, QUICK):
        pass


def test_a_container_of_the_same_host_name_is_another_machine(path: Path) -> None:
    elsewhere(path, age_s=5, host=socket.gethostname(), pid=2**22 + 1, pid_space=1)
    with pytest.raises(LockedError), locked(path, QUICK):
        pass


def test_a_killed_run_is_replaced_at_once(path: Path) -> None:
    with another_process(path) as child:
        with pytest.raises(LockedError, match=f"process {child.pid}"), locked(path, QUICK):
            pass
        child.kill()  # not waited for: a zombie holds nothing either
        deadline = time.monotonic() + 20
        while look(path).alive and time.monotonic() < deadline:
            time.sleep(0.02)
        with locked(path, QUICK):
            pass


def test_a_run_that_was_taken_over_says_so_and_leaves_the_new_lock(path: Path) -> None:
    with locked(path, QUICK) as mine:
        elsewhere(path, age_s=0)
        before = path.stat().st_mtime_ns
        mine.beat()
        assert path.stat().st_mtime_ns == before
        with pytest.raises(LockedError, match="taken over by process 7 on elsewhere"):
            mine.check()
    assert path.exists()


def test_what_was_put_there_after_the_verdict_is_put_back(path: Path) -> None:
    elsewhere(path, age_s=0, token="new")
    lock._remove(path, {"token": "old"})
    assert json.loads(path.read_text())["token"] == "new"


def test_of_many_at_once_one_gets_it(path: Path) -> None:
    elsewhere(path, age_s=100)
    got, refused = [], []
    barrier, over = threading.Barrier(4), threading.Event()

    def run() -> None:
        barrier.wait()
        try:
            with locked(path, QUICK):
                got.append(1)
                over.wait(20)
        except LockedError:
            refused.append(1)
        if len(refused) == 3:
            over.set()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"pid": 1}' + b" " * 10**6, b"\xff", b"[]"])
def test_what_is_no_lock_names_no_holder(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    assert look(path) is None


def test_a_result_that_was_taken_over_is_not_published(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "a.wsinuc")
    with store.open_run({}, resume=True, overwrite=False):
        store.start_outputs()
        elsewhere(store.work / "lock", age_s=0)
        with pytest.raises(LockedError):
            store.publish({})
    assert not inspect(store.out).is_whole
