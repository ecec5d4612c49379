"""Which batch size fits, after one did not.

Memory is not predicted: smaller and smaller batches are tried until one passes, and the message says that it was tried.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from wsinuc.errors import DeviceMemoryError
from wsinuc.grid import ceil_div


def largest_fitting(trial: Callable[[int], Tensor], tried: int, model: nn.Module) -> int:
    """The largest of tried/2, tried/4 ... 1 images whose loss and gradients fit into memory; 0 when not one does.

    Parameters
    ----------
    trial
        Loss of that many images.
    model
        Its gradients are dropped before each trial and at the end.
    """
    count = tried // 2
    while count:
        model.zero_grad(set_to_none=True)
        _release(model)
        try:
            torch.autograd.backward(trial(count))
            return count
        except torch.OutOfMemoryError:
            count //= 2
        finally:
            model.zero_grad(set_to_none=True)
    return 0


def out_of_memory(model: nn.Module, images: int | None, trial: Callable[[int], Tensor] | None) -> DeviceMemoryError:
    """The error to raise when a pass of ``images`` did not fit: it says what would.

    Call it when the failed pass is over and its tensors are gone, else they count against every trial.
    """
    if images:
        failed = f"{images} images at once do not"
    else:
        failed = "the batch does not"
    message = f"{failed} fit into the memory of {_describe(next(model.parameters()).device)}"
    if not trial or not images:
        hint = ""
        if images and images > 1:
            hint = f"; half of them, {images // 2}, is the next to try"
        return DeviceMemoryError(f"{message}{hint}: lower the batch size or the patch size, or use a smaller network")
    fitting = largest_fitting(trial, images, model)
    if not fitting:
        return DeviceMemoryError(
            f"{message}, and not even one does: use smaller patches, a smaller network or another device"
        )
    return DeviceMemoryError(
        f"{message}; {fitting} at once did when tried: use batch size {fitting}, or keep the batch and compute it in "
        f"{ceil_div(images, fitting)} times as many passes (accumulation, same result)"
    )


def _describe(device: torch.device) -> str:
    if device.type != "cuda":
        return f"the {device.type} device"
    free, total = torch.cuda.mem_get_info(device)
    return f"{torch.cuda.get_device_name(device)} ({total / 2**30:.0f} GiB, {free / 2**30:.1f} free)"


def _release(model: nn.Module) -> None:
    if next(model.parameters()).device.type == "cuda":
        torch.cuda.empty_cache()
