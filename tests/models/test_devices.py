"""A network in half precision, and what is around it as it was; names of devices are tested with the trainings."""

from __future__ import annotations

import pytest
import torch

from wsinuc.models import devices

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("amx", "instructions", "vendor", "expected"),
    [
        (True, True, "Intel", torch.bfloat16),
        (False, True, "Intel", torch.float32),
        (False, True, "AMD", torch.bfloat16),
        (False, False, "AMD", torch.float32),
    ],
)
def test_a_cpu_takes_bf16_only_where_it_is_faster(
    amx: bool, instructions: bool, vendor: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(devices, "_vendor", lambda: vendor)
    assert devices.pick_dtype(CPU) is expected


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
