"""An ensemble of small per-pixel networks, evaluated as one (method A, section 2.4).

Each member is ``Linear - ReLU - Linear - ReLU - Linear`` on the features of one pixel. Its outputs are the logits of
background and classes, and the maps that separation needs (centre distance, or H and V).

Bilinear interpolation and a linear layer commute, so the first layer runs as one 1x1 convolution for all members on
the native-resolution maps, and only its few outputs are interpolated: the full-width feature tensor is never built.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsinuc.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleConfig:
    """Shape of the ensemble."""

    channels: tuple[tuple[int, int], ...]
    """(factor, features at that factor), finest first: what the feature extractor puts out."""
    classes: int
    """Background and nucleus classes."""
    maps: int
    """Regressed maps."""
    members: int = 5
    hidden: int = 64
    inner: int = 32

    def __post_init__(self) -> None:
        if self.classes < 2 or self.members < 1:
            raise ConfigError(f"an ensemble needs 2 classes and 1 member, got {self.classes} and {self.members}")

    @property
    def width(self) -> int:
        """Features per pixel."""
        return sum(count for _, count in self.channels)


@dataclass(frozen=True, slots=True)
class Votes:
    """What the members say about each pixel."""

    probabilities: Tensor
    """``(n, classes, h, w)`` mean over the members."""
    disagreement: Tensor
    """``(n, h, w)`` Jensen-Shannon divergence H(mean p) - mean H(p) over log 2; 0 when all agree."""
    maps: Tensor
    """``(n, maps, h, w)`` mean of the regressed maps."""


class PixelClassifierEnsemble(nn.Module):
    """K pixel classifiers as three grouped linear layers.

    Standardisation of the features (``mean``, ``std`` per feature) is part of the module and folded into the first layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: EnsembleConfig) -> None:
        super().__init__()
        self.config = config
        k, outputs = config.members, config.classes + config.maps
        self.first = nn.Parameter(torch.randn(k, config.width, config.hidden) * math.sqrt(2 / config.width))
        self.first_bias = nn.Parameter(torch.zeros(k, 1, config.hidden))
        self.second = nn.Parameter(torch.randn(k, config.hidden, config.inner) * math.sqrt(2 / config.hidden))
        self.second_bias = nn.Parameter(torch.zeros(k, 1, config.inner))
        self.third = nn.Parameter(torch.randn(k, config.inner, outputs) * math.sqrt(1 / config.inner))
        self.third_bias = nn.Parameter(torch.zeros(k, 1, outputs))
        self.register_buffer("mean", torch.zeros(config.width))
        self.register_buffer("std", torch.ones(config.width))

    def forward(self, features: Tensor) -> Tensor:
        """Raw outputs ``(members, k, classes + maps)`` for features ``(members or 1, k, width)``, as used in training."""
        x = (features - self.mean) / self.std
        x = torch.relu(x @ self.first + self.first_bias)
        x = torch.relu(x @ self.second + self.second_bias)
        return x @ self.third + self.third_bias

    @torch.no_grad()
    def vote(self, maps: dict[int, Tensor], margin: int = 0) -> Votes:
        """All members on native-resolution feature maps; ``margin`` pixels are cropped from every side.

        Raises
        ------
        ConfigError
            The maps are not those the ensemble was trained on, or the margin is no multiple of the coarsest factor.
        """
        opinions, entropies = [], []
        for raw in self.raw(maps, margin):
            log_p = F.log_softmax(raw[:, : self.config.classes].float(), dim=1)
            opinions.append(torch.cat([log_p.exp(), raw[:, self.config.classes :].float()], dim=1))
            entropies.append(-(log_p.exp() * log_p).sum(1))
        mean = torch.stack(opinions).mean(0)
        p = mean[:, : self.config.classes]
        divergence = -(p * p.clamp_min(1e-12).log()).sum(1) - torch.stack(entropies).mean(0)
        return Votes(p, (divergence / math.log(2)).clamp(0, 1), mean[:, self.config.classes :])

    def raw(self, maps: dict[int, Tensor], margin: int = 0) -> Iterator[Tensor]:
        """Raw outputs ``(n, classes + maps, h, w)`` of one member after another, differentiable; see ``vote``."""
        given = tuple((factor, stack.shape[1]) for factor, stack in maps.items())
        if given != self.config.channels:
            raise ConfigError(f"the ensemble was trained on features {self.config.channels}, got {given}")
        if margin and margin % max(maps):
            raise ConfigError(f"the margin must be a multiple of {max(maps)}, got {margin}")
        projected = self._project(maps, margin)
        for member in range(self.config.members):
            yield self._member(projected, member, margin)

    def _project(self, maps: dict[int, Tensor], margin: int) -> dict[int, Tensor]:
        """First layer on every native map; one native pixel of the margin is kept for the interpolation."""
        weight = self.first / self.std[None, :, None]
        bias = self.first_bias[:, 0] - torch.einsum("kwh,w->kh", weight, self.mean)
        projected, start = {}, 0
        for factor, stack in maps.items():
            part = weight[:, start : start + stack.shape[1]].permute(0, 2, 1).reshape(-1, stack.shape[1], 1, 1)
            start += stack.shape[1]
            crop = margin // factor - 1 if margin else 0
            inner = stack[:, :, crop : stack.shape[2] - crop, crop : stack.shape[3] - crop]
            projected[factor] = F.conv2d(inner, part.to(stack.dtype))
        finest = min(projected)
        projected[finest] = projected[finest] + bias.reshape(1, -1, 1, 1).to(projected[finest].dtype)
        return projected

    def _member(self, projected: dict[int, Tensor], member: int, margin: int) -> Tensor:
        """Raw outputs ``(n, classes + maps, h, w)`` of one member."""
        channels = slice(member * self.config.hidden, (member + 1) * self.config.hidden)
        parts = []
        for factor, stack in projected.items():
            part = stack[:, channels]
            if factor > 1:
                part = F.interpolate(part, scale_factor=factor, mode="bilinear", align_corners=False)
            if margin:
                part = part[:, :, factor : part.shape[2] - factor, factor : part.shape[3] - factor]
            parts.append(part)
        hidden = sum(parts[1:], start=parts[0])
        dtype = hidden.dtype
        inner = F.conv2d(
            torch.relu(hidden), self.second[member].T[:, :, None, None].to(dtype), self.second_bias[member, 0].to(dtype)
        )
        return F.conv2d(
            torch.relu(inner), self.third[member].T[:, :, None, None].to(dtype), self.third_bias[member, 0].to(dtype)
        )
