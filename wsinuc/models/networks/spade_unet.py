"""The U-Net of semantic diffusion (Wang et al. 2022) that method B paints tissue over structures with.

The encoder sees the noisy image alone. Middle and decoder are told at every norm what is to appear
where: instead of a learned scale and shift per channel, SPADE (Park et al. 2019) computes them per
pixel from the condition. The paper's text speaks of the decoder only; its network, and the
parameters that it counts, have them in the middle block too.

Encoder, time embedding and attention are those of :mod:`wsinuc.models.networks.unet`, under the
same names, so that a denoiser that was pre-trained on unlabelled tissue can give its weights to
both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.networks.backward import joined
from wsinuc.models.networks.norm import GroupNorm
from wsinuc.models.networks.unet import Trunk, UNetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SpadeUNetConfig(UNetConfig):
    """Shape of the network: a U-Net's, and that of its norms."""

    condition_channels: Annotated[int, Meta(ge=1, le=64)] = 3
    """Channels of the map that says what appears where; 3 for a structure."""
    spade_width: Annotated[int, Meta(ge=1, le=4096)] = 128
    """Channels between the condition and the scales and shifts that are made of it."""


class Spade(nn.Module):
    """``norm(x) (1 + gamma) + beta`` with gamma and beta from the condition, pixel by pixel (Park
    et al. 2019, equation 1).

    A call takes features ``(n, channels, h, w)`` and the condition ``(n, c, h, w)`` at each height that occurs.
    """

    def __init__(self, channels: int, config: SpadeUNetConfig) -> None:
        super().__init__()
        self.norm = GroupNorm(32, channels, affine=False)
        self.shared = nn.Conv2d(config.condition_channels, config.spade_width, 3, padding=1)
        self.gamma = nn.Conv2d(config.spade_width, channels, 3, padding=1)
        self.beta = nn.Conv2d(config.spade_width, channels, 3, padding=1)

    def forward(self, x: Tensor, maps: Mapping[int, Tensor]) -> Tensor:
        shared = F.relu(self.shared(maps[x.shape[-2]]))
        return torch.addcmul(self.beta(shared), self.norm(x), 1 + self.gamma(shared))


class SpadeUNet(Trunk):
    """Noise predictor ``(n, in, h, w), (n,), (n, c, h, w) -> (n, out, h, w)``; h and w multiples of
    ``config.stride``."""

    config: SpadeUNetConfig

    def __init__(self, config: SpadeUNetConfig) -> None:
        super().__init__(config, norm=lambda channels: Spade(channels, config))

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Predicted noise (and variance code, if learned) of noisy images at timesteps ``t``.

        Parameters
        ----------
        x
            ``(n, in, h, w)`` noisy images.
        condition
            ``(n, condition_channels, h, w)``: for a structure 1 in nuclei and 0 elsewhere, H, V.
            All zero: no condition.

        Raises
        ------
        ConfigError
            The condition is of another shape, or the size is no multiple of the stride.
        """
        expected = (len(x), self.config.condition_channels, *x.shape[-2:])
        if tuple(condition.shape) != expected:
            raise ConfigError(f"images {tuple(x.shape)} need a condition {expected}, got {tuple(condition.shape)}")
        x, skips, time = self._encode(x, t)
        # Once for all norms of a level; strided views cost no memory.
        maps = self._at_every_size(condition.to(time.dtype))
        x = self.middle(x, time, maps)
        for block in self.decoder:
            x = block(joined(x, skips.pop()), time, maps)
        out: Tensor = self.head(x)
        return out

    def _at_every_size(self, condition: Tensor) -> dict[int, Tensor]:
        """The condition halved once per level, the nearest pixel taken; by height."""
        factors = [2**level for level in range(len(self.config.multipliers))]
        return {condition.shape[-2] // f: condition[:, :, ::f, ::f] for f in factors}
