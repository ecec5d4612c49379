"""The loss that all trainings share: batches by their number, cut ahead where a GPU computes, threads that end."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wsinuc.errors import ConfigError
from wsinuc.models.training.processes import Processes
from wsinuc.workflows.denoiser.config import PRESETS
from wsinuc.workflows.training.run import Session
from wsinuc.workflows.training.step_loss import StepLoss

CONFIG = PRESETS["cpu"]


class Numbers(StepLoss[list[int]]):
    """Its batches are the numbers of their examples."""

    def cut(self, part: int) -> list[int]:
        return list(self.numbers(part))

    def __call__(self, part: int) -> Tensor:
        return torch.tensor(float(sum(self.batch(part))))

    def trial(self, count: int) -> Tensor:
        return torch.zeros(count)


@pytest.mark.parametrize("device", ["cpu", "meta"], ids=["CPU", "another device"])
def test_batches_are_the_same_whoever_cuts_them(device: str):
    before = threading.active_count()
    with Numbers(CONFIG, Session(device=device)) as loss:
        assert loss.size == CONFIG.batch
        assert [loss.batch(part)[0] for part in (0, 1, 5)] == [0, CONFIG.batch, 5 * CONFIG.batch]
        assert float(loss(1)) == sum(range(CONFIG.batch, 2 * CONFIG.batch))
        assert (threading.active_count() > before) == (device != "cpu")
    assert threading.active_count() == before


def test_parts_of_passes_and_processes_are_numbered_on():
    config = replace(CONFIG, fit=replace(CONFIG.fit, accumulate=2))
    loss = Numbers(config, Session(processes=Processes(1, 4)))
    assert list(loss.numbers(9)) == [18, 19]
    with pytest.raises(ConfigError, match="cannot be shared out evenly"):
        Numbers(CONFIG, Session(processes=Processes(0, 3)))
