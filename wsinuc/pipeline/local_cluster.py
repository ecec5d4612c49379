"""Worker processes of this machine, as many as asked for or one for each GPU; nobody else can speak to them.

Whoever reaches a Dask scheduler or worker can run code as its user. So everything that listens here is on the
loopback interface and speaks TLS with a certificate that is made for the run (``credentials``); nothing serves
HTTP, hence there is no dashboard; and the scratch folder, which Dask puts on ``sys.path``, is the run's own
instead of a shared one below ``/tmp``.

Every process has a nanny in this one, which restarts it when it dies or exceeds its memory.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask
from distributed import Nanny, Scheduler, Security, SpecCluster, Worker
from distributed.system import MEMORY_LIMIT

from wsinuc.models.freed_memory import environment_of_children
from wsinuc.pipeline.children import deaf_children, heed_parent_alone
from wsinuc.pipeline.credentials import private_security
from wsinuc.pipeline.executor_config import ACCELERATOR, ExecutorConfig

HOST = "127.0.0.1"
PROTOCOL = "tls://"
GPU_THREADS = 4
"""Blocks at once in a process with a GPU: one has the network while the others are read and measured."""


class PrivateScheduler(Scheduler):
    """Dask's scheduler without its HTTP server, which knows no passwords."""

    def start_http_server(self, *args: Any, **options: Any) -> None:
        """Serve nothing."""


class PrivateWorker(Worker):
    """Dask's worker without its HTTP server; signals that its whole process group gets are its parent's to heed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        heed_parent_alone()
        super().__init__(*args, **options)

    def start_http_server(self, *args: Any, **options: Any) -> None:
        """Serve nothing."""


def start_local_cluster(config: ExecutorConfig, scratch: Path) -> SpecCluster:
    """The processes that the config asks for.

    Parameters
    ----------
    scratch
        A folder of this run alone, for what Dask's processes keep on disk.

    Raises
    ------
    ConfigError
        The memory limit is no size.
    """
    settings = _settings(config) | {"temporary-directory": str(scratch)}
    with dask.config.set(settings), deaf_children():
        if config.gpus:
            return _gpu_cluster(config)
        return _cpu_cluster(config)


def has_dashboard() -> bool:
    """Whether Dask can show its dashboard; it needs bokeh, which is no dependency of ours."""
    return find_spec("bokeh") is not None


def _settings(config: ExecutorConfig) -> dict[str, Any]:
    """Dask's knobs. One task per thread is given out at a time, so that a worker's death is blamed on the right one.

    Results are a few hundred bytes: there is nothing to spill, and a paused worker that does not shrink waits for ever.
    """
    return {
        "distributed.scheduler.allowed-failures": config.retries,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.nanny.pre-spawn-environ": _environment(config),
    }


def _environment(config: ExecutorConfig) -> dict[str, Any]:
    """Variables of worker processes, set before they start.

    Dask's own value of ``MALLOC_TRIM_THRESHOLD_`` gives every freed page back at once, which costs networks on a CPU
    almost half of their time.
    """
    theirs: dict[str, Any] = dask.config.get("distributed.nanny.pre-spawn-environ")
    if config.gpus:
        return theirs
    return theirs | environment_of_children()


def _cpu_cluster(config: ExecutorConfig) -> SpecCluster:
    security = private_security()
    options = {"nthreads": config.threads or 1, "memory_limit": _memory_limit(config, config.workers)}
    worker = _worker(security, **options)
    return _cluster(security, dict.fromkeys(range(config.workers), worker))


def _gpu_cluster(config: ExecutorConfig) -> SpecCluster:
    """dask-cuda's where it is installed (it also binds processes to the cores near their GPU), else our own."""
    security = private_security()
    threads = config.threads or GPU_THREADS
    memory_limit = _memory_limit(config, len(config.gpus))
    if find_spec("dask_cuda") is not None:
        return _dask_cuda_cluster(config.gpus, threads, memory_limit, security)
    return _cluster(security, {gpu: gpu_worker(gpu, threads, memory_limit, security) for gpu in config.gpus})


def _dask_cuda_cluster(gpus: tuple[str, ...], threads: int, memory_limit: int, security: Security) -> SpecCluster:
    from dask_cuda import LocalCUDACluster

    cluster: SpecCluster = LocalCUDACluster(
        CUDA_VISIBLE_DEVICES=",".join(gpus),
        threads_per_worker=threads,
        memory_limit=memory_limit,
        resources={ACCELERATOR: threads},
        host=HOST,
        protocol=PROTOCOL,
        security=security,
        worker_class=PrivateWorker,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )
    # LocalCUDACluster takes no class of scheduler, so its server is closed afterwards; until here it has no routes.
    cluster.sync(_close_http, cluster.scheduler)
    return cluster


async def _close_http(scheduler: Scheduler) -> None:
    scheduler.services.pop("dashboard").stop()


def _cluster(security: Security, workers: dict[Any, dict[str, Any]]) -> SpecCluster:
    scheduler = {"host": HOST, "protocol": PROTOCOL, "security": security, "dashboard": False}
    return SpecCluster(
        scheduler={"cls": PrivateScheduler, "options": scheduler},
        workers=workers,
        security=security,
        silence_logs=logging.CRITICAL,
    )


def gpu_worker(gpu: str, threads: int, memory_limit: int, security: Security) -> dict[str, Any]:
    """What ``SpecCluster`` needs to know of a worker process that sees one GPU and no other.

    Each of its threads counts as an accelerator: the network itself is used by one block at a time in a process.
    """
    return _worker(
        security,
        nthreads=threads,
        memory_limit=memory_limit,
        resources={ACCELERATOR: threads},
        env={"CUDA_VISIBLE_DEVICES": gpu},
    )


def _worker(security: Security, **options: Any) -> dict[str, Any]:
    """What ``SpecCluster`` needs to know of a worker process."""
    ours = {
        "host": HOST,
        "protocol": PROTOCOL,
        "security": security,
        "worker_class": PrivateWorker,
        "silence_logs": logging.CRITICAL,
    }
    return {"cls": Nanny, "options": options | ours}


def _memory_limit(config: ExecutorConfig, processes: int) -> int:
    """Bytes of each process."""
    if config.memory_limit == "auto":
        return int(MEMORY_LIMIT // processes)
    return config.memory_limit_bytes()
