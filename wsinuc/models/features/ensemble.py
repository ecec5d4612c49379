"""An ensemble of small per-pixel networks, evaluated as one (method A, section 2.4).

Each member is ``Linear - ReLU - Linear - ReLU - Linear`` on the features of one pixel, as published with batch
normalisation after each ReLU. Its outputs are the logits of background and classes, and the maps that separation needs
(centre distance, or H and V).

Bilinear interpolation and a linear layer commute, so the first layer runs as one 1x1 convolution for all members on
the native-resolution maps, and only its few outputs are interpolated: the full-width feature tensor is never built.
Batch normalisation is affine once it is trained, and disappears in the linear layer after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.networks.dense import without_rim

NORMS = ("none", "batch")
"""How a pixel classifier normalises: not at all, or by batch normalisation after each ReLU."""
Layers = list[tuple[Tensor, Tensor]]
"""Weights ``(members, in, out)`` and biases ``(members, 1, out)`` of the three linear layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleConfig:
    """Shape of the ensemble."""

    channels: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=1, le=256)], Annotated[int, Meta(ge=1, le=2**20)]], ...],
        Meta(min_length=1, max_length=12),
    ]
    """(factor, features at that factor), finest first: what the feature extractor puts out."""
    classes: Annotated[int, Meta(ge=2, le=65)]
    """Background and nucleus classes."""
    maps: Annotated[int, Meta(ge=0, le=8)]
    """Regressed maps."""
    members: Annotated[int, Meta(ge=1, le=64)] = 5
    """Pixel classifiers (10 as published)."""
    hidden: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Width of the first hidden layer (128 as published)."""
    inner: Annotated[int, Meta(ge=1, le=4096)] = 32
    """Width of the second hidden layer, 32 as published."""
    norm: str = "none"
    """``batch`` normalises after each ReLU, as published; ``none`` does not."""
    factor: Annotated[int, Meta(ge=1, le=256)] = 1
    """Pixels of the image per side of a pixel that is classified: 1 classifies every one, as
    published. The finest factor of the features costs its square less, and interpolates what the
    classifiers say instead of what they read."""

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ConfigError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")
        if self.classes < 2 or self.members < 1:
            raise ConfigError(f"an ensemble needs 2 classes and 1 member, got {self.classes} and {self.members}")
        if self.factor < 1 or any(factor % self.factor for factor, _ in self.channels):
            raise ConfigError(f"every factor of the features must be a multiple of {self.factor}, got {self.channels}")

    @property
    def width(self) -> int:
        """Features per pixel."""
        return sum(count for _, count in self.channels)


@dataclass(frozen=True, slots=True)
class Votes:
    """What the members say about each pixel."""

    probabilities: Tensor
    """``(n, classes, h, w)`` mean over the members."""
    ballots: Tensor
    """``(n, classes, h, w)`` share of the members for which a class is the most probable."""
    entropy: Tensor
    """``(n, h, w)`` mean entropy of the members' probabilities, in nats."""
    maps: Tensor
    """``(n, maps, h, w)`` mean of the regressed maps."""

    @property
    def disagreement(self) -> Tensor:
        """``(n, h, w)`` Jensen-Shannon divergence H(mean p) - mean H(p) over log 2; 0 when all agree."""
        mean = self.probabilities
        whole = -(mean * mean.clamp_min(1e-12).log()).sum(1)
        return ((whole - self.entropy) / math.log(2)).clamp(0, 1)

    @property
    def majority(self) -> Tensor:
        """``(n, h, w)`` class that most members name; ties go to the smallest class."""
        return self.ballots.argmax(1)


class MemberNorm(nn.Module):
    """Batch normalisation of ``(members, k, width)``, each member by its own rows: ``BatchNorm1d`` once per member."""

    running_mean: Tensor
    running_var: Tensor
    momentum = 0.1
    """Share of each batch in the running statistics; PyTorch's own default, as `eps` is."""
    eps = 1e-5

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))
        self.register_buffer("running_mean", torch.zeros(members, 1, width))
        self.register_buffer("running_var", torch.ones(members, 1, width))

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift ``(members, 1, width)`` by the running statistics."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """``(members, k, width)`` normalised: by the batch's own statistics in training, by the running ones else."""
        if not self.training:
            scale, shift = self.affine()
            return x * scale + shift
        var, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
        with torch.no_grad():
            # As BatchNorm1d: the batch is normalised by its own variance, the running one is the unbiased estimate.
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (x.shape[1] / max(1, x.shape[1] - 1)), self.momentum)
        return (x - mean) * (var + self.eps).rsqrt() * self.weight + self.bias


class PixelClassifierEnsemble(nn.Module):
    """K pixel classifiers as three grouped linear layers.

    Standardisation of the features (``mean``, ``std`` per feature) is part of the module and folded
    into the first layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: EnsembleConfig) -> None:
        super().__init__()
        self.config = config
        k = config.members
        outputs = config.classes + config.maps
        # He's start (2 / inputs) before a ReLU, 1 / inputs before the outputs.
        self.first = nn.Parameter(torch.randn(k, config.width, config.hidden) * math.sqrt(2 / config.width))
        self.first_bias = nn.Parameter(torch.zeros(k, 1, config.hidden))
        self.second = nn.Parameter(torch.randn(k, config.hidden, config.inner) * math.sqrt(2 / config.hidden))
        self.second_bias = nn.Parameter(torch.zeros(k, 1, config.inner))
        self.third = nn.Parameter(torch.randn(k, config.inner, outputs) * math.sqrt(1 / config.inner))
        self.third_bias = nn.Parameter(torch.zeros(k, 1, outputs))
        widths: tuple[int, ...] = ()
        if config.norm == "batch":
            widths = (config.hidden, config.inner)
        self.norms = nn.ModuleList(MemberNorm(k, width) for width in widths)
        self.register_buffer("mean", torch.zeros(config.width))
        self.register_buffer("std", torch.ones(config.width))

    def forward(self, features: Tensor) -> Tensor:
        """Raw outputs ``(members, k, classes + maps)`` for features ``(members or 1, k, width)``,
        as used in training."""
        x = (features - self.mean) / self.std
        x = torch.relu(x @ self.first + self.first_bias)
        if self.norms:
            x = self.norms[0](x)
        x = torch.relu(x @ self.second + self.second_bias)
        if self.norms:
            x = self.norms[1](x)
        return x @ self.third + self.third_bias

    def folded(self) -> Layers:
        """Three layers that need no normalisation: standardisation goes into the first, batch norm into the next."""
        # W ((x - mean) / std) + b = (W / std) x + (b - mean (W / std))
        first = self.first / self.std[None, :, None]
        layers = [
            (first, self.first_bias - self.mean[None, None] @ first),
            (self.second, self.second_bias),
            (self.third, self.third_bias),
        ]
        for after, norm in enumerate(self.norms, start=1):
            assert isinstance(norm, MemberNorm)
            scale, shift = norm.affine()
            weight, bias = layers[after]
            # W (scale x + shift) + b, the norm's rows becoming factors of the next layer's inputs.
            layers[after] = (scale.transpose(1, 2) * weight, bias + shift @ weight)
        return layers

    @torch.no_grad()
    def vote(self, maps: dict[int, Tensor], margin: int = 0) -> Votes:
        """All members on native-resolution feature maps; ``margin`` pixels are cropped from every side.

        Raises
        ------
        ConfigError
            The maps are not those the ensemble was trained on, or the margin is no multiple of the coarsest factor.
        """
        classes = self.config.classes
        members = self.config.members
        mean = entropy = ballots = torch.zeros(())
        for raw in self.raw(maps, margin):
            # One member after the other, so that memory does not grow with their number.
            log_p = F.log_softmax(raw[:, :classes], dim=1)
            p = log_p.exp()
            mean = mean + torch.cat([p, raw[:, classes:]], dim=1)
            entropy = entropy - (p * log_p).sum(1)
            ballots = ballots + _ballots(p)
        mean = mean / members
        return Votes(mean[:, :classes], ballots / members, entropy / members, mean[:, classes:])

    def raw(self, maps: dict[int, Tensor], margin: int = 0) -> Iterator[Tensor]:
        """Raw outputs ``(n, classes + maps, h, w)`` in fp32, one member after another, differentiable; see ``vote``."""
        given = tuple((factor, stack.shape[1]) for factor, stack in maps.items())
        if given != self.config.channels:
            raise ConfigError(f"the ensemble was trained on features {self.config.channels}, got {given}")
        if margin and margin % max(maps):
            raise ConfigError(f"the margin must be a multiple of {max(maps)}, got {margin}")
        first, *later = self.folded()
        # Split once: the members' gradients are then joined once, where each slice would fill a whole map with zeros.
        shares = {
            factor: torch.split(stack, self.config.hidden, 1)
            for factor, stack in self._project(maps, margin, *first).items()
        }
        for member in range(self.config.members):
            own = {factor: parts[member] for factor, parts in shares.items()}
            yield self._member(own, member, margin, later)

    def _project(self, maps: dict[int, Tensor], margin: int, weight: Tensor, bias: Tensor) -> dict[int, Tensor]:
        """First layer on every native map; one native pixel of the margin is kept for the interpolation."""
        projected = {}
        start = 0
        finest = min(maps)
        for factor, stack in maps.items():
            part = weight[:, start : start + stack.shape[1]].permute(0, 2, 1).reshape(-1, stack.shape[1], 1, 1)
            start += stack.shape[1]
            # Interpolation reads one native pixel beyond what is kept.
            crop = margin // factor - 1 if margin else 0
            # The bias once, on the finest map: the parts are added up later.
            once = bias.flatten().to(stack.dtype) if factor == finest else None
            projected[factor] = F.conv2d(without_rim(stack, crop), part.to(stack.dtype), once)
        return projected

    def _member(self, projected: dict[int, Tensor], member: int, margin: int, later: Layers) -> Tensor:
        """Raw outputs ``(n, classes + maps, h, w)`` of one member from its share of the first layer."""
        coarse = self.config.factor
        # Pixels kept around for the last interpolation.
        ring = 1 if margin and coarse > 1 else 0
        parts = []
        for factor, stack in projected.items():
            # A member's channels side by side: five times as fast to add up as when they lie among the others'.
            part = _enlarged(stack.contiguous(memory_format=torch.channels_last), factor // coarse)
            parts.append(without_rim(part, factor // coarse - ring) if margin else part)
        x = sum(parts[1:], start=parts[0])
        for weight, bias in later:
            x = F.conv2d(torch.relu(x), weight[member].T[:, :, None, None].to(x.dtype), bias[member, 0].to(x.dtype))
        return without_rim(_enlarged(x.float(), coarse), ring * coarse)


def _ballots(p: Tensor) -> Tensor:
    """``(n, classes, h, w)`` whether a class is the most probable; ties go to the smallest class."""
    # As argmax would say, which takes ten times as long over few channels.
    best = p == p.amax(1, keepdim=True)
    for number in range(1, p.shape[1]):
        best[:, number] &= ~best[:, :number].any(1)
    return best


def _enlarged(x: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
