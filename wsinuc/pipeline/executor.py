"""Who does the work: threads of this process, processes of this machine, or the workers of a Dask cluster.

Whoever has many independent jobs takes an ``Executor`` and calls ``run``: results come in the order
of completion, items are taken from their source only when there is room for them, and nothing grows
with their number. Several threads (one per slide, say) may call ``run`` of one executor at once and
share its workers.

A task must be a pure function of its item that may be done again: workers die, and what they had is given to others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Protocol, TypeVar

from wsinuc.errors import ConfigError
from wsinuc.pipeline.executor_config import ExecutorConfig
from wsinuc.pipeline.run import run_blocks

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs a task for many items; get one from ``open_executor``."""

    @property
    def parallel(self) -> int:
        """Tasks alive at once."""
        ...

    @property
    def shares_memory(self) -> bool:
        """Whether tasks run in this process: then they need not be pickled, and see what the caller has open."""
        ...

    @property
    def dashboard(self) -> str | None:
        """Address of Dask's dashboard, if there is one."""
        ...

    def run(
        self, task: Callable[[Item], Result], items: Iterable[Item], *, accelerator: bool = False
    ) -> Generator[tuple[Item, Result], None, None]:
        """Yield ``(item, task(item))`` in the order of completion.

        Parameters
        ----------
        accelerator
            The task wants one: workers that declare the resource get it, if any does.

        Raises
        ------
        Exception
            What a task raised, after its retries. No further task is begun then, or when the consumer stops; those
            that run are waited for.
        ClusterError
            A task lost its worker again and again, or the scheduler is gone.
        """
        ...

    def everywhere(self, task: Callable[[], Result], *, accelerator: bool = False) -> dict[str, Result]:
        """``task()`` once on every worker (that has an accelerator, if any has), by its address;
        raises what it raised."""
        ...

    def close(self) -> None:
        """Let the workers go; those of a foreign scheduler stay."""
        ...


class ThreadExecutor:
    """An ``Executor`` that works in threads of this process, through Dask's threaded scheduler."""

    shares_memory = True
    dashboard = None

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}")
        self.parallel = workers
        self._room = threading.BoundedSemaphore(workers)

    def run(
        self, task: Callable[[Item], Result], items: Iterable[Item], *, accelerator: bool = False
    ) -> Generator[tuple[Item, Result], None, None]:
        """See ``Executor``; several callers together have no more tasks alive than one."""

        def work(item: Item) -> Result:
            with self._room:
                return task(item)

        with closing(run_blocks(work, items, self.parallel)) as results:
            yield from results

    def everywhere(self, task: Callable[[], Result], *, accelerator: bool = False) -> dict[str, Result]:
        """See ``Executor``; this process is the only worker."""
        return {"this process": task()}

    def close(self) -> None:
        """See ``Executor``; there is nothing to let go."""


@contextmanager
def open_executor(config: ExecutorConfig) -> Iterator[Executor]:
    """The executor that the config asks for; closed at the end.

    Raises
    ------
    ClusterError
        The scheduler cannot be reached, or it has no worker.
    """
    executor = _start(config)
    try:
        yield executor
    finally:
        executor.close()


def _start(config: ExecutorConfig) -> Executor:
    if config.kind == "threads":
        return ThreadExecutor(config.workers)
    # distributed takes 0.6 s to import, which runs in threads do without.
    from wsinuc.pipeline.cluster import ClusterExecutor

    return ClusterExecutor(config)
