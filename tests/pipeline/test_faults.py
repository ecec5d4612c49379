"""Everything that dies: workers, clients, schedulers, slides. No nucleus is lost, doubled or changed by it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from helpers.oracle import OracleSegmenter, write_slide
from helpers.runs import run, tree
from wsinuc.errors import ClusterError, SlideError
from wsinuc.pipeline.block_worker import check_output
from wsinuc.pipeline.executor import ThreadExecutor, open_executor
from wsinuc.pipeline.executor_config import ExecutorConfig
from wsinuc.pipeline.guard import Guarded, end_run
from wsinuc.store import ResultStore, settings_hash
from wsinuc.workflows.segment.events import BlockDone, Event

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
CLIENT = """
import sys
from pathlib import Path
from helpers.runs import run
from helpers.oracle import OracleSegmenter
from wsinuc.pipeline.executor import open_executor
from wsinuc.pipeline.executor_config import ExecutorConfig
if __name__ == "__main__":
    kind = dict(kind="scheduler", scheduler_file=Path(sys.argv[3])) if len(sys.argv) > 3 else dict(kind="processes")
    with open_executor(ExecutorConfig(**kind)) as executor:
        print("ready", flush=True)
        run(Path(sys.argv[1]), Path(sys.argv[2]), OracleSegmenter(delay=0.05), executor=executor)
"""


@dataclass(frozen=True)
class Faulty(OracleSegmenter):
    """The oracle, but one tile does something terrible to its worker, some times; the same identity and result."""

    folder: Path = Path()
    fault: str = "none"
    times: int = 1

    def __reduce__(self) -> tuple[object, ...]:
        settings = {"folder": self.folder, "fault": self.fault, "times": self.times, "delay": self.delay}
        return _faulty, (settings,)

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        # Tiles and not batches: a worker that has scored a part of a batch before makes another batch of it.
        tiles = [hashlib.sha256(tile.tobytes()).hexdigest() for tile in pixels]
        victim = self.folder / "victim"
        with suppress(FileExistsError), victim.open("x") as file:
            file.write(tiles[0])  # the first tile of all is the one
        attempt = len(list(self.folder.glob("attempt-*")))
        if victim.read_text() in tiles and attempt < self.times:
            (self.folder / f"attempt-{attempt}").touch()
            FAULTS[self.fault]()
        return super().predict(pixels)


def _faulty(settings: dict[str, object]) -> Faulty:
    return Faulty(**settings)  # type: ignore[arg-type]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    time.sleep(600)


def _swallow() -> None:
    held = []
    while True:
        held.append(np.ones(2**23, np.uint8))
        time.sleep(0.02)


FAULTS = {"die": _die, "hang": _hang, "swallow": _swallow}


def faulty(folder: Path, fault: str, times: int = 1) -> Faulty:
    folder.mkdir()
    return Faulty(folder=folder, fault=fault, times=times)


@contextmanager
def cluster(folder: Path, *worker_options: list[str]) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A real scheduler and workers, each a process of its own; its scheduler file, and the scheduler."""
    file = folder / f"scheduler-{time.monotonic_ns()}.json"
    dask = [sys.executable, "-m", "dask"]
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    worker = ["worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
    commands = [[*dask, *scheduler], *([*dask, *worker, *options] for options in worker_options)]
    options = {"env": ENVIRONMENT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    started = [subprocess.Popen(command, **options) for command in commands]  # type: ignore[call-overload]
    try:
        yield file, started[0]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


@pytest.mark.slow
def test_a_worker_killed_in_mid_block_changes_nothing(slide: Path, reference: Path, tmp_path: Path) -> None:
    segmenter = faulty(tmp_path / "faults", "die")
    with open_executor(ExecutorConfig(kind="processes", workers=2)) as executor:
        run(slide, tmp_path / "out", segmenter, executor=executor)
    assert (segmenter.folder / "attempt-0").exists()
    assert tree(tmp_path / "out") == tree(reference)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hang", "swallow"])
def test_a_worker_that_hangs_or_eats_memory_is_replaced(
    slide: Path, reference: Path, tmp_path: Path, fault: str
) -> None:
    segmenter = faulty(tmp_path / "faults", fault)
    settings = ExecutorConfig(kind="processes", workers=2, memory_limit="900MB", task_timeout_s=30)
    with open_executor(settings) as executor:
        run(slide, tmp_path / "out", segmenter, executor=executor)
    assert (segmenter.folder / "attempt-0").exists()
    assert tree(tmp_path / "out") == tree(reference)


@pytest.mark.slow
def test_a_block_that_always_kills_is_reported_and_the_rest_kept(slide: Path, reference: Path, tmp_path: Path) -> None:
    segmenter = faulty(tmp_path / "faults", "swallow", times=99)
    settings = ExecutorConfig(kind="processes", workers=2, memory_limit="900MB", retries=1)
    with open_executor(settings) as executor:
        with pytest.raises(ClusterError, match=r"plane\.tiff, block \d+: the worker died in each of 2 attempts"):
            run(slide, tmp_path / "out", segmenter, executor=executor)
        assert not (tmp_path / "out" / ".run" / "lock").exists()
        run(slide, tmp_path / "out", executor=executor)
    assert tree(tmp_path / "out") == tree(reference)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_processes_gives_the_same_bytes(
    slide: Path, reference: Path, tmp_path: Path, workers: int
) -> None:
    with open_executor(ExecutorConfig(kind="processes", workers=workers)) as executor:
        run(slide, tmp_path / "out", executor=executor)
    assert tree(tmp_path / "out") == tree(reference)


@pytest.mark.slow
def test_a_real_scheduler_with_workers_of_its_own(slide: Path, reference: Path, tmp_path: Path) -> None:
    with cluster(tmp_path, [], ["--resources", "accelerator=1"]) as (file, _):
        settings = ExecutorConfig(kind="scheduler", scheduler_file=file)
        with open_executor(settings) as executor:
            while executor.parallel < 2:
                time.sleep(1)
            here = executor.everywhere(os.getpid)
            (accelerated,) = executor.everywhere(os.getpid, accelerator=True).values()
            assert len(here) == 2
            assert {pid for _, pid in executor.run(_pid, range(9), accelerator=True)} == {accelerated}
            run(slide, tmp_path / "out", executor=executor)
    assert tree(tmp_path / "out") == tree(reference)


def _pid(item: int) -> int:
    return os.getpid()


@pytest.mark.slow
@pytest.mark.parametrize("own_workers", [True, False])
def test_a_killed_client_leaves_what_is_done(slide: Path, reference: Path, tmp_path: Path, own_workers: bool) -> None:
    with cluster(tmp_path, *([] if own_workers else [[], []])) as (file, _):
        arguments = [str(slide), str(tmp_path / "out"), *([] if own_workers else [str(file)])]
        (tmp_path / "client.py").write_text(CLIENT)
        client = subprocess.Popen([sys.executable, str(tmp_path / "client.py"), *arguments], env=ENVIRONMENT)
        wait_for_blocks(tmp_path / "out", 3)
        client.send_signal(signal.SIGKILL)
        client.wait(30)
        if own_workers:
            assert run(slide, tmp_path / "out").resumed_blocks >= 3
        else:
            with open_executor(ExecutorConfig(kind="scheduler", scheduler_file=file)) as executor:
                assert run(slide, tmp_path / "out", executor=executor).resumed_blocks >= 3
    assert tree(tmp_path / "out") == tree(reference)


def wait_for_blocks(out: Path, count: int) -> None:
    give_up = time.monotonic() + 120
    while len(list((out / ".run" / "done").glob("*.json"))) < count:
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_scheduler_is_said_and_the_next_run_goes_on(slide: Path, reference: Path, tmp_path: Path) -> None:
    with cluster(tmp_path, [], []) as (file, scheduler):
        settings = ExecutorConfig(kind="scheduler", scheduler_file=file, wait_s=20)

        def kill(event: Event) -> None:
            if isinstance(event, BlockDone) and event.done == 3:
                scheduler.send_signal(signal.SIGKILL)

        with (
            open_executor(settings) as executor,
            pytest.raises(ClusterError, match="connection to the scheduler is lost"),
        ):
            run(slide, tmp_path / "out", OracleSegmenter(delay=0.05), kill, executor=executor)
    with (
        cluster(tmp_path, [], []) as (file, _),
        open_executor(ExecutorConfig(kind="scheduler", scheduler_file=file)) as executor,
    ):
        assert run(slide, tmp_path / "out", executor=executor).resumed_blocks >= 3
    assert tree(tmp_path / "out") == tree(reference)


def test_a_slide_that_vanishes_in_mid_run_spoils_no_block(tmp_path: Path) -> None:
    # Large enough that samples and the first blocks leave something for the reader to decode.
    copy = write_slide(tmp_path / "plane.tiff", (900, 1300), levels=2)
    content = copy.read_bytes()
    run(copy, tmp_path / "whole")

    def vanish(event: Event) -> None:
        if isinstance(event, BlockDone) and event.done == 3:
            os.truncate(copy, 0)

    with pytest.raises(SlideError, match=r"changed or removed|cannot open|is empty"):
        run(copy, tmp_path / "out", OracleSegmenter(delay=0.05), vanish)
    copy.write_bytes(content)
    summary = run(copy, tmp_path / "out")
    assert 3 <= summary.resumed_blocks < summary.blocks
    assert summary.unreadable == ()
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


class Backwards(ThreadExecutor):
    """Hands on everything in the opposite order."""

    def run(self, task, items, *, accelerator=False):
        yield from reversed(list(super().run(task, items, accelerator=accelerator)))


def test_the_order_of_completion_changes_nothing(slide: Path, reference: Path, tmp_path: Path) -> None:
    run(slide, tmp_path / "out", executor=Backwards(3))
    assert tree(tmp_path / "out") == tree(reference)


def test_a_task_that_outlived_its_client_does_not_write_into_the_next_run(slide: Path, tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "out")
    with store.open_run({"tissue": "none"}, resume=True, overwrite=False):
        check_output(store, settings_hash({"tissue": "none"}))
        with pytest.raises(ClusterError, match="taken over"):
            check_output(store, settings_hash({"tissue": "auto"}))


def test_an_ended_run_begins_no_task_and_counts_those_that_run() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(item: int) -> None:
        begun.set()
        go_on.wait(30)

    thread = threading.Thread(target=Guarded(wait, "one run", None), args=(1,))
    thread.start()
    assert begun.wait(30)
    assert (end_run("another run"), end_run("one run")) == (0, 1)
    with pytest.raises(ClusterError, match="stopped"):
        Guarded(wait, "one run", None)(2)
    go_on.set()
    thread.join(30)
    assert end_run("one run") == 0


def test_a_task_past_its_limit_ends_the_process() -> None:
    calls = "Guarded(abs, 'r', 99)(1); Guarded(time.sleep, 'r', 0.2)(3600)"
    code = f"import time; from wsinuc.pipeline.guard import Guarded; {calls}"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
