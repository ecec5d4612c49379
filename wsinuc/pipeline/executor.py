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
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from wsinuc.errors import ConfigError
from wsinuc.pipeline.run import run_blocks

Item = TypeVar("Item")
Result = TypeVar("Result")

KINDS = ("threads", "processes", "scheduler")
ACCELERATOR = "accelerator"
"""Name of the worker resource; ``dask worker --resources accelerator=2`` takes two blocks at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """Which workers, and how patient to be with them."""

    kind: str = "threads"
    """``threads`` of this process, ``processes`` on this machine, or the workers of a ``scheduler`` that runs already.
    """
    workers: int = 2
    """Threads, or processes; with ``gpus`` there is one process for each of these instead."""
    threads: int | None = None
    """Blocks at once in each process; None is 1, and 4 for a process with a GPU, which would idle
    while one block is measured."""
    gpus: tuple[str, ...] = ()
    """Devices as ``CUDA_VISIBLE_DEVICES`` names them, for ``processes``."""
    memory_limit: str = "auto"
    """Of each process, such as ``4GB``; one that exceeds it is restarted. ``auto`` shares out the machine's memory."""
    address: str | None = None
    """Of the scheduler: ``tcp://host:8786`` or ``tls://host:8786``."""
    scheduler_file: Path | None = None
    """What the scheduler wrote its address to, instead of ``address``."""
    tls_ca_file: Path | None = None
    """Certificate that signed those of scheduler and workers."""
    tls_cert: Path | None = None
    """This client's certificate."""
    tls_key: Path | None = None
    """Its key."""
    retries: int = 3
    """How often a task that failed, or lost its worker, is tried again."""
    task_timeout_s: float | None = 3600.0
    """A task that takes longer hangs: its worker is restarted. None waits for ever."""
    wait_s: float = 60.0
    """How long to wait for the scheduler, and for its first worker."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"unknown kind of executor {self.kind!r}: expected one of {', '.join(KINDS)}")
        for name, low in (("workers", 1), ("threads", 1), ("retries", 0)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"{name} must be at least {low}, got {value}")
        if self.task_timeout_s is not None and self.task_timeout_s <= 0:
            raise ConfigError(f"a block needs more than {self.task_timeout_s:g} s: give a limit above 0, or none")
        self._check_kind()
        self._check_tls()

    def _check_kind(self) -> None:
        given = self.address is not None, self.scheduler_file is not None
        if self.kind == "scheduler" and sum(given) != 1:
            raise ConfigError(
                "the scheduler needs either its address or its scheduler file, "
                + ("got both", "got none")[not any(given)]
            )
        if self.kind != "scheduler" and any(given):
            raise ConfigError(f"an address belongs to kind 'scheduler', got it with {self.kind!r}")
        if self.gpus and self.kind != "processes":
            raise ConfigError(
                f"gpus are for processes of this machine, got them with {self.kind!r}: a cluster's workers "
                "choose their own"
            )

    def _check_tls(self) -> None:
        tls = {"tls_ca_file": self.tls_ca_file, "tls_cert": self.tls_cert, "tls_key": self.tls_key}
        missing = [name for name, path in tls.items() if path is None]
        if len(missing) == len(tls):
            return
        if missing:
            raise ConfigError(f"TLS needs a CA file, a certificate and its key; missing: {', '.join(missing)}")
        if self.kind != "scheduler":
            raise ConfigError("TLS protects the way to a scheduler: it needs kind 'scheduler'")
        for name, path in tls.items():
            if path is not None and not path.is_file():
                raise ConfigError(f"{name}: there is no file {path}")


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

        with closing(run_blocks(work, items, self.parallel)) as finished:
            yield from finished

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
    from wsinuc.pipeline.cluster import ClusterExecutor  # distributed takes 0.6 s to import

    return ClusterExecutor(config)
