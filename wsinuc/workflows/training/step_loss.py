"""The mean loss of part k of a training, whose batch is cut ahead by threads while a GPU computes.

A batch is a function of its number alone. So an interrupted training ends with the weights of an
uninterrupted one, and neither passes nor processes nor threads change what is learned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

from wsinuc.datasets.sampling.patches import Prefetcher
from wsinuc.models.training.loop import part_size
from wsinuc.workflows.training.session import Session, TrainingSettings

Batch = TypeVar("Batch")
_THREADS = 4  # that cut patches while a GPU computes


class StepLoss(ABC, Generic[Batch]):
    """The loss as `wsinuc.models.training.loop.fit` takes it; a context, because its threads have to end.

    Raises
    ------
    ConfigError
        The batch cannot be shared out to the processes.
    """

    def __init__(self, config: TrainingSettings, session: Session) -> None:
        self.device = session.device
        self.size = part_size(config.batch, config.fit, session.processes)
        self.batch: Callable[[int], Batch] = self.cut
        self._ahead: Prefetcher[Batch] | None = None
        # A CPU has no idle time that threads could use.
        if torch.device(session.device).type != "cpu":
            self._ahead = Prefetcher(self.cut, threads=_THREADS, stride=session.processes.count)
            self.batch = self._ahead

    @abstractmethod
    def cut(self, part: int) -> Batch:
        """What part ``part`` learns from, on the CPU."""

    @abstractmethod
    def __call__(self, part: int) -> Tensor:
        """The mean loss of part ``part``."""

    @abstractmethod
    def trial(self, count: int) -> Tensor:
        """Loss of ``count`` images of nothing: what matters is the memory it takes."""

    def numbers(self, part: int) -> range:
        """Numbers of the examples of a part."""
        return range(part * self.size, (part + 1) * self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._ahead is not None:
            self._ahead.close()
