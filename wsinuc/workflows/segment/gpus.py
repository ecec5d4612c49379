"""The GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` names them."""

from __future__ import annotations

import os

from wsinuc.errors import ConfigError, DeviceError


def local_gpus(wanted: str) -> tuple[str, ...]:
    """The devices that ``all``, or a list such as ``0,1``, means.

    Where ``CUDA_VISIBLE_DEVICES`` is set (a batch system does that), these are what ``all`` means.

    Raises
    ------
    ConfigError
        It is neither ``all`` nor a list of different numbers.
    DeviceError
        There are fewer devices, or none.
    """
    import torch

    count = torch.cuda.device_count()
    if not count:
        raise DeviceError(
            f"no GPU that PyTorch {torch.__version__} can use: install a CUDA build of PyTorch and check "
            "nvidia-smi, or work on the CPU with --workers"
        )
    # Its entries may be UUIDs, so they are handed on as they are, and numbers count within them.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    names = tuple(name.strip() for name in visible.split(","))[:count]
    if wanted == "all":
        return names
    numbers = wanted.split(",")
    if not all(number.strip().isdecimal() for number in numbers) or len(set(numbers)) < len(numbers):
        raise ConfigError(f"--gpus {wanted!r}: expected all, or different numbers such as 0,1")
    missing = [number for number in numbers if int(number) >= len(names)]
    if missing:
        raise DeviceError(f"no GPU {', '.join(missing)}: this machine shows {len(names)}, numbered from 0")
    return tuple(names[int(number)] for number in numbers)
