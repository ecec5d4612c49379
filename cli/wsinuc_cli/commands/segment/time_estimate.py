"""How long segmenting will take here: what earlier runs took, and this one's share in what later ones know."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wsinuc.config import SegmentConfig
from wsinuc.errors import WsinucError
from wsinuc.segmenters.shipped import model_path
from wsinuc.workflows.segment.run_times import (
    Conditions,
    RunTime,
    add_run_time,
    pace_of,
    read_run_times,
)
from wsinuc_cli.texts.duration import duration

if TYPE_CHECKING:
    from wsinuc.pipeline.executor_config import ExecutorConfig
    from wsinuc.workflows.cohort.events import CohortEvent

UNKNOWN = (
    "not known for this model and these workers on this computer: a run of 10 s or more, "
    "such as one of a --roi, measures it"
)


def run_times_file() -> Path | None:
    """Where run times are kept: in the user's cache; None for a user without a home."""
    from wsinuc.store.remote import user_cache

    try:
        return user_cache() / "wsinuc" / "run-times.json"
    except WsinucError:
        return None


def conditions(config: SegmentConfig, executor: ExecutorConfig) -> Conditions | None:
    """What the speed depends on; None on a cluster, whose workers come and go."""
    if executor.kind == "scheduler":
        return None
    path = model_path(config.model)
    size = path.stat().st_size if path.is_file() else 0
    each = ""
    if executor.threads:
        each = f" of {executor.threads} threads"
    kind = "GPUs" if executor.gpus else executor.kind
    return Conditions(
        host=platform.node(),
        model=f"{path.name}, {size} bytes",
        device=config.device,
        workers=f"{executor.workers} {kind}{each}",
    )


def describe_time(tiles: int, known: Conditions | None) -> str:
    """How long so many tiles take, and how that is known."""
    if known is None:
        return "not known for a cluster"
    path = run_times_file()
    pace = None
    if path is not None:
        pace = pace_of(read_run_times(path), known)
    if pace is None:
        return UNKNOWN
    runs = f"{pace.runs} run" + "s" * (pace.runs != 1)
    return (
        f"about {duration(pace.seconds(tiles))}, at {pace.s_per_tile:.2g} s per tile as in {runs} "
        "with this model and these workers here"
    )


class Stopwatch:
    """Measures a command over its slides; the events of a cohort are its ticks."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._first_block: float | None = None
        self._tiles = 0.0

    def __call__(self, event: CohortEvent) -> None:
        """Count what is to be done."""
        from wsinuc.workflows.cohort.events import SlideProgress
        from wsinuc.workflows.segment.events import Planned

        if not isinstance(event, SlideProgress) or not isinstance(event.event, Planned):
            return
        if self._first_block is None:
            self._first_block = time.monotonic()
        planned = event.event
        # Blocks that an interrupted run did cost nothing now; tiles lie evenly enough over blocks.
        share = (planned.blocks - planned.resumed) / max(1, planned.blocks)
        self._tiles += planned.plan.tiles * share

    def keep(self, known: Conditions | None) -> None:
        """Keep the time of a command that has worked to its end, for estimates."""
        path = run_times_file()
        if known is None or path is None or self._first_block is None:
            return
        run = RunTime(
            conditions=known,
            tiles=round(self._tiles),
            startup_s=round(self._first_block - self._begin, 3),
            seconds=round(time.monotonic() - self._begin, 3),
        )
        add_run_time(path, run)
