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
    task: Callable[[Item], Result], waiting: Iterator[Item], workers: int
) -> Generator[tuple[Item, Result], None, None]:
    results: Queue[tuple[Item, Result] | None] = Queue(maxsize=workers)
    stop = threading.Event()
    taking = threading.Lock()
    failures: list[BaseException] = []

    def take() -> list[Item]:
        """The next item, if there is one; a source is no more thread-safe than a list's iterator."""
        with taking:
            return [] if stop.is_set() else list(islice(waiting, 1))

    def work() -> None:
        try:
            while taken := take():
                results.put((taken[0], task(taken[0])))
        except BaseException as error:  # carried over to the consumer's thread, which raises it
            failures.append(error)
            stop.set()

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
        while (finished := results.get()) is not None:
            yield finished
    finally:
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
