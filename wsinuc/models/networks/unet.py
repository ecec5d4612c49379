"""The U-Net of Dhariwal & Nichol (2021), the one network that every DDPM of wsinuc is made of.

The encoder halves the resolution once per level, the middle block works at the coarsest, the decoder comes back up. A
decoder level has ``res_blocks + 1`` blocks; the last one of every level but the finest also upsamples, so its output
already has the next resolution. Decoder blocks are numbered from 0 at the coarsest level: these are the numbers by
which features are chosen (Baranchuk et al. 2022, section 4).

``activations`` returns the outputs of chosen decoder blocks and stops after the last of them: with blocks 6, 8, 10 and
12 of 18 that costs about half of a full forward pass and gives the very same tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.networks.backward import joined
from wsinuc.models.networks.norm import GroupNorm


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig:
    """Shape of the network."""

    in_channels: Annotated[int, Meta(ge=1, le=64)] = 3
    out_channels: Annotated[int, Meta(ge=1, le=64)] = 3
    """3 for noise alone, 6 when the variance is learned too."""
    base: Annotated[int, Meta(ge=32, le=1024)] = 128
    """Width of the finest level; a multiple of 32 because GroupNorm has 32 groups."""
    multipliers: Annotated[tuple[Annotated[int, Meta(ge=1, le=32)], ...], Meta(max_length=8)] = (1, 1, 2, 2, 4, 4)
    """Width of each level, finest first, in units of ``base``."""
    res_blocks: Annotated[int, Meta(ge=1, le=16)] = 2
    """Residual blocks of an encoder level; a decoder level has one more."""
    attention_factors: Annotated[tuple[Annotated[int, Meta(ge=1, le=128)], ...], Meta(max_length=8)] = (8, 16, 32)
    """Down-sampling factors at which self-attention follows each ResBlock (32, 16 and 8 px of a 256 px input)."""
    head_channels: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Channels per attention head."""
    heads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Number of attention heads at every width, instead of ``head_channels`` for each."""
    resblock_updown: bool = True
    """Resample inside a ResBlock (the 256 px flags) instead of by a strided or plain convolution."""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Share of activations that each residual block drops in training."""
    middle_attention: bool = True
    """Self-attention in the middle block. Without any attention features depend on their
    surroundings only, so a network trained on small patches works on larger tiles."""

    def __post_init__(self) -> None:
        if self.base % 32:
            raise ConfigError(f"base must be a multiple of 32 (GroupNorm has 32 groups), got {self.base}")
        if not self.multipliers or self.res_blocks < 1:
            raise ConfigError("a U-Net needs at least one level and one residual block per level")

    @property
    def time_width(self) -> int:
        """Width of the timestep embedding."""
        return 4 * self.base

    @property
    def stride(self) -> int:
        """Input height and width must be multiples of this."""
        return int(2 ** (len(self.multipliers) - 1))

    @property
    def decoder_channels(self) -> tuple[int, ...]:
        """Channels that each decoder block puts out, coarsest level first."""
        return tuple(self.base * m for m in reversed(self.multipliers) for _ in range(self.res_blocks + 1))

    @property
    def decoder_factors(self) -> tuple[int, ...]:
        """Down-sampling factor of each decoder block's output relative to the input."""
        deepest = len(self.multipliers) - 1
        return tuple(
            2 ** (level - int(level > 0 and i == self.res_blocks))  # the last block of a level has upsampled
            for level in range(deepest, -1, -1)
            for i in range(self.res_blocks + 1)
        )


def timestep_embedding(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding ``(n, width)`` of timesteps ``(n,)``: cosine half, then sine half.

    The order of the halves and the longest period of 10,000 are those of guided-diffusion, so that its
    public weights fit.

    Examples
    --------
    >>> timestep_embedding(torch.tensor([0]), 4)
    tensor([[1., 1., 0., 0.]])
    """
    half = width // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _zeroed(module: nn.Module) -> nn.Module:
    """The same module with zero parameters: a residual branch then starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


Norm = Callable[[int], nn.Module]


def _plain_norm(channels: int) -> nn.Module:
    return GroupNorm(32, channels)


class ResBlock(nn.Module):
    """Two 3x3 convolutions with the timestep as scale and shift of the second norm; may resample by ``resample``.

    ``resample`` is "up" (nearest x2), "down" (average pool 2) or None. ``norm`` builds a norm for
    so many channels; what a call is given beside image and timestep goes to the norms.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        time_width: int,
        *,
        dropout: float = 0.0,
        resample: str | None = None,
        norm: Norm = _plain_norm,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm_in = norm(inputs)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time_width, 2 * outputs)
        self.norm_out = norm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = _zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs:
            self.skip = nn.Conv2d(inputs, outputs, 1)

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        return x

    def forward(self, x: Tensor, time: Tensor, *condition: Any) -> Tensor:
        h = self.conv_in(self._resampled(F.silu(self.norm_in(x, *condition))))
        scale, shift = self.time(F.silu(time))[:, :, None, None].chunk(2, dim=1)
        # norm * (1 + scale) + shift in one pass.
        h = torch.addcmul(shift, self.norm_out(h, *condition), 1 + scale)
        out: Tensor = self.skip(self._resampled(x)) + self.conv_out(self.dropout(F.silu(h)))
        return out


class Attention(nn.Module):
    """Multi-head self-attention over all positions, residual."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(32, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w).transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.proj(mixed.transpose(-1, -2).reshape(n, c, h, w))
        return out


class Resample(nn.Module):
    """Plain resampling of guided-diffusion without ``resblock_updown``: strided conv down, nearest + conv up."""

    def __init__(self, channels: int, direction: str) -> None:
        super().__init__()
        self.direction = direction
        stride = 2 if direction == "down" else 1
        self.conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=1)

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        if self.direction == "up":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        out: Tensor = self.conv(x)
        return out


class ConditionedSequential(nn.ModuleList):
    """One numbered block: its parts run one after another, each given the timestep and the
    condition, if there is one."""

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        for part in self:
            x = part(x, *context)
        return x


class Trunk(nn.Module):
    """What all networks of this shape have in common: everything but what a call is given, and
    passes on to the way back.

    Parameters
    ----------
    config
        The shape of the network. It has no other state: what it computes depends on weights and arguments alone.
    norm
        Builds the norms of middle and decoder; the encoder's are always plain.
    """

    def __init__(self, config: UNetConfig, norm: Norm = _plain_norm) -> None:
        super().__init__()
        self.config = config
        self.time = nn.Sequential(
            nn.Linear(config.base, config.time_width), nn.SiLU(), nn.Linear(config.time_width, config.time_width)
        )
        widths = [config.base * m for m in config.multipliers]
        self.stem = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        # The names of modules are part of every checkpoint, and `guided` translates the published ones into them.
        skips = self._build_encoder(widths)
        self.middle = ConditionedSequential([self._res(widths[-1], widths[-1], norm=norm)])
        if config.middle_attention:
            self.middle.append(self._attention(widths[-1]))
        self.middle.append(self._res(widths[-1], widths[-1], norm=norm))
        self._build_decoder(widths, skips, norm)
        self.head = nn.Sequential(
            GroupNorm(32, widths[0]), nn.SiLU(), _zeroed(nn.Conv2d(widths[0], config.out_channels, 3, padding=1))
        )

    def _res(self, inputs: int, outputs: int, *, resample: str | None = None, norm: Norm = _plain_norm) -> ResBlock:
        config = self.config
        return ResBlock(inputs, outputs, config.time_width, dropout=config.dropout, resample=resample, norm=norm)

    def _attention(self, channels: int) -> Attention:
        heads = self.config.heads or max(1, channels // self.config.head_channels)
        if channels % heads:
            raise ConfigError(f"{channels} channels cannot be shared out to {heads} attention heads")
        return Attention(channels, heads)

    def _resampler(self, channels: int, direction: str, norm: Norm = _plain_norm) -> nn.Module:
        if self.config.resblock_updown:
            return self._res(channels, channels, resample=direction, norm=norm)
        return Resample(channels, direction)

    def _build_encoder(self, widths: Sequence[int]) -> list[int]:
        """Fill ``self.encoder``; returns the channels of every skip connection in the order they are made."""
        self.encoder = nn.ModuleList()
        channels = widths[0]
        skips = [widths[0]]
        for level, width in enumerate(widths):
            for _ in range(self.config.res_blocks):
                block = ConditionedSequential([self._res(channels, width)])
                if 2**level in self.config.attention_factors:
                    block.append(self._attention(width))
                self.encoder.append(block)
                channels = width
                skips.append(width)
            if level < len(widths) - 1:
                self.encoder.append(ConditionedSequential([self._resampler(width, "down")]))
                skips.append(width)
        return skips

    def _build_decoder(self, widths: Sequence[int], skips: list[int], norm: Norm) -> None:
        """Fill ``self.decoder``: block i consumes the last skip that is left."""
        self.decoder = nn.ModuleList()
        channels = widths[-1]
        skips = list(skips)
        for level, width in reversed(list(enumerate(widths))):
            for i in range(self.config.res_blocks + 1):
                block = ConditionedSequential([self._res(channels + skips.pop(), width, norm=norm)])
                if 2**level in self.config.attention_factors:
                    block.append(self._attention(width))
                # The last block of a level upsamples as well: that is what the published block numbers count on.
                if level and i == self.config.res_blocks:
                    block.append(self._resampler(width, "up", norm))
                self.decoder.append(block)
                channels = width

    def _encode(self, x: Tensor, t: Tensor, blocks: int | None = None) -> tuple[Tensor, list[Tensor], Tensor]:
        """What enters the middle block, skips and timestep embedding of noisy images.

        Only the skips of the first ``blocks`` decoder blocks are kept, of all by default: the
        finest, which an early exit never reads, are the largest.
        """
        # Decoder block i reads the i-th skip from the end, so the first ones belong to blocks that are not run.
        if blocks is None:
            unread = 0
        else:
            unread = len(self.decoder) - blocks
        if x.shape[-2] % self.config.stride or x.shape[-1] % self.config.stride:
            raise ConfigError(f"height and width must be multiples of {self.config.stride}, got {tuple(x.shape[-2:])}")
        time = self.time(timestep_embedding(t, self.config.base).to(self.stem.weight.dtype))
        x = self.stem(x)
        skips = [] if unread else [x]
        for index, block in enumerate(self.encoder, start=1):
            x = block(x, time)
            if index >= unread:
                skips.append(x)
        return x, skips, time

    @property
    def head_channels(self) -> int:
        """Channels of ``features``."""
        return self.config.base * self.config.multipliers[0]


class UNet(Trunk):
    """Noise predictor ``(n, in, h, w), (n,) -> (n, out, h, w)``; h and w multiples of ``config.stride``."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """``(n, head_channels, h, w)``: the last decoder block's activation, which a segmenter's head reads instead of
        the output's norm and convolution."""
        x, skips, time = self._encode(x, t)
        x = self.middle(x, time)
        for block in self.decoder:
            x = block(joined(x, skips.pop()), time)
        return x

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predicted noise (and variance code, if learned) of noisy images ``x`` in [-1, 1] at timesteps ``t``."""
        out: Tensor = self.head(self.features(x, t))
        return out

    def activations(self, x: Tensor, t: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Outputs of the decoder blocks ``blocks``, in the order asked for; nothing after the last is computed.

        Returns
        -------
        list of Tensor
            ``(n, decoder_channels[b], h / decoder_factors[b], w / decoder_factors[b])`` for each block b.
        """
        if not blocks or not 0 <= min(blocks) <= max(blocks) < len(self.decoder):
            raise ConfigError(f"decoder blocks are numbered 0 to {len(self.decoder) - 1}, got {tuple(blocks)}")
        x, skips, time = self._encode(x, t, max(blocks) + 1)
        x = self.middle(x, time)
        outputs: dict[int, Tensor] = {}
        for index, block in enumerate(self.decoder[: max(blocks) + 1]):
            x = block(joined(x, skips.pop()), time)
            if index in blocks:
                outputs[index] = x
        return [outputs[b] for b in blocks]
