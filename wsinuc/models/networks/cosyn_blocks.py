"""What CoSyn's U-Net is made of: residual blocks with a gate over the whole image, and resampling without loss.

The parts are Imagen's "efficient U-Net" (Saharia et al. 2022, appendix B): a residual block may
look at the context between its convolutions, its output is gated by a summary of the whole image
(Cao et al. 2019), levels are left by folding 2 x 2 pixels into channels and re-entered by unfolding
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsinuc.models.networks.attention import ImageAttention
from wsinuc.models.networks.norm import GroupNorm

_GROUPS = 8
_WIDEST = 13
"""Columns of the widest kernel that oneDNN has a fast backward pass for."""


class GlobalContext(nn.Module):
    """Gate of each channel ``(n, c, 1, 1)`` by the mean of all positions, weighted by what they hold."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(3, channels // 2)
        self.weight = nn.Conv2d(channels, 1, 1)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.SiLU(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weight(x).flatten(2).softmax(-1).to(x.dtype)
        summary = torch.bmm(x.flatten(2), weights.transpose(1, 2))
        gate: Tensor = self.gate(summary[..., None])
        return gate


class GatedResBlock(nn.Module):
    """Two 3x3 convolutions; the time scales and shifts the second norm, the context is looked at in between.

    Parameters
    ----------
    context
        Width of context tokens to attend to; 0 ignores them.
    gated
        Whether a `GlobalContext` gates the output.
    """

    def __init__(
        self, inputs: int, outputs: int, time_width: int, *, context: int = 0, heads: int = 8, gated: bool = False
    ) -> None:
        super().__init__()
        self.norm_in = GroupNorm(_GROUPS, inputs)
        self.norm_out = GroupNorm(_GROUPS, outputs)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv_out = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.time = nn.Linear(time_width, 2 * outputs)
        self.attention = None
        if context:
            self.attention = ImageAttention(outputs, context, heads, self_attention=False)
        self.gate = GlobalContext(outputs) if gated else None
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs:
            self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        if self.attention is not None:
            h = self.attention(h, context)
        scale, shift = self.time(F.silu(time))[:, :, None, None].chunk(2, dim=1)
        h = self.conv_out(F.silu(torch.addcmul(shift, self.norm_out(h), 1 + scale)))
        if self.gate is not None:
            h = h * self.gate(h)
        out: Tensor = self.skip(x) + h
        return out


class Fold(nn.Module):
    """Half the resolution: 2 x 2 pixels become channels, then a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4 * inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pixel_unshuffle(x, 2))
        return out


class Unfold(nn.Module):
    """Twice the resolution by pixel shuffle; starts as nearest-neighbour, which leaves no chequerboard."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 1)
        with torch.no_grad():
            first = torch.empty(outputs, inputs, 1, 1)
            nn.init.kaiming_uniform_(first)
            # The same weights for the 4 pixels that one becomes.
            self.conv.weight.copy_(first.repeat_interleave(4, dim=0))
            nn.init.zeros_(cast(Tensor, self.conv.bias))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.silu(self.conv(x)), 2)


class WideConv2d(nn.Conv2d):
    """A convolution with a square kernel, its result that of ``nn.Conv2d``; on a CPU the kernel's
    columns go in two halves.

    There a backward pass through 15 columns takes a hundred times as long as through 8 and 7 (5.0 s against 0.04 s of
    a core at 128 px with 16 channels), because no fast kernel takes more than 13.
    """

    def forward(self, x: Tensor) -> Tensor:
        size = self.kernel_size[0]
        width = x.shape[-1]
        if x.device.type != "cpu" or size <= _WIDEST:
            return super().forward(x)
        split = (size + 1) // 2
        margin = size // 2
        x = F.pad(x, (margin, margin, margin, margin))
        left = F.conv2d(x[..., : width + split - 1], self.weight[..., :split], self.bias)
        return left + F.conv2d(x[..., split : width + size - 1], self.weight[..., split:])


class CrossEmbed(nn.Module):
    """Parallel convolutions of several kernels side by side: half of the channels see the smallest,
    a quarter the next ..."""

    def __init__(self, inputs: int, outputs: int, kernels: Sequence[int]) -> None:
        super().__init__()
        kernels = sorted(kernels)
        shares = [outputs // 2**i for i in range(1, len(kernels))]
        shares.append(outputs - sum(shares))
        self.convs = nn.ModuleList(
            WideConv2d(inputs, share, kernel, padding=kernel // 2)
            for share, kernel in zip(shares, kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([conv(x) for conv in self.convs], dim=1)


class LogSnrEmbedding(nn.Module):
    """A log-SNR ``(n,)`` as itself and sines and cosines of learned frequencies, through a linear layer and SiLU."""

    def __init__(self, outputs: int, waves: int = 16) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(waves // 2))
        self.linear = nn.Linear(waves + 1, outputs)

    def forward(self, log_snr: Tensor) -> Tensor:
        value = log_snr.to(self.frequencies.dtype)[:, None]
        angles = value * self.frequencies * (2 * torch.pi)
        return F.silu(self.linear(torch.cat([value, angles.sin(), angles.cos()], dim=1)))
