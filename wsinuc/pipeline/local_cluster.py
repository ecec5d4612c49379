"""Worker processes of this machine: so many, or one for each GPU.

Every process has a nanny in this one, which restarts it when it dies or exceeds its memory. Nothing listens beyond the
loopback interface: whoever reaches a Dask scheduler can run code.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

import dask
from dask.utils import parse_bytes
from distributed import LocalCluster, Nanny, Scheduler, SpecCluster
from distributed.system import MEMORY_LIMIT

from wsinuc.errors import ConfigError
from wsinuc.pipeline.executor import ACCELERATOR, ExecutorConfig

HOST = "127.0.0.1"
DASHBOARD = f"{HOST}:0"
"""The scheduler serves HTTP even without bokeh, and by default to everybody."""
GPU_THREADS = 4
"""Blocks at once in a process with a GPU: one has the network while the others are read and measured."""


def start_local_cluster(config: ExecutorConfig) -> SpecCluster:
    """The processes that the config asks for; raises ConfigError for a memory limit that is none."""
    with dask.config.set(_settings(config)):
        return _gpu_cluster(config) if config.gpus else _cpu_cluster(config)


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
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
    }


def _cpu_cluster(config: ExecutorConfig) -> SpecCluster:
    return LocalCluster(
        n_workers=config.workers,
        threads_per_worker=config.threads or 1,
        processes=True,
        host=HOST,
        memory_limit=_memory_limit(config, config.workers),
        dashboard_address=DASHBOARD,
        silence_logs=logging.CRITICAL,
    )


def _gpu_cluster(config: ExecutorConfig) -> SpecCluster:
    """dask-cuda's where it is installed (it also binds processes to the cores near their GPU), else our own."""
    threads = config.threads or GPU_THREADS
    memory_limit = _memory_limit(config, len(config.gpus))
    if find_spec("dask_cuda") is not None:
        from dask_cuda import LocalCUDACluster

        return LocalCUDACluster(
            CUDA_VISIBLE_DEVICES=",".join(config.gpus),
            threads_per_worker=threads,
            memory_limit=memory_limit,
            resources={ACCELERATOR: threads},
            host=HOST,
            dashboard_address=DASHBOARD,
            silence_logs=logging.CRITICAL,
        )
    return SpecCluster(
        scheduler={
            "cls": Scheduler,
            "options": {"host": HOST, "dashboard": has_dashboard(), "dashboard_address": DASHBOARD},
        },
        workers={gpu: gpu_worker(gpu, threads, memory_limit) for gpu in config.gpus},
        silence_logs=logging.CRITICAL,
    )


def gpu_worker(gpu: str, threads: int, memory_limit: int) -> dict[str, Any]:
    """What ``SpecCluster`` needs to know of a worker process that sees one GPU and no other.

    Each of its threads counts as an accelerator: the network itself is used by one block at a time in a process.
    """
    options = {
        "nthreads": threads,
        "memory_limit": memory_limit,
        "resources": {ACCELERATOR: threads},
        "env": {"CUDA_VISIBLE_DEVICES": gpu},
        "host": HOST,
        "silence_logs": logging.CRITICAL,
    }
    return {"cls": Nanny, "options": options}


def _memory_limit(config: ExecutorConfig, processes: int) -> int:
    """Bytes of each process."""
    if config.memory_limit == "auto":
        return int(MEMORY_LIMIT // processes)
    try:
        return parse_bytes(config.memory_limit)
    except ValueError as error:
        raise ConfigError(f"memory limit {config.memory_limit!r} is no size: expected one like 4GB, or auto") from error
