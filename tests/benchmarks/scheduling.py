"""What does scheduling cost per task, and does it grow with their number? Empty tasks through the kinds of executors.

    PYTHONPATH=. python tests/benchmarks/scheduling.py [--tasks 40000] [--workers 2] [--kinds threads processes]

Prints a line per kind: wall time and CPU time of the client per task, and what the client's memory
grew by between the first tenth and the end. Exits with 1 when a task costs more than 3 ms or memory
grows by more than 30 MB.
"""

from __future__ import annotations

import argparse
import sys
import time

import psutil

from wsinuc.pipeline.executor import open_executor
from wsinuc.pipeline.executor_config import ExecutorConfig

LIMIT_MS, LIMIT_MB = 3.0, 30.0


def nothing(item: int) -> int:
    """The cheapest task."""
    return item


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=40_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", default=["threads", "processes"])
    args = parser.parse_args()
    print(f"{'kind':<12}{'tasks':>8}{'wall ms/task':>14}{'client CPU ms/task':>20}{'growth MB':>11}")
    over = [measure(kind, args.tasks, args.workers) for kind in args.kinds]  # all of them, whatever the first says
    return int(any(over))


def measure(kind: str, tasks: int, workers: int) -> bool:
    """Run one kind, print its line; whether it is over a limit."""
    me, early = psutil.Process(), 0
    with open_executor(ExecutorConfig(kind=kind, workers=workers)) as executor:
        list(executor.run(nothing, range(100)))  # what is imported and connected once
        begin, cpu = time.perf_counter(), time.process_time()
        for done, _ in enumerate(executor.run(nothing, range(tasks)), start=1):
            if done == tasks // 10:
                early = me.memory_info().rss
        wall_ms = (time.perf_counter() - begin) / tasks * 1e3
        cpu_ms = (time.process_time() - cpu) / tasks * 1e3
        growth_mb = (me.memory_info().rss - early) / 1e6
    print(f"{kind:<12}{tasks:>8}{wall_ms:>14.3f}{cpu_ms:>20.3f}{growth_mb:>11.1f}", flush=True)
    return wall_ms > LIMIT_MS or growth_mb > LIMIT_MB


if __name__ == "__main__":
    sys.exit(main())
