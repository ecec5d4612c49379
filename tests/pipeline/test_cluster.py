"""Blocks made by worker processes: the same bytes as by threads, few tasks in flight, and who cannot work says so."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.oracle import OracleSegmenter
from helpers.runs import Stop, config, run, tree
from wsinuc.errors import ClusterError, ConfigError, SlideError
from wsinuc.models.freed_memory import environment_of_children, keep_freed_memory
from wsinuc.pipeline.cluster import PER_WORKER
from wsinuc.pipeline.credentials import private_security
from wsinuc.pipeline.executor import Executor, ThreadExecutor, open_executor
from wsinuc.pipeline.executor_config import ExecutorConfig
from wsinuc.pipeline.local_cluster import gpu_worker
from wsinuc.workflows.segment import distribute
from wsinuc.workflows.segment.events import BlockDone, Event
from wsinuc.workflows.segment.run import segment_slide


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with open_executor(ExecutorConfig(kind="processes", workers=2, retries=1)) as executor:
        yield executor


@pytest.fixture(params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Executor:
    return ThreadExecutor(2) if request.param == "threads" else request.getfixturevalue("processes")


def square(item: int) -> int:
    return item * item


def fail_at_three(item: int) -> int:
    if item == 3:
        raise SlideError("three is damaged")
    return item


def nap(item: float) -> float:
    time.sleep(item)
    return item


@dataclass(frozen=True)
class FailOnce:
    """Fails where no earlier attempt has left a file."""

    folder: Path

    def __call__(self, item: int) -> int:
        seen = self.folder / str(item)
        if not seen.exists():
            seen.touch()
            raise OSError("a hiccup")
        return item


def test_every_item_has_its_result(executor: Executor) -> None:
    assert sorted(executor.run(square, range(40))) == [(item, item * item) for item in range(40)]
    assert list(executor.run(square, [])) == []
    assert executor.parallel == 2


def test_items_are_taken_as_there_is_room(executor: Executor) -> None:
    taken = []

    def endless() -> Iterator[int]:
        while True:
            taken.append(len(taken))
            yield taken[-1]

    found = executor.run(square, endless())
    first = [next(found) for _ in range(5)]
    found.close()
    assert all(result == item * item for item, result in first)
    assert len(taken) <= 5 + 2 * PER_WORKER * executor.parallel


def test_what_a_task_raises_arrives_and_nothing_goes_on(executor: Executor) -> None:
    with pytest.raises(SlideError, match="three is damaged"):
        list(executor.run(fail_at_three, range(1000)))
    assert list(executor.run(square, [2])) == [(2, 4)]


def test_results_come_in_the_order_of_completion(executor: Executor) -> None:
    assert [item for item, _ in executor.run(nap, [1.0, 0.0])] == [0.0, 1.0]


def test_several_callers_share_the_workers(executor: Executor) -> None:
    found: dict[int, list[tuple[int, int]]] = {}
    callers = [
        threading.Thread(
            target=lambda k: found.update({k: sorted(executor.run(square, range(k, k + 10)))}), args=(100 * k,)
        )
        for k in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert found == {100 * k: [(item, item * item) for item in range(100 * k, 100 * k + 10)] for k in range(3)}


def test_threads_of_several_callers_are_bounded_together() -> None:
    executor, alive, most, lock = ThreadExecutor(2), 0, 0, threading.Lock()
    together, numbers = threading.Barrier(2), itertools.count()

    def task(item: int) -> None:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
            number = next(numbers)
        if number < 2:
            together.wait(60)
        time.sleep(0.005)
        with lock:
            alive -= 1

    callers = [threading.Thread(target=lambda: list(executor.run(task, range(10)))) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert most == 2


def test_a_failed_task_is_tried_again(processes: Executor, tmp_path: Path) -> None:
    assert sorted(processes.run(FailOnce(tmp_path), range(3))) == [(0, 0), (1, 1), (2, 2)]


def test_everywhere_means_every_worker(processes: Executor) -> None:
    found = processes.everywhere(os.getpid)
    assert len(found) == len(set(found.values())) == 2
    assert os.getpid() not in found.values()
    assert ThreadExecutor(2).everywhere(os.getpid) == {"this process": os.getpid()}


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs signal masks")
def test_signals_of_the_group_are_not_for_workers(processes: Executor) -> None:
    """What a terminal and a batch system send to every process of a command is for the command to heed."""
    ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = processes.everywhere(os.getpid)
    assert all(ending <= blocked for blocked in processes.everywhere(blocked_signals).values())
    for pid in before.values():
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
    assert processes.everywhere(os.getpid) == before
    assert ending.isdisjoint(blocked_signals())


def blocked_signals() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


@pytest.mark.skipif(not environment_of_children(), reason="another C library, or one that was tuned")
def test_workers_keep_the_memory_that_they_have_freed(processes: Executor) -> None:
    # Dask's own settings would give every page back, and nobody could change that once threads have begun.
    assert set(processes.everywhere(keep_freed_memory).values()) == {True}


def test_two_processes_give_the_bytes_of_one_thread(
    processes: Executor, slide: Path, reference: Path, tmp_path: Path
) -> None:
    summary = run(slide, tmp_path / "out", executor=processes)
    assert tree(tmp_path / "out") == tree(reference)
    assert summary.blocks == 12
    assert not (tmp_path / "out" / ".run").exists()


def test_interrupted_there_it_goes_on_here(processes: Executor, slide: Path, reference: Path, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, BlockDone) and event.done == 3:
            raise Stop

    with pytest.raises(Stop):
        run(slide, tmp_path / "out", None, interrupt, executor=processes)
    assert not (tmp_path / "out" / ".run" / "lock").exists()
    assert not list((tmp_path / "out" / ".run" / "blocks").glob("seen-*"))
    assert run(slide, tmp_path / "out").resumed_blocks >= 3
    assert tree(tmp_path / "out") == tree(reference)


def test_a_region_is_cut_by_the_workers_alike(processes: Executor, slide: Path, tmp_path: Path, monkeypatch) -> None:
    ring = "[[205, 303], [455, 303], [455, 650], [205, 650], [205, 303]]"
    (tmp_path / "roi.geojson").write_text(f'{{"type": "Polygon", "coordinates": [{ring}]}}')
    monkeypatch.chdir(tmp_path)  # where the workers are not
    run(slide, Path("here"), roi=Path("roi.geojson"), semantic=True)
    run(slide, Path("there"), roi=Path("roi.geojson"), semantic=True, executor=processes)
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert (tmp_path / "there/labels.ome.zarr/labels/semantic/0/c").is_dir()


@dataclass(frozen=True)
class Elsewhere(OracleSegmenter):
    """Computes differently in a worker process."""

    @property
    def identity(self) -> str:
        return f"oracle of {os.getpid()}"

    def __reduce__(self) -> tuple[object, ...]:
        return Elsewhere, ()


def test_workers_that_compute_differently_are_refused(processes: Executor, slide: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"worker tls://.*differs from that of the other workers"):
        segment_slide(slide, tmp_path / "out", config(), segmenter=Elsewhere(), executor=processes)
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_worker_without_the_slide_says_so(processes: Executor, slide: Path, tmp_path: Path, monkeypatch) -> None:
    make = distribute._spec
    lost = tmp_path / "lost.tiff"
    monkeypatch.setattr(distribute, "_spec", lambda *args: _replaced(make(*args), slide=lost))
    with pytest.raises(ClusterError, match=r"worker tls://.*lost\.tiff: no such file"):
        run(slide, tmp_path / "out", executor=processes)
    other = tmp_path / "other.tiff"
    other.write_bytes(slide.read_bytes() + b"more")
    monkeypatch.setattr(distribute, "_spec", lambda *args: _replaced(make(*args), slide=other))
    with pytest.raises(ClusterError, match=r"worker tls://.*is another file here"):
        run(slide, tmp_path / "out", executor=processes)


def test_a_worker_with_another_output_says_so(processes: Executor, slide: Path, tmp_path: Path, monkeypatch) -> None:
    make = distribute._spec
    monkeypatch.setattr(distribute, "_spec", lambda *args: _replaced(make(*args), directory=tmp_path / "elsewhere"))
    with pytest.raises(ClusterError, match="elsewhere cannot be seen"):
        run(slide, tmp_path / "out", executor=processes)
    (tmp_path / "elsewhere" / ".run" / "blocks").mkdir(parents=True)
    settings = tmp_path / "out" / ".run" / "settings.json"
    (tmp_path / "elsewhere" / ".run" / "settings.json").write_bytes(settings.read_bytes())
    with pytest.raises(ClusterError, match="writes to another"):
        run(slide, tmp_path / "out", executor=processes)


def _replaced(spec, **changes):
    from dataclasses import replace

    return replace(spec, **changes)


def test_a_process_for_a_gpu_sees_that_gpu_alone() -> None:
    options = gpu_worker("3", 4, 10**9, private_security())["options"]
    assert options["env"] == {"CUDA_VISIBLE_DEVICES": "3"}
    assert options["resources"] == {"accelerator": 4}
    assert options["nthreads"] == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "magic"}, "expected one of threads, processes, scheduler"),
        ({"kind": "scheduler"}, "got none"),
        ({"kind": "scheduler", "address": "tcp://a:1", "scheduler_file": Path("f")}, "got both"),
        ({"kind": "threads", "address": "tcp://a:1"}, "belongs to kind 'scheduler'"),
        ({"kind": "scheduler", "address": "tcp://a:1", "gpus": ("0",)}, "processes of this machine"),
        ({"workers": 0}, "at least 1"),
        ({"task_timeout_s": 0.0}, "above 0"),
        ({"task_timeout_s": float("nan")}, "above 0"),
        ({"memory_limit": "lots"}, "is no size: expected one like 4GB"),
        ({"memory_limit": "-4GB"}, "at least 300MB"),
        ({"memory_limit": "0"}, "at least 300MB"),
        ({"memory_limit": "nan"}, "is no size"),
        ({"kind": "scheduler", "address": "tls://a:1", "tls_cert": Path("c")}, "missing: tls_ca_file, tls_key"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExecutorConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("by_file", [False, True])
def test_a_tls_scheduler_without_certificates_is_refused_at_once(tmp_path: Path, by_file: bool) -> None:
    (tmp_path / "s.json").write_text('{"address": "tls://127.0.0.1:9"}')
    where = {"scheduler_file": tmp_path / "s.json"} if by_file else {"address": "tls://127.0.0.1:9"}
    with pytest.raises(ClusterError, match="--tls-ca-file"), open_executor(ExecutorConfig(kind="scheduler", **where)):
        pass


@pytest.mark.parametrize("by_file", [False, True])
def test_a_scheduler_without_tls_is_refused_where_certificates_are_given(tmp_path: Path, by_file: bool) -> None:
    (tmp_path / "s.json").write_text('{"address": "tcp://127.0.0.1:9"}')
    (tmp_path / "pem").write_text("never read")
    where = {"scheduler_file": tmp_path / "s.json"} if by_file else {"address": "tcp://127.0.0.1:9"}
    tls = dict.fromkeys(("tls_ca_file", "tls_cert", "tls_key"), tmp_path / "pem")
    with (
        pytest.raises(ClusterError, match="does not speak TLS"),
        open_executor(ExecutorConfig(kind="scheduler", **where, **tls)),
    ):
        pass


def test_no_scheduler_is_one_clear_error() -> None:
    settings = ExecutorConfig(kind="scheduler", address="tcp://127.0.0.1:9", wait_s=0.5)
    with pytest.raises(ClusterError, match=r"no scheduler at tcp://127\.0\.0\.1:9"), open_executor(settings):
        pass
