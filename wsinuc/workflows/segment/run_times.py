"""How long a run will take: what earlier runs with the same model and workers took on this computer.

The cost of a tile depends on the network, the processor and how many blocks are worked on at once,
so it is measured and not calculated. Every run of some length leaves one line in a file of the
user; an estimate is the mean over those of the same conditions.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from wsinuc import durable
from wsinuc.errors import WsinucError
from wsinuc.own_files import read

LEAST_S = 10.0
"""A run that is shorter says more about starting up than about its slides, and is not kept."""
KEPT = 200
"""Runs in the file; the oldest go first."""
MAX_BYTES = 2**20
"""A larger file is none of ours."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the speed of a run depends on."""

    host: str
    """Name of the computer: a home may be shared by several."""
    model: str
    """Name of the model's file and its size in bytes."""
    device: str
    """As it was asked for; ``auto`` is the same device on the same computer."""
    workers: str
    """Who does the work, such as "2 threads"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTime:
    """What one run took."""

    conditions: Conditions
    tiles: int
    """Tiles of the network that this run scored, over all of its slides."""
    startup_s: float
    """From the start to the first block: loading the model, finding tissue."""
    seconds: float
    """From the start to the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast runs of the same conditions went."""

    startup_s: float
    s_per_tile: float
    """Everything after the first block, outputs included, shared out over the tiles."""
    runs: int
    """How many runs it rests on."""

    def seconds(self, tiles: int) -> float:
        """For so many tiles."""
        return self.startup_s + self.s_per_tile * tiles


def pace_of(runs: Iterable[RunTime], conditions: Conditions) -> Pace | None:
    """What runs of these conditions took; None when there is none.

    Examples
    --------
    >>> here = Conditions(host="a", model="m", device="cpu", workers="2 threads")
    >>> run = RunTime(conditions=here, tiles=100, startup_s=2.0, seconds=52.0)
    >>> pace_of([run], here).seconds(1000)
    502.0
    """
    alike = [run for run in runs if run.conditions == conditions and run.tiles > 0]
    if not alike:
        return None
    # Sums, and no mean of ratios: a long run tells more about the cost of a tile than a short one.
    work_s = sum(run.seconds - run.startup_s for run in alike)
    tiles = sum(run.tiles for run in alike)
    startup_s = statistics.median(run.startup_s for run in alike)
    return Pace(startup_s=startup_s, s_per_tile=work_s / tiles, runs=len(alike))


def read_run_times(path: Path) -> list[RunTime]:
    """The runs of a file, oldest first; none where it is missing or cannot be read: an estimate is never worth an
    error."""
    try:
        return msgspec.json.decode(read(path, follow=True, limit=MAX_BYTES), type=list[RunTime])
    except (OSError, WsinucError, msgspec.MsgspecError) as error:
        _log.debug("no earlier run times in %s: %s", path, error)
        return []


def add_run_time(path: Path, run: RunTime) -> None:
    """Add a run to the file, unless it was too short to tell; a file that cannot be written is left alone."""
    if run.tiles < 1 or run.seconds < LEAST_S:
        return
    runs = [*read_run_times(path), run][-KEPT:]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two runs that end at the same moment may lose one line; half a file would lose all.
        with durable.replacing(path, sync=False) as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(runs)))
    except (OSError, WsinucError) as error:
        _log.debug("cannot keep the time of this run in %s: %s", path, error)
