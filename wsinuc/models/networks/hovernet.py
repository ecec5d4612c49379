"""HoVer-Net, "fast" (Graham et al. 2019): one encoder, and a decoder each for nuclei, H and V maps, and types.

The encoder is a ResNet-50 with pre-activation whose stem keeps the resolution, so its stages lie at
1, 1/2, 1/4 and 1/8. A decoder doubles the resolution by repetition, *adds* the encoder's map, and
mixes by 3x3 convolutions without padding and densely connected units in four groups. Of 256 px 164
are left.

``width`` scales all channels, for computers without a GPU; 1 is the published network. The published one starts
from ImageNet weights, this one from random ones.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.networks.dense import DenseNetwork, DenseOutput, without_rim

STRIDE = 8
"""Pixels of which the sides of an input must be multiples."""
LOST = 46
"""Pixels that the decoders' unpadded convolutions cost on each side: 9 at 1/4, and 5 at 1/2, times 4 and 2."""
GROUPS = 4
"""Groups of the dense units' 3x3 convolutions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoVerNetConfig:
    """Shape of the network."""

    classes: Annotated[int, Meta(ge=2, le=65)]
    """Outputs for classes, with background; with 2 there is no decoder for types."""
    maps: int = 2
    """H and V."""
    width: float = 1.0
    """Channels relative to the published network; each count is rounded to a multiple of 4."""

    def __post_init__(self) -> None:
        if self.maps != 2:
            raise ConfigError(f"HoVer-Net has two maps, H and V; got {self.maps}")
        if self.classes < 2 or not 1 / 16 <= self.width <= 4:
            raise ConfigError(
                f"expected 2 classes or more and a width of 1/16 to 4, got {self.classes} and {self.width}"
            )

    def scaled(self, channels: int) -> int:
        """A published number of channels at this width."""
        # Grouped convolutions need channels that the groups share out.
        return max(GROUPS, round(channels * self.width / GROUPS) * GROUPS)


class HoVerNet(DenseNetwork):
    """Images ``(n, 3, h, w)`` in [-1, 1] to `DenseOutput` of ``h - 92``; h and w multiples of 8.

    Where there is one class, its logits are those of the nuclei.
    """

    lost = LOST

    def __init__(self, config: HoVerNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.scaled(channels) for channels in (64, 256, 512, 1024, 2048)]
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 7, padding=3, bias=False), *_bn_relu(widths[0]))
        self.stages = nn.ModuleList(
            residual_stage(inputs, config.scaled(middle), outputs, units=units, stride=1 if i == 0 else 2)
            for i, ((inputs, outputs), middle, units) in enumerate(
                zip(pairwise(widths), (64, 128, 256, 512), (3, 4, 6, 3), strict=True)  # ResNet-50's
            )
        )
        self.bottleneck = nn.Conv2d(widths[4], widths[3], 1, bias=False)
        # The order is that of the checkpoint's names; types come last, where there are any.
        outputs = {"nuclei": 2, "maps": config.maps}
        if config.classes > 2:
            outputs["types"] = config.classes
        self.decoders = nn.ModuleDict({name: Decoder(config, count) for name, count in outputs.items()})

    def forward(self, x: Tensor) -> DenseOutput:
        if x.shape[-2] % STRIDE or x.shape[-1] % STRIDE or min(x.shape[-2:]) <= 2 * LOST:
            raise ConfigError(f"height and width must be multiples of 8 above {2 * LOST}, got {tuple(x.shape[-2:])}")
        x = self.stem(x)
        skips: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        # The deepest map goes on with half its channels: three decoders read it.
        skips[-1] = self.bottleneck(x)
        raw = {name: decoder(*skips) for name, decoder in self.decoders.items()}
        return DenseOutput(raw.get("types", raw["nuclei"]), raw["maps"], raw["nuclei"])


def _bn_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class ResidualUnit(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside an identity, or a 1x1 convolution where size or channels change.

    ``first`` units get what is activated already; the others normalise and activate before they begin.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, *, stride: int, first: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *([] if first else [nn.BatchNorm2d(inputs), nn.ReLU()]),  # not in place: the shortcut needs what comes in
            nn.Conv2d(inputs, middle, 1, bias=False),
            *_bn_relu(middle),
            nn.Conv2d(middle, middle, 3, stride=stride, padding=1, bias=False),
            *_bn_relu(middle),
            nn.Conv2d(middle, outputs, 1, bias=False),
        )
        changes = stride != 1 or inputs != outputs
        self.shortcut: nn.Module = nn.Identity()
        if changes:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.body(x)
        return out


def residual_stage(inputs: int, middle: int, outputs: int, *, units: int, stride: int) -> nn.Sequential:
    """Residual units, the first of which resamples, and a last normalisation and activation.

    Parameters
    ----------
    inputs, middle, outputs
        Channels before the units, between their 1x1 convolutions, and after them.
    units
        How many there are.
    stride
        Of the first unit: 2 halves the resolution.
    """
    parts = [ResidualUnit(inputs, middle, outputs, stride=stride, first=True)]
    parts += [ResidualUnit(outputs, middle, outputs, stride=1, first=False) for _ in range(units - 1)]
    return nn.Sequential(*parts, *_bn_relu(outputs))


class DenseUnits(nn.Module):
    """Units that each add a few channels to all that came before; each costs a pixel on every side."""

    def __init__(self, inputs: int, middle: int, growth: int, units: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(inputs + i * growth),
                nn.ReLU(),
                nn.Conv2d(inputs + i * growth, middle, 1, bias=False),
                *_bn_relu(middle),
                nn.Conv2d(middle, growth, 3, groups=GROUPS, bias=False),
            )
            for i in range(units)
        )
        self.outputs = inputs + units * growth
        self.last = nn.Sequential(*_bn_relu(self.outputs))

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.units:
            # Cropped by what the unit's unpadded 3x3 convolution costs.
            x = torch.cat([x[..., 1:-1, 1:-1], unit(x)], 1)
        out: Tensor = self.last(x)
        return out


class Decoder(nn.Module):
    """From the encoder's four maps, finest first, to ``outputs`` channels at full resolution."""

    def __init__(self, config: HoVerNetConfig, outputs: int) -> None:
        super().__init__()
        deep, quarter, half, full = (config.scaled(channels) for channels in (1024, 512, 256, 64))
        self.coarse = self._mixer(config, deep, config.scaled(256), quarter, units=8)
        self.middle = self._mixer(config, quarter, config.scaled(128), half, units=4)
        self.fine = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(half, full, 3, padding=1, bias=False),
                norm=nn.BatchNorm2d(full),
                relu=nn.ReLU(inplace=True),
                head=nn.Conv2d(full, outputs, 1),
            )
        )

    @staticmethod
    def _mixer(config: HoVerNetConfig, inputs: int, middle: int, outputs: int, *, units: int) -> nn.Sequential:
        dense = DenseUnits(middle, config.scaled(128), config.scaled(32), units)
        return nn.Sequential(
            nn.Conv2d(inputs, middle, 3, bias=False), dense, nn.Conv2d(dense.outputs, outputs, 1, bias=False)
        )

    def forward(self, d0: Tensor, d1: Tensor, d2: Tensor, d3: Tensor) -> Tensor:
        x = self.coarse(_doubled(d3) + d2)
        x = self.middle(_added(_doubled(x), d1))
        out: Tensor = self.fine(_added(_doubled(x), d0))
        return out


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _added(x: Tensor, skip: Tensor) -> Tensor:
    """``x`` plus the middle of the encoder's larger map."""
    return x + without_rim(skip, (skip.shape[-1] - x.shape[-1]) // 2)
