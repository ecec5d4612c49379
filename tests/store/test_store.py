"""The result directory: who may write, what counts as done, what is refused."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.entries import entry, some_nuclei
from wsinuc.errors import OutputError
from wsinuc.nuclei import write_nuclei
from wsinuc.processes import this_process
from wsinuc.store import ResultStore, disk_errors, files, iter_nuclei, owned, settings_hash
from wsinuc.store.ledger import read_entry, write_sealed
from wsinuc.store.manifest import inspect

SETTINGS = {"segmenter": "a", "block": 512, "shape": [10, 20]}


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "a.wsinuc")


def begin(store: ResultStore, *, resume: bool = True, overwrite: bool = False, **changes: object):
    return store.open_run({**SETTINGS, **changes}, resume=resume, overwrite=overwrite)


def test_a_ledger_entry_survives_the_disk(store: ResultStore) -> None:
    with begin(store):
        stored = store.add(entry(7, 3), some_nuclei())
        assert store.finished() == {7: stored}
        assert stored.shard_sha256
        blank = store.add(entry(8, 0), some_nuclei().select(np.zeros(3, bool)))
        assert blank.shard_sha256 is None
        assert not store.shard(8).exists()
    with begin(store):
        assert set(store.finished()) == {7, 8}


def test_a_shard_without_its_entry_or_damaged_is_not_done(store: ResultStore) -> None:
    with begin(store):
        write_nuclei(some_nuclei(), store.shard(1))
        store.add(entry(2, 3), some_nuclei())
        store.shard(2).write_bytes(store.shard(2).read_bytes()[:-1])
        store.add(entry(3, 3), some_nuclei())
        store.shard(3).unlink()
        assert store.finished() == {}


def test_half_an_entry_is_not_done(store: ResultStore) -> None:
    with begin(store):
        store.add(entry(2, 3), some_nuclei())
        path = store.work / "done" / "000002.json"
        path.write_text(path.read_text()[:20])
        assert store.finished() == {}


@pytest.mark.parametrize(
    "change",
    [{"block": "../../a"}, {"unreadable": [{"y0": 1}]}, {"unreadable": [5]}, {"nuclei": None}, {"seconds": {"a": "b"}}],
)
def test_an_entry_that_somebody_has_sealed_is_no_entry(store: ResultStore, change: dict) -> None:
    with begin(store):
        store.add(entry(2, 3), some_nuclei())
        (path,) = (store.work / "done").iterdir()
        content = json.loads(path.read_text())
        assert read_entry(path, store._run_id()) is not None
        write_sealed({**content, **change}, path, store._run_id())
        assert store.finished() == {}


def test_other_settings_are_refused_by_name(store: ResultStore) -> None:
    with begin(store):
        store.add(entry(0, 3), some_nuclei())
    with pytest.raises(OutputError, match=r"block was 512, now 1024.*--overwrite") as caught, begin(store, block=1024):
        pass
    assert "\n" not in str(caught.value)
    assert store.shard(0).exists()
    with begin(store, overwrite=True, block=1024):
        assert store.finished() == {}


def test_hashes_are_named_by_what_they_stand_for(store: ResultStore) -> None:
    with begin(store, segmenter="1f"):
        store.add(entry(0, 3), some_nuclei())
    with pytest.raises(OutputError, match=r"number of CPU threads differs") as caught, begin(store, segmenter="2e"):
        pass
    assert "1f" not in str(caught.value)


def test_without_resume_an_interrupted_run_starts_anew(store: ResultStore) -> None:
    with begin(store):
        store.add(entry(0, 3), some_nuclei())
    with begin(store, resume=False):
        assert store.finished() == {}
        assert not store.shard(0).exists()


def test_publishing_leaves_the_outputs_and_nothing_else(store: ResultStore) -> None:
    with begin(store):
        store.start_outputs()
        write_nuclei(some_nuclei(), store.part(0))
        (store.ready / "preview.png").write_bytes(b"png")
        assert not (store.directory / "preview.png").exists()
        store.publish({"nuclei": 3})
    assert sorted(path.name for path in store.directory.iterdir()) == ["nuclei", "preview.png", "summary.json"]
    assert json.loads(store.summary.read_text())["nuclei"] == 3
    assert inspect(store.out).is_whole


def test_the_lock_is_the_last_that_goes(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins while many files are being deleted would lose its own."""
    removed = []

    def remove(path: Path) -> None:
        assert (store.work / "lock").exists()
        removed.append(path.name)
        files.remove(path)

    with begin(store):
        store.start_outputs()
        write_nuclei(some_nuclei(), store.part(0))
        monkeypatch.setattr(owned, "remove", remove)
        store.publish({})
    assert {"blocks", "done", "ready", "settings.json"} <= set(removed)
    assert not store.work.exists()


def test_a_complete_result_is_kept_unless_told(store: ResultStore) -> None:
    with begin(store):
        store.start_outputs()
        write_nuclei(some_nuclei(), store.part(0))
        store.publish({})
    (store.directory / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="complete result"), begin(store):
        pass
    with begin(store, overwrite=True):
        assert not inspect(store.out).is_whole
        assert not (store.directory / "nuclei").exists()
    assert (store.directory / "notes.txt").read_text() == "mine"


def test_a_crash_between_summary_and_clearing_up_is_mended(store: ResultStore) -> None:
    with begin(store):
        store.start_outputs()
        write_nuclei(some_nuclei(), store.part(0))
        store.publish({})
    store.work.mkdir()
    (store.work / "settings.json").write_text("{}")
    with pytest.raises(OutputError, match="complete result"), begin(store):
        pass
    assert not store.work.exists()


def test_what_we_did_not_make_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "nuclei").mkdir()
    (tmp_path / "summary.json").write_text('{"nuclei": 5}')
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="no wsinuc result"), begin(ResultStore(tmp_path), overwrite=overwrite):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nuclei", "summary.json"]


def test_another_programs_working_area_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run" / "tests.run.xml").write_text("<component/>")
    with pytest.raises(OutputError, match="no wsinuc result"), begin(ResultStore(tmp_path), overwrite=True):
        pass
    assert (tmp_path / ".run" / "tests.run.xml").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file"), begin(ResultStore(tmp_path / "out")):
        pass
    with pytest.raises(OutputError, match="cannot write"), begin(ResultStore(tmp_path / "out" / "deeper")):
        pass


def test_a_second_run_is_locked_out(store: ResultStore) -> None:
    with begin(store), pytest.raises(OutputError, match=f"process {os.getpid()}"), begin(store):
        pass
    with begin(store):
        pass


def test_the_lock_of_a_dead_process_is_taken_over(store: ResultStore) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    store.work.mkdir(parents=True)
    lock = store.work / "lock"
    lock.write_text(json.dumps({"pid": child.pid, "started": 1.0, "host": socket.gethostname()}))
    with begin(store):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()


def test_a_pid_that_now_belongs_to_another_process_is_dead(store: ResultStore) -> None:
    store.work.mkdir(parents=True)
    sign = this_process()
    (store.work / "lock").write_text(json.dumps({**sign, "born": sign["born"] - 100}))
    with begin(store):
        pass


def test_the_lock_of_another_machine_holds(store: ResultStore) -> None:
    store.work.mkdir(parents=True)
    (store.work / "lock").write_text(json.dumps({"pid": 1, "started": 1.0, "host": "elsewhere"}))
    with pytest.raises(OutputError, match=r"on elsewhere.*delete"), begin(store):
        pass


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no space left") as caught, disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "\n" not in str(caught.value)
    with pytest.raises(OSError, match="Interrupted") as other, disk_errors(tmp_path):
        raise OSError(errno.EINTR, "Interrupted")
    assert not isinstance(other.value, OutputError)


def test_parts_come_in_order_of_their_numbers(store: ResultStore) -> None:
    with begin(store):
        store.start_outputs()
        hashes = {
            index: write_nuclei(some_nuclei().with_ids(start), store.part(index))
            for index, start in ((2, 1), (100000, 7), (99999, 4))
        }
        store.parts.write(hashes)
        assert [part.ids[0] for part in store.parts] == [1, 4, 7]
        store.publish({})
    assert [part.ids[0] for part in iter_nuclei(store.directory)] == [1, 4, 7]


def test_no_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a complete wsinuc result"):
        next(iter_nuclei(tmp_path))


def test_the_settings_hash_is_stable() -> None:
    assert settings_hash(SETTINGS) == settings_hash(dict(reversed(SETTINGS.items())))
    assert settings_hash(SETTINGS) != settings_hash({**SETTINGS, "block": 513})
