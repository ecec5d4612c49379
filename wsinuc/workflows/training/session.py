"""Where a training runs, who hears of it and who may stop it; and the settings that every training has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from wsinuc.models.training.loop import FitConfig, Progress
from wsinuc.models.training.processes import ALONE, Processes


class TrainingSettings(Protocol):
    """The settings of any training that this skeleton runs."""

    @property
    def patch(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def fit(self) -> FitConfig: ...
    @property
    def seed(self) -> int: ...
    @property
    def sample_every(self) -> int: ...
    @property
    def validate_every(self) -> int: ...
    def identity(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where a training runs, who hears of it and who may stop it."""

    device: str = "cpu"
    on_progress: Callable[[Progress], None] | None = None
    """Given each line of the log."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after each step; stops early, with the state saved and the weights so far written."""
    processes: Processes = ALONE
    """Those that share the batch."""


UNATTENDED = Session()
"""On the CPU, in one process, told to nobody and never stopped."""
