"""An ``Executor`` over dask.distributed: a bounded stream of tasks through the workers of a scheduler.

A graph is never built: a few tasks per worker are in flight, and one that is finished makes room
for the next item. The scheduler retries what failed and gives a lost worker's tasks to others; what
still fails is raised here, by a message that says which item it was. See ``guard`` for what happens
on the workers.
"""

from __future__ import annotations

import logging
import shutil
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from functools import partial
from itertools import count, islice
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import dask
from distributed import Client, Future, KilledWorker, Security, SpecCluster

from wsinuc.errors import ClusterError
from wsinuc.grid import Block
from wsinuc.leaving import owe, settle
from wsinuc.pipeline.executor_config import ACCELERATOR, ExecutorConfig
from wsinuc.pipeline.guard import Guarded, end_run
from wsinuc.pipeline.local_cluster import has_dashboard, start_local_cluster
from wsinuc.store.files import read_json

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)

PER_WORKER = 8
"""Tasks in flight for each that can run, sent when half of them are done: no worker waits, and messages are few."""
LOOK_S = 5.0
"""How often to look which workers there are."""
PATIENCE_S = 60.0
"""How long a stopped run waits for its running tasks before it restarts their workers."""


class ClusterExecutor:
    """An ``Executor`` whose tasks run in worker processes, ours or those of a scheduler that runs already."""

    shares_memory = False

    def __init__(self, config: ExecutorConfig) -> None:
        self._config = config
        self._seen: dict[str, dict[str, Any]] = {}
        self._seen_at = -LOOK_S
        self._cluster: SpecCluster | None = None
        # What is open is closed when the next step fails; afterwards closing it is up to `close`.
        with ExitStack() as stack:
            if config.kind == "processes":
                self._cluster = _own_processes(config, stack)
            self._client = _connect(config, self._cluster)
            stack.callback(self._client.close)
            self._resources = stack.pop_all()

    @property
    def parallel(self) -> int:
        """Tasks alive at once: the threads of all workers."""
        return max(1, _slots(self._workers(), accelerator=False))

    @property
    def dashboard(self) -> str | None:
        """Address of the dashboard, if Dask can show one; processes of our own have none, see ``local_cluster``."""
        if self._cluster is not None or not has_dashboard():
            return None
        return self._client.dashboard_link or None

    def run(
        self, task: Callable[[Item], Result], items: Iterable[Item], *, accelerator: bool = False
    ) -> Generator[tuple[Item, Result], None, None]:
        """See ``Executor``."""
        needs = None
        if accelerator and _accelerators(self._workers()):
            needs = {ACCELERATOR: 1}
        stream = _Stream(self._client, self._config, task, needs)
        source = iter(items)

        def fill() -> None:
            most = PER_WORKER * max(1, _slots(self._workers(), accelerator=accelerator))
            # Not one by one: several in one message cost the scheduler little more than one.
            if len(stream.pending) <= most // 2:
                stream.submit(list(islice(source, most - len(stream.pending))))

        try:
            fill()
            while stream.pending:
                results = stream.collect(self._wait(stream))
                # Before results are handed out: the workers go on while the caller is at them.
                fill()
                yield from results
        finally:
            stream.stop()

    def everywhere(self, task: Callable[[], Result], *, accelerator: bool = False) -> dict[str, Result]:
        """See ``Executor``."""
        workers = self._workers()
        addresses = (accelerator and _accelerators(workers)) or list(workers)
        futures = {
            # The key is new each time: Dask takes a task of a known key for done.
            address: self._client.submit(task, workers=[address], priority=1, key=f"check-{uuid.uuid4().hex}")
            for address in addresses
        }
        return {address: answer for address, future in futures.items() for answer in self._answer(address, future)}

    def close(self) -> None:
        """Disconnect; processes of our own end."""
        self._resources.close()

    def _answer(self, address: str, future: Future[Any]) -> list[Any]:
        """The answer of one worker, in a list; an empty list when it has left meanwhile."""
        while True:
            try:
                return [future.result(timeout=LOOK_S)]
            except TimeoutError:
                # A time-out that the task itself raised looks the same, but then the future is done.
                if not future.done() and address not in self._workers(now=True):
                    return []
            except Exception as error:
                raise ClusterError(f"worker {address}: {error}") from error

    def _workers(self, *, now: bool = False) -> dict[str, dict[str, Any]]:
        """Facts of the connected workers by address, at most a few seconds old."""
        if now or time.monotonic() - self._seen_at > LOOK_S:
            if self._client.status != "running":
                raise _scheduler_lost()
            try:
                self._seen = dict(self._client.scheduler_info()["workers"])
            except (OSError, TimeoutError) as error:
                raise _scheduler_lost() from error
            self._seen_at = time.monotonic()
        return self._seen

    def _wait(self, stream: _Stream) -> list[Future[Any]]:
        """Finished futures, at least one; raises ClusterError when nobody is left to finish any."""
        alone_since: float | None = None
        while True:
            try:
                return stream.next_batch(timeout_s=LOOK_S)
            except Empty:
                if self._workers(now=True):
                    alone_since = None
                    continue
            alone_since = alone_since or time.monotonic()
            if time.monotonic() - alone_since > self._config.wait_s:
                raise ClusterError(
                    f"all workers have left, and none came within {self._config.wait_s:g} s: start some and "
                    "run the same command again, it goes on where it stopped"
                )


class _Stream:
    """The tasks in flight of one ``run``."""

    def __init__(
        self, client: Client, config: ExecutorConfig, task: Callable[[Any], Any], resources: dict[str, int] | None
    ) -> None:
        self.pending: dict[Future[Any], Any] = {}
        self._client = client
        self._config = config
        self._task = task
        self._resources = resources
        self._name = f"wsinuc-{uuid.uuid4().hex}"
        self._guarded = Guarded(task, self._name, config.task_timeout_s)
        self._numbers = count()
        self._finished: Queue[Future[Any]] = Queue()

    def submit(self, items: list[Any]) -> None:
        """Send tasks for these items."""
        if not items:
            return
        futures = self._client.map(
            self._guarded,
            items,
            key=[(self._name, next(self._numbers)) for _ in items],
            retries=self._config.retries,
            resources=self._resources,
        )
        for future, item in zip(futures, items, strict=True):
            self.pending[future] = item
            future.add_done_callback(self._finished.put)

    def next_batch(self, timeout_s: float) -> list[Future[Any]]:
        """Whatever has finished, at least one; raises ``queue.Empty`` when nothing does in time."""
        batch = [self._finished.get(timeout=timeout_s)]
        while not self._finished.empty():
            batch.append(self._finished.get_nowait())
        return batch

    def collect(self, batch: list[Future[Any]]) -> list[tuple[Any, Any]]:
        """Items with their results; raises what a task raised."""
        try:
            # Waits for those that are done anew, because their worker died and took the result along.
            results = self._client.gather(batch)
        except Exception as error:
            raise self._failure(batch, error) from error
        return [(self.pending.pop(future), result) for future, result in zip(batch, results, strict=True)]

    def stop(self) -> None:
        """Take back what has not begun, and wait for what has: afterwards no worker is at this run."""
        if not self.pending:
            return
        pending = list(self.pending)
        self.pending = {}
        try:
            if self._client.status == "running":
                self._client.cancel(pending)
                self._wait_for_running()
        except (OSError, TimeoutError) as error:
            log.warning("the workers may still be at their last tasks: %s", error)

    def _wait_for_running(self) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while busy := [address for address, tasks in self._count_running().items() if tasks]:
            if time.monotonic() > give_up:
                log.warning("restarting workers that do not end their task: %s", ", ".join(busy))
                self._client.restart_workers(busy, raise_for_error=False)
                return
            time.sleep(0.1)

    def _count_running(self) -> dict[str, int]:
        counts = self._client.run(end_run, self._name, on_error="ignore")
        # A worker that dies meanwhile answers with its error instead of a number.
        return {address: tasks for address, tasks in counts.items() if isinstance(tasks, int)}

    def _failure(self, batch: list[Future[Any]], error: Exception) -> Exception:
        """What to raise where fetching the results of a batch raised ``error``."""
        # Without a failed task it is the connection that broke.
        failed = next((future for future in batch if future.status == "error"), None)
        if failed is None:
            return _scheduler_lost()
        if not isinstance(error, KilledWorker | MemoryError):
            return error
        limit = self._config.task_timeout_s
        hung = ""
        if limit:
            hung = f", or it took longer than {limit:g} s"
        return ClusterError(
            f"{_name(self._task)}, {_name(self.pending[failed])}: the worker died in each of "
            f"{self._config.retries + 1} attempts, most likely out of memory{hung}: use a smaller --block, "
            "fewer --workers or a larger --memory-limit, look into the workers' log, then run the same command "
            "again, it goes on where it stopped"
        )


def _own_processes(config: ExecutorConfig, stack: ExitStack) -> SpecCluster:
    """Worker processes of this machine, and a scratch folder for them; both end when ``stack`` is closed."""
    scratch = stack.enter_context(TemporaryDirectory(prefix="wsinuc-", ignore_cleanup_errors=True))
    stack.callback(settle, owe(partial(shutil.rmtree, scratch, ignore_errors=True)))
    cluster = start_local_cluster(config, Path(scratch))
    stack.callback(cluster.close)
    return cluster


def _connect(config: ExecutorConfig, cluster: SpecCluster | None) -> Client:
    """A client with at least one worker; raises ClusterError."""
    where = str(config.address or config.scheduler_file or "this machine")
    options: dict[str, Any] = {}
    if cluster is not None:
        options["address"] = cluster
    elif config.address is not None:
        options["address"] = config.address
    else:
        options["scheduler_file"] = str(config.scheduler_file)
    _check_protocol(config, where)
    if config.tls_ca_file is not None:
        options["security"] = _security(config)
    try:
        client = Client(**options, timeout=config.wait_s, set_as_default=False)
    # RuntimeError is what a scheduler that does not encrypt gives rise to.
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ClusterError(
            f"no scheduler at {where} ({' '.join(str(error).split())}): is it running, is the address right, "
            "does it want TLS?"
        ) from error
    try:
        client.wait_for_workers(1, timeout=config.wait_s)
    except TimeoutError as error:
        client.close()
        raise ClusterError(
            f"the scheduler at {where} has no worker, and none came within {config.wait_s:g} s: start some with "
            "'dask worker' and the scheduler's address"
        ) from error
    return client


def _check_protocol(config: ExecutorConfig, where: str) -> None:
    """Raise ClusterError when certificates and the scheduler's address do not go together."""
    if config.tls_ca_file is not None:
        if _address(config) and not _address(config).startswith("tls://"):
            raise ClusterError(
                f"the scheduler at {where} does not speak TLS, and certificates were given: start it with "
                "--protocol tls"
            )
    elif _wants_tls(config):
        # A client without certificates would fail, and then wait two minutes for its own end.
        raise ClusterError(
            f"the scheduler at {where} speaks TLS: give --tls-ca-file, --tls-cert and --tls-key, or set "
            "distributed.comm.tls in Dask's configuration"
        )


def _address(config: ExecutorConfig) -> str:
    """The scheduler's address as it was given or stands in its file; empty where that is not there yet."""
    if config.address is not None:
        return config.address
    if config.scheduler_file is None:
        return ""
    return str(read_json(config.scheduler_file).get("address") or "")


def _wants_tls(config: ExecutorConfig) -> bool:
    """Whether the address asks for TLS and Dask's configuration knows no certificate authority."""
    return _address(config).startswith("tls://") and not dask.config.get("distributed.comm.tls.ca-file", None)


def _security(config: ExecutorConfig) -> Security:
    return Security(
        tls_ca_file=str(config.tls_ca_file),
        tls_client_cert=str(config.tls_cert),
        tls_client_key=str(config.tls_key),
        require_encryption=True,
    )


def _accelerators(workers: dict[str, dict[str, Any]]) -> list[str]:
    """Addresses of the workers that declare an accelerator."""
    return [address for address, facts in workers.items() if facts["resources"].get(ACCELERATOR)]


def _slots(workers: dict[str, dict[str, Any]], *, accelerator: bool) -> int:
    """How many tasks the workers can run at once."""
    declared = _accelerators(workers) if accelerator else []
    if declared:
        return sum(int(workers[address]["resources"][ACCELERATOR]) for address in declared)
    return sum(facts["nthreads"] for facts in workers.values())


def _scheduler_lost() -> ClusterError:
    return ClusterError(
        "the connection to the scheduler is lost: start it again if need be and run the same command again, "
        "it goes on where it stopped"
    )


def _name(thing: object) -> str:
    """How a message calls a task or an item."""
    if isinstance(thing, Block):
        return f"block {thing.index}"
    return getattr(thing, "__name__", None) or str(thing)[:80]
