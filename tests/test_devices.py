"""A network in half precision, and what is around it as it was; names of devices are tested with the trainings."""

from __future__ import annotations

import pytest
import torch

from wsinuc.models import devices

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_network_runs_in_the_precision_of_the_hardware(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "pick_dtype", lambda device: dtype)
    seen = []

    def network(x: torch.Tensor, *, factor: float) -> torch.Tensor:
        seen.append((x @ x).dtype)
        return factor * x

    x = torch.eye(4)
    assert torch.equal(devices.half_precision(network, CPU)(x, factor=2.0), 2 * x)
    assert seen == [dtype]
    assert (x @ x).dtype is torch.float32
