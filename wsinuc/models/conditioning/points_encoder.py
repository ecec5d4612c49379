"""The branch that reads a layout: a map with one pixel per nucleus becomes features everywhere.

A single pixel reaches a neighbourhood only through depth at full resolution, so method C (Min, Oh,
Jeong 2024) uses ESRGAN's residual-in-residual dense blocks (Wang et al. 2018) here: every
convolution sees all that came before it in its block, branches are scaled by 0.2, and nothing is
normalised, because nearly all of the input is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

_SCALE = 0.2
"""Factor of each branch before it is added, as ESRGAN has it: without norms deep sums would grow."""
_SLOPE = 0.2
"""Slope of the leaky ReLU below 0."""
_EMBEDDING = 3
"""Channels of a class at a pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsConfig:
    """Size of the branch; the defaults are the paper's."""

    width: Annotated[int, Meta(ge=1, le=1024)] = 64
    """Channels between the blocks."""
    growth: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Channels that each convolution of a dense block adds."""
    blocks: Annotated[int, Meta(ge=1, le=32)] = 3
    """Residual-in-residual blocks, of ``dense`` dense blocks each."""
    dense: Annotated[int, Meta(ge=1, le=32)] = 3
    """Dense blocks of a residual-in-residual block."""


class _DenseBlock(nn.Module):
    """Five convolutions, each fed with all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.growing = nn.ModuleList(nn.Conv2d(width + i * growth, growth, 3, padding=1) for i in range(4))
        self.last = nn.Conv2d(width + 4 * growth, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in self.growing:
            seen = torch.cat([seen, F.leaky_relu(conv(seen), _SLOPE)], dim=1)
        out: Tensor = x + _SCALE * self.last(seen)
        return out


class _Rrdb(nn.Sequential):
    """Dense blocks with a residual around them."""

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for block in self:
            h = block(h)
        return x + _SCALE * h


class PointsEncoder(nn.Module):
    """Features ``(n, outputs, h, w)`` of layouts ``(n, h, w)`` of class ids, 0 where there is no nucleus."""

    def __init__(self, classes: int, outputs: int, config: PointsConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, _EMBEDDING)
        self.first = nn.Conv2d(_EMBEDDING, config.width, 3, padding=1)
        self.trunk = nn.Sequential(
            *(
                _Rrdb(*(_DenseBlock(config.width, config.growth) for _ in range(config.dense)))
                for _ in range(config.blocks)
            ),
            nn.Conv2d(config.width, config.width, 3, padding=1),
        )
        self.high = nn.Conv2d(config.width, config.width, 3, padding=1)
        self.last = nn.Conv2d(config.width, outputs, 3, padding=1)

    def forward(self, points: Tensor) -> Tensor:
        # Channels last in memory already.
        x = self.first(self.embedding(points).movedim(-1, 1))
        out: Tensor = self.last(F.leaky_relu(self.high(x + self.trunk(x)), _SLOPE))
        return out
