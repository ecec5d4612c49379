"""Which device to run on, and in which precision."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from wsinuc import arguments
from wsinuc.errors import DeviceError
from wsinuc.models.freed_memory import keep_freed_memory

P = ParamSpec("P")
Value = TypeVar("Value")
Network = TypeVar("Network", bound=nn.Module)


def pick_device(name: str) -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; auto takes the fastest there is.

    Raises
    ------
    DeviceError
        The name is unknown, or this machine (or this build of PyTorch) has no such device.
    """
    if arguments.text("device", name, DeviceError) == "auto":
        name = _fastest()
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise DeviceError(f"unknown device {name!r}: expected auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        raise DeviceError(
            f"device {name!r} was asked for, but PyTorch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices: "
            "install a CUDA build of PyTorch (see pytorch.org) and check nvidia-smi, or use --device cpu"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' was asked for, but this machine has no Apple GPU that PyTorch can use")
    return torch.device(name)


def prepare_device(name: str) -> torch.device:
    """`pick_device` for work that begins now: on a CPU, this process keeps the memory that it frees.

    That spares networks 5 to 12 % of their processor time. The loop of trainings sees to it by itself.

    Raises
    ------
    DeviceError
        As `pick_device`.
    """
    device = pick_device(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _fastest() -> str:
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def pick_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the hardware multiplies it faster than fp32, else fp32."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        return torch.float32
    if device.type == "cpu" and _cpu_gains_from_bf16():
        return torch.bfloat16
    return torch.float32


def in_bf16(device: torch.device, wanted: bool | None = None) -> bool:
    """Whether forward passes run in bf16: as it is wanted, or where that is the faster (`pick_dtype`).

    The difference is large: without instructions for bf16 a step of a U-Net takes 3 to 11 times as long in it as in
    fp32, with AMX about a third of it.
    """
    if wanted is None:
        return pick_dtype(device) is torch.bfloat16
    return wanted


def forward_pass(device: torch.device, bf16: bool | None = None) -> torch.autocast:
    """A context in which networks compute in bf16, or in the precision of their weights; see `in_bf16`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=in_bf16(device, bf16))


def _cpu_gains_from_bf16() -> bool:
    """Whether convolutions are faster in bf16 on this processor.

    Not wherever it has the instructions: an Intel Xeon whose AMX is masked, as in many virtual
    machines, convolves at 83 GFLOP/s a core in bf16 and at 143 in fp32. With AMX, and on AMD, bf16
    is the faster.
    """
    if torch.cpu._is_amx_tile_supported():
        return True
    return torch.cpu._is_avx512_bf16_supported() and _vendor() == "AMD"


@cache
def _vendor() -> str:
    """``Intel``, ``AMD``, or what else the system says of its processor."""
    try:
        description = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        description = platform.processor()
    return next((name for name in ("AMD", "Intel") if name in description), description)


def on_device(network: Network, device: torch.device | str, dtype: torch.dtype | None = None) -> Network:
    """The network itself, on a device, its weights in the memory order that convolutions are quick with."""
    network.to(device=device, dtype=dtype)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in PyTorch's stubs
    return network


def half_precision(network: Callable[P, Value], device: torch.device) -> Callable[P, Value]:
    """The network in bf16 where that is the faster (`pick_dtype`); what is around it stays in its precision."""
    bf16 = in_bf16(device)

    def predict(*args: P.args, **kwargs: P.kwargs) -> Value:
        with forward_pass(device, bf16):
            return network(*args, **kwargs)

    return predict
