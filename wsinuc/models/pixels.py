"""Pixels as files have them, and as networks take them: the one place where RGB becomes numbers in [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_network(rgb: NDArray[np.uint8] | Tensor, device: torch.device | None = None) -> Tensor:
    """Images as a network takes them: float32 ``(n, 3, h, w)`` in [-1, 1], channels last in memory.

    Parameters
    ----------
    rgb
        uint8 ``(n, h, w, 3)``.
    device
        Where to compute; None leaves a tensor where it is and an array on the CPU. The bytes travel, not the floats.

    Examples
    --------
    >>> to_network(np.full((1, 2, 2, 3), 255, np.uint8)).unique()
    tensor([1.])
    """
    pixels = torch.as_tensor(rgb, device=device)
    # A permuted view keeps its strides through the arithmetic, so the result is channels last.
    # In place, because on a CPU each copy of a large tile is tens of megabytes that the system clears first.
    return pixels.permute(0, 3, 1, 2).to(torch.float32, copy=True).div_(127.5).sub_(1)


def from_network(images: Tensor) -> NDArray[np.uint8]:
    """Images ``(n, 3, h, w)`` in [-1, 1], cut off there, as RGB uint8 ``(n, h, w, 3)`` on the CPU.

    Examples
    --------
    >>> from_network(torch.full((1, 3, 1, 1), 2.0)).tolist()
    [[[[255, 255, 255]]]]
    """
    levels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return levels.permute(0, 2, 3, 1).cpu().contiguous().numpy()
