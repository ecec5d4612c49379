"""Which device to run on, and in which precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from wsinuc.errors import DeviceError

P = ParamSpec("P")
Value = TypeVar("Value")


def pick_device(name: str) -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; auto takes the fastest there is.

    Raises
    ------
    DeviceError
        The name is unknown, or this machine (or this build of PyTorch) has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise DeviceError(f"unknown device {name!r}: expected auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        raise DeviceError(
            f"device {name!r} was asked for, but PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices: "
            "install a CUDA build of PyTorch (see pytorch.org) and check nvidia-smi, or use --device cpu"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' was asked for, but this machine has no Apple GPU that PyTorch can use")
    return torch.device(name)


def pick_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the hardware multiplies it natively, else fp32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


def half_precision(network: Callable[P, Value], device: torch.device) -> Callable[P, Value]:
    """The network in bf16 where the hardware multiplies it, twice as quick; what is around it stays in its precision."""
    bf16 = pick_dtype(device) is torch.bfloat16

    def predict(*args: P.args, **kwargs: P.kwargs) -> Value:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            return network(*args, **kwargs)

    return predict
