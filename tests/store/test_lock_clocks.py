"""Locks where clocks jump, numbers of processes are given out again, and machines are started again."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path

import psutil
import pytest

from helpers.locks import QUICK, another_process, beating
from wsinuc import processes
from wsinuc.errors import LockedError
from wsinuc.processes import process_lives, this_process
from wsinuc.store import lock
from wsinuc.store.lock import LockTiming, filesystem_now, locked, look
from wsinuc.workflows.cohort.status import is_held

DAY = 86400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.wsinuc" / ".run").mkdir(parents=True)
    return tmp_path / "a.wsinuc" / ".run" / "lock"


def signed(path: Path, *, age_s: float, **changes: object) -> dict[str, object]:
    """A lock of another machine, or with ``changes`` of this one, last renewed ``age_s`` ago."""
    elsewhere = {"host": "elsewhere", "boot": "another", "token": "theirs", "heartbeat_s": 10.0, "beat": "0000000000"}
    sign = {**this_process(), **elsewhere, **changes}
    path.write_text(json.dumps(sign))
    stamp(path, age_s)
    return sign


def stamp(path: Path, age_s: float) -> None:
    when = filesystem_now(path.parent) - age_s
    os.utime(path, (when, when))


def test_a_live_run_of_this_machine_keeps_its_lock_when_clocks_jump(path: Path, monkeypatch) -> None:
    now, boot = time.time, psutil.boot_time()
    with another_process(path) as child:
        for jump in (-DAY, DAY):
            monkeypatch.setattr(time, "time", lambda jump=jump: now() + jump)
            monkeypatch.setattr(psutil, "boot_time", lambda jump=jump: boot + jump)  # computed from the wall clock
            stamp(path, jump)
            assert look(path).alive is True
            with pytest.raises(LockedError, match=f"process {child.pid}"), locked(path, QUICK):
                pass


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_dead_run_of_another_machine_keeps_nothing_when_clocks_jump(path: Path, jump: float) -> None:
    signed(path, age_s=jump)
    assert not is_held(look(path))
    with locked(path, QUICK):
        pass


def test_life_shows_in_the_counter_where_stamps_stand_still(path: Path) -> None:
    """As on a network file system that shows its clients attributes from a cache."""
    sign = signed(path, age_s=DAY)
    counter = itertools.count(1)

    def beat() -> None:
        partial = path.with_name("lock.next")
        partial.write_text(json.dumps({**sign, "beat": f"{next(counter):010d}"}))
        stamp(partial, DAY)
        os.replace(partial, path)

    with beating(beat), pytest.raises(LockedError, match="elsewhere"), locked(path, QUICK):
        pass


def test_the_heart_counts(path: Path) -> None:
    with locked(path, QUICK):
        seen = {json.loads(path.read_text())["beat"]}
        end = time.monotonic() + 20
        while len(seen) < 3 and time.monotonic() < end:
            seen.add(json.loads(path.read_text())["beat"])
            time.sleep(0.02)
    assert len(seen) == 3
    assert {len(each) for each in seen} == {10}


def test_a_beat_never_reaches_the_file_of_a_run_that_has_taken_over(path: Path, monkeypatch) -> None:
    with locked(path, LockTiming(heartbeat_s=60)) as mine:
        path.unlink()
        theirs = signed(path, age_s=100)
        before = path.stat().st_mtime_ns
        with monkeypatch.context() as patch:  # as if it were taken over just after the look
            patch.setattr(lock, "_read", lambda path: {"token": mine._token})
            mine.beat()
        assert json.loads(path.read_text()) == theirs
        assert path.stat().st_mtime_ns == before


def test_after_a_restart_of_the_machine_the_heart_is_watched_at_once(path: Path) -> None:
    here = this_process()
    signed(path, age_s=5, host=here["host"], boot="before the restart")
    if not here["boot"]:
        pytest.skip("this system does not name its starts")
    begin = time.monotonic()
    with locked(path, QUICK):
        assert time.monotonic() - begin >= QUICK.watch_s


def test_a_machine_of_the_same_name_that_lives_keeps_its_lock(path: Path) -> None:
    signed(path, age_s=5, host=this_process()["host"], boot="of the other machine")
    with beating(lambda: os.utime(path)), pytest.raises(LockedError), locked(path, QUICK):
        pass


def test_a_removal_that_was_broken_off_is_finished_whatever_its_stamp(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lock, "_CLAIM_S", 0.3)
    sign = signed(path, age_s=0, born=-1, **{key: this_process()[key] for key in ("host", "boot")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock, "_read", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(Path, "unlink", lambda *args, **options: None)  # killed between claim and removal
        with pytest.raises(KeyboardInterrupt):
            lock._remove(path, sign)
    (claim,) = path.parent.glob("lock.removing-*")
    stamp(claim, -DAY)
    with locked(path, QUICK):
        pass
    assert list(path.parent.iterdir()) == []


def test_a_number_that_was_given_out_again_is_another_process() -> None:
    sign = this_process()
    assert process_lives(sign) is True
    assert process_lives({**sign, "born": sign["born"] + 1}) is False
    assert process_lives({**sign, "pid": 2**22 + 1}) is False
    assert process_lives({**sign, "pid_space": 1}) is None
    assert process_lives({**sign, "boot": "another", "host": "elsewhere"}) is None


@pytest.mark.parametrize("pid", ["7", -1, 0, None, [1], 1.5])
def test_a_sign_that_is_nonsense_says_nothing(pid: object) -> None:
    assert process_lives({**this_process(), "pid": pid}) is None


@pytest.mark.skipif(not psutil.LINUX, reason="other systems show all processes")
def test_a_process_that_the_system_hides_counts_as_alive(monkeypatch) -> None:
    """``/proc`` may be mounted so that it shows everybody their own processes alone."""
    sign = this_process()
    monkeypatch.setattr(processes, "_boot", lambda: sign["boot"])
    monkeypatch.setattr(Path, "read_text", lambda *args, **options: (_ for _ in ()).throw(FileNotFoundError()))
    assert process_lives(sign) is True
    assert process_lives({**sign, "pid": 2**22 + 1}) is False
