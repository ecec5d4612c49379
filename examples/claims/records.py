"""What the claims' experiments have in common: a small JSON file for each run, and the price of a grid of runs.

A run is done when its file says that it began with the same inputs; a run of other inputs, another
denoiser say, is done again. So the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsinuc.exports.atomic import replacing

Record = dict[str, Any]
CORE_HOUR = 3600.0


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a run's file whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write((json.dumps(record, indent=1) + "\n").encode())


def read_record(path: Path) -> Record:
    """What a run's file says."""
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def read_records(folder: Path) -> list[Record]:
    """All runs that are there, by name."""
    return [read_record(path) for path in sorted(folder.glob("*.json"))]


def is_done(path: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether a run is there that began with these inputs."""
    return path.is_file() and read_record(path).get("inputs") == dict(inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a part of an experiment takes on one core."""

    what: str
    """In a few words."""
    runs: int
    """Runs, or steps, that are left."""
    seconds: float
    """CPU seconds of one, measured on this machine or said to be assumed in ``what``."""

    @property
    def core_hours(self) -> float:
        """Of all of them."""
        return self.runs * self.seconds / CORE_HOUR

    def __str__(self) -> str:
        return f"{self.what}: {self.runs} at {self.seconds:.2f} CPU s, {self.core_hours:.1f} core-hours"


def experiment_parser(text: str | None) -> argparse.ArgumentParser:
    """Of the script that ``text`` describes, with the options that all experiments have."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop cleanly after this long")
    parser.add_argument("--price", action="store_true", help="say what it costs, and stop")
    return parser


def print_prices(prices: list[Price]) -> None:
    """Say what an experiment costs before it starts."""
    for price in prices:
        print(price, flush=True)
    print(f"in all {sum(price.core_hours for price in prices):.1f} core-hours", flush=True)


def cpu_seconds(run: Callable[[], object], times: int = 3) -> float:
    """CPU seconds of the quickest of some runs: the first ones still allocate."""
    taken = []
    for _ in range(times):
        begun = time.process_time()
        run()
        taken.append(time.process_time() - begun)
    return min(taken)


@dataclass(slots=True)
class CpuClock:
    """CPU seconds of a block of code, once it has ended."""

    seconds: float = 0.0


@contextmanager
def cpu_clock() -> Iterator[CpuClock]:
    """Measure the block's CPU time, of this process and its threads."""
    clock = CpuClock()
    begun = time.process_time()
    yield clock
    clock.seconds = round(time.process_time() - begun, 2)


def after_minutes(minutes: float) -> Callable[[], bool]:
    """A question that is answered with yes once so many minutes have gone."""
    end = time.monotonic() + 60 * minutes
    return lambda: time.monotonic() > end


def numbers(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [int(each) for each in text.split(",")]
