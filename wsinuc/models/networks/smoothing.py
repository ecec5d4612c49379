"""Means between pixels, at the cost that a CPU allows: the blur before folding, and the mean that halves resolution.

Both are plain operations of PyTorch, but those are slow for channels that lie last in memory: on a CPU a mean of 4 x 4
costs six times as much as the convolution that says the same, and a blur before folding twice as much.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional


class HalvingMean(nn.Module):
    """Images ``(n, c, h, w)`` of even sides, at half the resolution: means of 4 x 4 pixels in steps of 2.

    Four pixels wide, a mean lets nothing through at the frequency that half the resolution cannot hold. At the edges
    it is that of the pixels that there are.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.requires_grad:
            return _mean(x)
        channels = x.shape[1]
        kernel = torch.full((channels, 1, 4, 4), 1 / 16, dtype=x.dtype, device=x.device)
        half = functional.conv2d(x, kernel, stride=2, padding=1, groups=channels)
        # The convolution takes what lies beyond an edge for zeros.
        half[..., 0, :] = _mean(x[..., :4, :])[..., 0, :]
        half[..., -1, :] = _mean(x[..., -4:, :])[..., -1, :]
        half[..., :, 0] = _mean(x[..., :, :4])[..., :, 0]
        half[..., :, -1] = _mean(x[..., :, -4:])[..., :, -1]
        return half


def _mean(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 4, stride=2, padding=1, count_include_pad=False)


def folded_blur(x: Tensor, taps: int, fold: int) -> Tensor:
    """Images through a binomial filter, zeros beyond the edge, and each square of pixels as so many channels of one.

    Parameters
    ----------
    x
        ``(n, c, h, w)``.
    taps
        Of the filter, an odd number; 1 is none.
    fold
        Side of the squares in pixels, a divisor of ``h`` and ``w``.

    Returns
    -------
    ``(n, c * fold**2, h / fold, w / fold)``, in the order of `torch.nn.functional.pixel_unshuffle`.
    """
    if taps == 1:
        return functional.pixel_unshuffle(x, fold)
    kernel = _kernel(x.shape[1], taps, fold).to(x)
    return functional.conv2d(x, kernel, stride=fold, padding=taps // 2)


@lru_cache
def _kernel(channels: int, taps: int, fold: int) -> Tensor:
    """``(channels * fold**2, channels, side, side)``: for every pixel of a square, the filter around it."""
    row = torch.tensor([math.comb(taps - 1, k) for k in range(taps)]) / 2 ** (taps - 1)
    around = torch.outer(row, row)
    kernel = torch.zeros(channels, fold, fold, channels, fold + taps - 1, fold + taps - 1)
    for channel in range(channels):
        for y in range(fold):
            for x in range(fold):
                kernel[channel, y, x, channel, y : y + taps, x : x + taps] = around
    return kernel.flatten(0, 2)
