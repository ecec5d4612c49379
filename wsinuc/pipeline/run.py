"""Many independent jobs at once, never more than a fixed number.

``run_blocks`` takes a function and the items it is for, and yields each result as soon as it is
there. What is alive at any time is bounded by the number of workers, not by the number of items,
which are taken from their source one by one: a slide of 40,000 blocks needs no more memory than one
of 40. Two schedulers do the same: ``threads`` gives Dask's threaded scheduler one task per worker,
each of which takes items until none is left; ``loop`` is the plain loop that it is checked against.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import Queue
from typing import Any, TypeVar

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
        return _run_threads(task, iter(blocks), workers)
    raise ConfigError(f"unknown scheduler {scheduler!r}: expected one of {', '.join(SCHEDULERS)}")


def _run_threads(
    task: Callable[[Item], Result], source: Iterator[Item], workers: int
) -> Generator[tuple[Item, Result], None, None]:
    # Bounded, so that a slow consumer makes the workers wait; None says that they are through.
    results: Queue[tuple[Item, Result] | None] = Queue(maxsize=workers)
    stop = threading.Event()
    source_lock = threading.Lock()
    failures: list[BaseException] = []

    def next_item() -> list[Item]:
        """The next item in a list, which is empty when there is none or the run has stopped."""
        with source_lock:  # a generator must not be entered by two threads at once
            if stop.is_set():
                return []
            return list(islice(source, 1))

    def work() -> None:
        try:
            while items := next_item():
                results.put((items[0], task(items[0])))
        except BaseException as error:  # carried over to the consumer's thread, which raises it
            failures.append(error)
            stop.set()

    # Dask's scheduler blocks its caller, and this generator has to yield meanwhile: hence a thread of its own.
    def drive() -> None:
        try:
            _run_graph(work, workers)
        except BaseException as error:
            failures.append(error)
        finally:
            results.put(None)

    driver = threading.Thread(target=drive, name="wsinuc-blocks", daemon=True)
    driver.start()
    try:
        while (result := results.get()) is not None:
            yield result
    finally:
        # Also when the consumer breaks off: no thread of ours is at work when this has returned.
        stop.set()
        _drain(results, driver)
    if failures:
        raise failures[0]


def _run_graph(work: Callable[[], None], workers: int) -> None:
    """Run ``work`` once in each of ``workers`` threads, as one Dask graph; it returns nothing, so
    the graph holds nothing."""
    import dask.threaded  # takes a sixth of a second, which a plan does without

    graph: dict[Any, Any] = {("worker", index): (work,) for index in range(workers)}
    with ThreadPoolExecutor(workers, thread_name_prefix="wsinuc") as pool:
        dask.threaded.get(graph, list(graph), pool=pool)


def _drain(results: Queue[Any], driver: threading.Thread) -> None:
    """Take what running jobs still deliver, so that none blocks on a full queue, until the driver has ended."""
    while driver.is_alive():
        while not results.empty():
            results.get_nowait()
        driver.join(timeout=0.02)
