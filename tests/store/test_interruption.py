"""A run that is killed, interrupted, or meets a full disk: what is kept, and that the end is the same."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.oracle import OracleSegmenter
from helpers.runs import run, tree
from wsinuc.errors import OutputError
from wsinuc.store import ResultStore
from wsinuc.store.manifest import inspect
from wsinuc.workflows.segment import run as segment
from wsinuc.workflows.segment.events import BlockDone, Event

CHILD = """
import sys
from pathlib import Path
from helpers.oracle import OracleSegmenter
from wsinuc.config import SegmentConfig
from wsinuc.workflows.segment.run import segment_slide
config = SegmentConfig(tissue="none", block=256, workers=2)
print("ready", flush=True)
segment_slide(Path(sys.argv[1]), Path(sys.argv[2]), config, segmenter=OracleSegmenter(delay=0.004))
"""


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_it_is_the_same(
    slide: Path, reference: Path, tmp_path: Path, kills: int
) -> None:
    out = tmp_path / "out"
    rng = random.Random(7)
    for _ in range(kills):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(slide), str(out)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.0, 0.9))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert not (out / "nuclei").exists() or ResultStore(out).work.exists() or inspect(out).is_whole
        if inspect(out).is_whole:  # killed too late: it must be right already, and we begin again
            with pytest.raises(OutputError, match="complete"):
                run(slide, out)
            assert tree(out) == tree(reference)
            shutil.rmtree(out)
    if not inspect(out).is_whole:
        run(slide, out)
    assert tree(out) == tree(reference)


def test_interrupted_it_keeps_finished_blocks_and_goes_on(slide: Path, reference: Path, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, BlockDone) and event.done == 5:
            raise KeyboardInterrupt

    first = OracleSegmenter()
    with pytest.raises(KeyboardInterrupt):
        run(slide, tmp_path / "out", first, interrupt)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".run"]
    assert not (tmp_path / "out" / ".run" / "lock").exists()
    second = OracleSegmenter()
    summary = run(slide, tmp_path / "out", second)
    assert 5 <= summary.resumed_blocks < summary.blocks
    assert summary.seconds_per_mm2 is None
    again = OracleSegmenter()
    run(slide, tmp_path / "whole", again)
    assert sum(second.batches) < sum(again.batches)
    assert tree(tmp_path / "out") == tree(reference)


def test_interrupted_while_writing_it_shows_nothing_half(
    slide: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every output in turn, of one run that is begun again each time."""

    def fail(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for writer in (
        (segment, "write_nuclei"),
        (segment, "write_copy"),
        (segment, "render_labels"),
        (segment, "write_geojson"),
        (segment.Preview, "write"),
        (segment, "write_report"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(*writer, fail)
            with pytest.raises(OutputError, match=r"no space left.*goes on"):
                run(slide, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".run"], writer
    assert run(slide, tmp_path / "out").resumed_blocks == 12
    assert tree(tmp_path / "out") == tree(reference)


def test_a_disk_that_fills_up_during_the_blocks_keeps_what_is_whole(
    slide: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    add = ResultStore.add

    def full(self, entry, nuclei):
        nonlocal written
        written += 1
        if written > 4:
            self.shard(entry.block).write_bytes(b"PAR1")
            raise OSError(errno.ENOSPC, "No space left on device")
        return add(self, entry, nuclei)

    with monkeypatch.context() as patch:
        patch.setattr(ResultStore, "add", full)
        with pytest.raises(OutputError, match="no space left"):
            run(slide, tmp_path / "out")
    assert run(slide, tmp_path / "out").resumed_blocks == 4
    assert tree(tmp_path / "out") == tree(reference)
