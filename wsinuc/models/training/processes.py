"""The processes of one training: one alone, or one per GPU under ``accelerate launch``.

Each process computes its own part of every batch; gradients are averaged before the step, so that
all hold the same weights and the result does not depend on their number. Gradients are averaged
here, as one flat tensor, and not by wrapping the network: a loss may then use the network in any
way (its activations, its features) and not through ``forward`` alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsinuc.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Processes:
    """One process among ``count``; the default is alone and costs nothing."""

    rank: int = 0
    count: int = 1
    device: torch.device | None = None
    """The device that was assigned to this process; None leaves the choice to the caller."""
    accelerator: Any = None
    """Hugging Face's ``Accelerator`` when there are several."""

    @property
    def main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, the same in each."""
        if self.count == 1:
            return value
        mean: Tensor = self.accelerator.reduce(value, reduction="mean")
        return mean

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all processes."""
        if self.count == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        # As one message: hundreds of small ones would wait for the network each.
        flat = self.mean(torch.cat([grad.flatten() for grad in grads]))
        parts = torch.split(flat, [grad.numel() for grad in grads])
        for grad, mean in zip(grads, parts, strict=True):
            grad.copy_(mean.view_as(grad))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            self.accelerator.wait_for_everyone()


ALONE = Processes()


def launched_processes(*, cpu: bool = False) -> Processes:
    """The processes that ``accelerate launch`` (or ``torchrun``) started this one among; `ALONE` without it.

    Parameters
    ----------
    cpu
        Stay on the CPU even if there are GPUs.

    Raises
    ------
    ConfigError
        Several processes were launched but Accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return ALONE
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ConfigError("several processes need Hugging Face Accelerate: pip install 'wsinuc[multi-gpu]'") from error
    accelerator = Accelerator(cpu=cpu)
    return Processes(accelerator.process_index, accelerator.num_processes, accelerator.device, accelerator)
