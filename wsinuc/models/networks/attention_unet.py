"""The U-Net of GenSelfDiff-HIS (Purma et al. 2025), method D: linear attention at every resolution.

It halves the resolution three times with four encoder stages, and comes back with three decoder stages; the skip of the
first encoder stage, at full resolution, is not used. The same network denoises (pre-training) and segments
(fine-tuning): only its last 1x1 convolution is exchanged, which ``features`` leaves to the caller.

Its attention is that of places of one level to one another. The Attention U-Net of Oktay et al. (2018) is another
network, in which the coarser level weighs skip connections (`wsinuc.models.networks.attention_gate`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.networks.backward import TransposedConv, joined
from wsinuc.models.networks.group_norm import QuickGroupNorm
from wsinuc.models.networks.unet import timestep_embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionUNetConfig:
    """Shape of the network and how it starts."""

    in_channels: Annotated[int, Meta(ge=1, le=64)] = 3
    out_channels: Annotated[int, Meta(ge=1, le=64)] = 3
    """3 for noise alone, 6 when the variance is learned too."""
    dim: Annotated[int, Meta(ge=8, le=1024)] = 64
    """Width of the finest level; a multiple of 8 because GroupNorm has 8 groups."""
    multipliers: Annotated[tuple[Annotated[int, Meta(ge=1, le=32)], ...], Meta(max_length=8)] = (1, 2, 4, 8)
    """Width of each level, finest first, in units of ``dim``."""
    heads: Annotated[int, Meta(ge=1, le=128)] = 4
    """Attention heads at every resolution."""
    head_width: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Channels of a head."""
    conv_std: Annotated[float, Meta(ge=0, le=10)] | None = 0.01
    """Convolution weights start as N(0, std), as published; None is PyTorch's own start."""
    norm_std: Annotated[float, Meta(ge=0, le=10)] | None = None
    """Gains of the norms start as N(0, std). The released code does so with 0.01, which silences every block at
    first; None starts them at 1."""

    def __post_init__(self) -> None:
        if self.dim % 8 or self.dim < 8:
            raise ConfigError(f"dim must be a multiple of 8 (GroupNorm has 8 groups), got {self.dim}")
        if len(self.multipliers) < 2:
            raise ConfigError("the attention U-Net needs at least two levels")

    @property
    def stem_channels(self) -> int:
        """Width of the first convolution: two thirds of ``dim``."""
        return self.dim // 3 * 2

    @property
    def stride(self) -> int:
        """Input height and width must be multiples of this."""
        return int(2 ** (len(self.multipliers) - 1))


class Block(nn.Module):
    """Convolution, GroupNorm with 8 groups, SiLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = QuickGroupNorm(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.silu(self.norm(self.conv(x)))
        return out


class ResBlock(nn.Module):
    """Two blocks with the timestep added between them, residual; without a timestep when ``time_width`` is None."""

    def __init__(self, inputs: int, outputs: int, time_width: int | None) -> None:
        super().__init__()
        self.time = None
        if time_width is not None:
            self.time = nn.Linear(time_width, outputs)
        self.first = Block(inputs, outputs)
        self.second = Block(outputs, outputs)
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs:
            self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.first(x)
        if self.time is not None:
            h = h + self.time(F.silu(time))[:, :, None, None]
        out: Tensor = self.skip(x) + self.second(h)
        return out


def _product(weight: Tensor, x: Tensor) -> Tensor:
    """A 1x1 convolution ``(out, in, 1, 1)`` of ``(n, in, positions)``, as a product of matrices for each image.

    Attention sums over positions, so it wants them last in memory. Queries, keys and values are many times as wide as
    the image that they are made of: turning the image round is much cheaper than turning them.
    """
    # Not ``@``, which makes one product of all images, and turns its result round for that.
    return torch.bmm(weight.flatten(1).expand(len(x), -1, -1), x)


class FullAttention(nn.Module):
    """Softmax attention over all positions, pre-norm, residual."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.width = width
        self.norm = QuickGroupNorm(1, channels)
        self.qkv = nn.Conv2d(channels, 3 * heads * width, 1, bias=False)
        self.out = nn.Conv2d(heads * width, channels, 1)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each ``(n, heads, width, positions)``."""
        positions = self.norm(x).flatten(2)
        # One product each: cut out of one, they would be copied again.
        parts = (_product(weight, positions) for weight in self.qkv.weight.chunk(3))
        q, k, v = (part.view(len(x), self.heads, self.width, -1) for part in parts)
        return q, k, v

    def _merged(self, mixed: Tensor, like: Tensor) -> Tensor:
        """What ``(n, heads, width, positions)`` says to an image ``(n, channels, h, w)``."""
        out = _product(self.out.weight, mixed.flatten(1, 2)).view(like.shape)
        out = out.contiguous(memory_format=torch.channels_last)
        if self.out.bias is not None:
            out = out + self.out.bias.to(out.dtype)[:, None, None]
        return out

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.transpose(-1, -2) for part in self._split(x))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        return x + self._merged(mixed, x)


class LinearAttention(FullAttention):
    """Attention whose cost is linear in the positions (Shen et al. 2021): keys and values are summed up once."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__(channels, heads, width)
        self.norm_out = QuickGroupNorm(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._split(x)
        # Queries are normalised over their channels and keys over the positions, so that k v^T can come first.
        q = q.softmax(dim=-2) * self.width**-0.5
        k = k.softmax(dim=-1)
        # (n, heads, width of keys, width of values).
        context = k @ v.transpose(-1, -2)
        mixed = context.transpose(-1, -2) @ q
        out: Tensor = x + self.norm_out(self._merged(mixed, x))
        return out


class AttentionStage(nn.Module):
    """Two residual blocks and linear attention at one resolution."""

    def __init__(self, inputs: int, outputs: int, time_width: int, config: AttentionUNetConfig) -> None:
        super().__init__()
        self.first = ResBlock(inputs, outputs, time_width)
        self.second = ResBlock(outputs, outputs, time_width)
        self.attention = LinearAttention(outputs, config.heads, config.head_width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        out: Tensor = self.attention(self.second(self.first(x, time), time))
        return out


class AttentionUNet(nn.Module):
    """Noise predictor ``(n, in, h, w), (n,) -> (n, out, h, w)``; h and w multiples of ``config.stride``."""

    def __init__(self, config: AttentionUNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.dim * m for m in config.multipliers]
        time = 4 * config.dim
        self.time = nn.Sequential(nn.Linear(config.dim, time), nn.GELU(), nn.Linear(time, time))
        self.stem = nn.Conv2d(config.in_channels, config.stem_channels, 7, padding=3)
        inputs = [config.stem_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(AttentionStage(i, o, time, config) for i, o in zip(inputs, widths, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(w, w, 4, stride=2, padding=1) for w in widths[:-1])
        self.middle_first = ResBlock(widths[-1], widths[-1], time)
        self.middle_attention = FullAttention(widths[-1], config.heads, config.head_width)
        self.middle_second = ResBlock(widths[-1], widths[-1], time)
        coming_up = list(reversed(widths))
        # Three decoder stages for four encoder stages, as published.
        self.decoder = nn.ModuleList(
            AttentionStage(2 * deep, shallow, time, config) for deep, shallow in itertools.pairwise(coming_up)
        )
        self.up = nn.ModuleList(TransposedConv(w, w, 4, stride=2, padding=1) for w in coming_up[1:])
        self.last = ResBlock(widths[0], widths[0], None)
        self.head = nn.Conv2d(widths[0], config.out_channels, 1)
        self._start()

    def _start(self) -> None:
        """Draw the first weights as the config says."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and self.config.conv_std is not None:
                nn.init.normal_(module.weight, std=self.config.conv_std)
            if isinstance(module, nn.GroupNorm) and self.config.norm_std is not None:
                nn.init.normal_(module.weight, std=self.config.norm_std)

    @property
    def head_channels(self) -> int:
        """Channels of ``features``."""
        return self.config.dim * self.config.multipliers[0]

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """``(n, head_channels, h, w)``: everything but the last 1x1 convolution, which a segmenter replaces."""
        if x.shape[-2] % self.config.stride or x.shape[-1] % self.config.stride:
            raise ConfigError(f"height and width must be multiples of {self.config.stride}, got {tuple(x.shape[-2:])}")
        time = self.time(timestep_embedding(t, self.config.dim).to(self.stem.weight.dtype))
        x = self.stem(x)
        skips: list[Tensor] = []
        for i, stage in enumerate(self.encoder):
            x = stage(x, time)
            skips.append(x)
            if i < len(self.down):
                x = self.down[i](x)
        x = self.middle_second(self.middle_attention(self.middle_first(x, time)), time)
        for stage, up in zip(self.decoder, self.up, strict=True):
            x = up(stage(joined(x, skips.pop()), time))
        # One skip is left, that of the first stage: the published network does not use it either.
        out: Tensor = self.last(x, time)
        return out

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predicted noise (and variance code, if learned) of noisy images ``x`` in [-1, 1] at timesteps ``t``."""
        out: Tensor = self.head(self.features(x, t))
        return out
