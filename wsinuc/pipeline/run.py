"""Many independent jobs at once, never more than a fixed number.

``run_blocks`` takes a function and the items it is for, and yields each result as soon as it is there. What is alive at
any time is bounded by the number of workers, not by the number of items: a slide of 40,000 blocks needs no more memory
than one of 40. Two schedulers do the same: ``threads`` hands the jobs to Dask's threaded scheduler, ``loop`` is the
plain loop that it is checked against.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any, TypeVar

import dask.threaded

from wsinuc.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

SCHEDULERS = ("threads", "loop")


def run_blocks(
    task: Callable[[Item], Result], blocks: Iterable[Item], workers: int, *, scheduler: str = "threads"
) -> Generator[tuple[Item, Result], None, None]:
    """Yield ``(block, task(block))`` for every block, in the order in which they finish.

    When a task raises, or the consumer stops (Ctrl-C included), no further block is started, the blocks that are
    running are waited for, and the exception goes on. A consumer slower than the workers makes them wait.

    Examples
    --------
    >>> sorted(run_blocks(abs, [-2, 1], workers=2))
    [(-2, 2), (1, 1)]
    """
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    if scheduler == "loop":
        return ((block, task(block)) for block in blocks)
    if scheduler == "threads":
        return _run_threads(task, deque(blocks), workers)
    raise ConfigError(f"unknown scheduler {scheduler!r}: expected one of {', '.join(SCHEDULERS)}")


def _run_threads(
    task: Callable[[Item], Result], waiting: deque[Item], workers: int
) -> Generator[tuple[Item, Result], None, None]:
    results: Queue[tuple[Item, Result] | None] = Queue(maxsize=workers)
    stop = threading.Event()
    failures: list[BaseException] = []

    def job() -> None:
        if not stop.is_set():
            block = waiting.popleft()
            results.put((block, task(block)))

    def drive() -> None:
        try:
            _run_graph(job, len(waiting), workers)
        except BaseException as error:  # carried over to the consumer's thread, which raises it
            failures.append(error)
        finally:
            results.put(None)

    driver = threading.Thread(target=drive, name="wsinuc-blocks", daemon=True)
    driver.start()
    try:
        while (finished := results.get()) is not None:
            yield finished
    finally:
        stop.set()
        _drain(results, driver)
    if failures:
        raise failures[0]


def _run_graph(job: Callable[[], None], count: int, workers: int) -> None:
    """Run ``job`` ``count`` times as one Dask graph.

    A job takes the next block in line, because Dask would start with the last. It returns nothing, so the graph holds
    no results. The pool is closed at the end to wait for running jobs when one has failed: Dask raises at once.
    """
    graph: dict[Any, Any] = {("block", index): (job,) for index in range(count)}
    with ThreadPoolExecutor(workers, thread_name_prefix="wsinuc") as pool:
        dask.threaded.get(graph, list(graph), pool=pool)


def _drain(results: Queue[Any], driver: threading.Thread) -> None:
    """Take what running jobs still deliver, so that none blocks on a full queue, until the driver has ended."""
    while driver.is_alive():
        while not results.empty():
            results.get_nowait()
        driver.join(timeout=0.02)
