"""What it costs that the processes of ``--workers`` speak TLS: the same work with and without, in turns in one run.

PYTHONPATH=.:cli:tests python tests/benchmarks/private_workers.py
"""

from __future__ import annotations

import os
import statistics
import time

from distributed import Security

from wsinuc.pipeline import local_cluster
from wsinuc.pipeline.executor import open_executor
from wsinuc.pipeline.executor_config import ExecutorConfig

TASKS = 2000
"""Tasks that do nothing: a block takes a second or more, so in a run their share is far smaller."""
TURNS = 5


def nothing(item: int) -> int:
    """The result is as small as that of a block."""
    return item


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def turn() -> tuple[float, float, float]:
    """Seconds until the processes are there, seconds for all tasks, CPU seconds of everything."""
    begin_cpu = cpu_s()
    begin = time.perf_counter()
    with open_executor(ExecutorConfig(kind="processes", workers=2)) as executor:
        started = time.perf_counter()
        assert sum(1 for _ in executor.run(nothing, range(TASKS))) == TASKS
        worked = time.perf_counter()
    return started - begin, worked - started, cpu_s() - begin_cpu


def main() -> None:
    """Print the medians."""
    private = local_cluster.private_security
    protocol = local_cluster.PROTOCOL
    found: dict[str, list[tuple[float, float, float]]] = {"tcp": [], "tls": []}
    for _ in range(TURNS):
        local_cluster.private_security = Security
        local_cluster.PROTOCOL = "tcp://"
        found["tcp"].append(turn())
        local_cluster.private_security = private
        local_cluster.PROTOCOL = protocol
        found["tls"].append(turn())
    print(f"medians of {TURNS} turns, 2 processes, {TASKS} tasks")
    for name, turns in found.items():
        start, work, cpu = (statistics.median(each) for each in zip(*turns, strict=True))
        print(f"{name}: start {start:.2f} s, {1e3 * work / TASKS:.2f} ms a task, {cpu:.1f} CPU seconds in all")


if __name__ == "__main__":
    main()
