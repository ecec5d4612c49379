"""What a piece of work costs: wall time, CPU time and memory of this process and all that it has started.

On a shared machine wall time says little; CPU seconds and their ratios within one run do. Memory is sampled, because
the peaks of several processes do not come at the same moment and cannot be added up afterwards.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import psutil

Result = TypeVar("Result")

INTERVAL_S = 0.1
"""Between two samples of memory; one takes about a millisecond, which is not counted as work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one piece of work has cost."""

    seconds: float
    """Wall time."""
    cpu_seconds: float
    """CPU time of all threads and child processes."""
    peak_memory_bytes: int
    """Largest sum of the resident memory of this process and its children; pages that they share count for each."""


def metered(work: Callable[[], Result], *, interval_s: float = INTERVAL_S) -> tuple[Result, Usage]:
    """What ``work`` returns, and what it cost.

    Examples
    --------
    >>> result, usage = metered(lambda: sum(range(1000)))
    >>> result, usage.cpu_seconds >= 0
    (499500, True)
    """
    process = psutil.Process()
    peak = [_memory(process)]
    sampling = [0.0]
    done = threading.Event()

    def sample() -> None:
        begin = time.thread_time()
        while not done.wait(interval_s):
            peak[0] = max(peak[0], _memory(process))
        sampling[0] = time.thread_time() - begin

    sampler = threading.Thread(target=sample, name="wsinuc-meter", daemon=True)
    sampler.start()
    cpu = _cpu_seconds(process)
    begin = time.perf_counter()
    try:
        result = work()
    finally:
        # First of all: stopping the sampler below is no part of the work.
        seconds = time.perf_counter() - begin
        cpu = _cpu_seconds(process) - cpu
        done.set()
        sampler.join()
    memory = max(peak[0], _memory(process))
    return result, Usage(seconds=seconds, cpu_seconds=max(0.0, cpu - sampling[0]), peak_memory_bytes=memory)


def typical(work: Callable[[], object], repeats: int) -> Usage:
    """Medians of several runs after one that warms caches and compilers up; the peak is that of all runs."""
    work()
    runs = [metered(work)[1] for _ in range(repeats)]
    return Usage(
        seconds=median(run.seconds for run in runs),
        cpu_seconds=median(run.cpu_seconds for run in runs),
        peak_memory_bytes=max(run.peak_memory_bytes for run in runs),
    )


def _memory(process: psutil.Process) -> int:
    total = int(process.memory_info().rss)
    for child in process.children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            total += child.memory_info().rss
    return total


def _cpu_seconds(process: psutil.Process) -> float:
    """CPU time of the process, of children that have ended, and of those that live."""
    times = process.cpu_times()
    # The clock of this process is finer than psutil's ticks.
    total = time.process_time() + float(times.children_user) + float(times.children_system)
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            own = child.cpu_times()
            total += float(own.user) + float(own.system)
    return total
