"""Pixel features from a frozen denoiser (method A, section 2.3; Baranchuk et al. 2022, section 4).

An image is noised to a few timesteps, the denoiser runs once on each, and the activations of a few
decoder blocks are the features. They stay at their native resolutions: whoever needs them per pixel
interpolates what is left after its first linear layer, which is exact because both are linear (see
``ensemble``).

The noise is a texture of 64 x 64 px that repeats over the whole plane. Tiles are laid on a grid whose stride is a
multiple of 64, so the noise at a pixel is a function of seed, timestep and slide position alone, and at the same time
every tile sees the very same noise, as in Baranchuk et al.'s code: no tile, block, run or machine can change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor

from wsinuc.errors import ConfigError
from wsinuc.grid import ceil_div
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.networks.unet import UNet

NOISE_PERIOD = 64
"""Side in pixels of the texture of noise; tiles are laid on multiples of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureConfig:
    """Which activations are features."""

    timesteps: Annotated[tuple[Annotated[int, Meta(ge=0, lt=1000)], ...], Meta(max_length=64)] = (50, 150, 250)
    """Noise levels at which the denoiser is asked, as published for method A."""
    blocks: Annotated[tuple[Annotated[int, Meta(ge=0, le=255)], ...], Meta(max_length=64)] = (6, 8, 10, 12)
    """Decoder blocks whose outputs are features, ascending; as published, for the 18 blocks of the 256 px network."""
    image: bool = False
    """Add the clean RGB itself as three features at full resolution."""
    seed: Annotated[int, Meta(ge=0, le=2**62)] = 0
    """Seed of the noise."""

    def __post_init__(self) -> None:
        if not self.timesteps or not self.blocks:
            raise ConfigError("features need at least one timestep and one decoder block")
        if min(self.timesteps) < 0:
            # Counted from the end, it would be another one without a word.
            raise ConfigError(f"timesteps count from 0, got {self.timesteps}")
        if list(self.blocks) != sorted(set(self.blocks)):
            raise ConfigError(f"decoder blocks must be ascending and distinct, got {self.blocks}")


def noise_texture(config: FeatureConfig) -> Tensor:
    """The noise of each timestep, ``(timesteps, 3, 64, 64)``, standard normal."""
    generator = torch.Generator().manual_seed(config.seed)
    return torch.randn(len(config.timesteps), 3, NOISE_PERIOD, NOISE_PERIOD, generator=generator)


class FeatureExtractor:
    """Images to native-resolution feature maps, the same for the same image.

    Parameters
    ----------
    unet
        A trained denoiser; it is put into evaluation mode and never changed.
    """

    def __init__(self, unet: UNet, process: GaussianDiffusion, config: FeatureConfig) -> None:
        if max(config.timesteps) >= process.steps:
            raise ConfigError(f"timesteps run from 0 to {process.steps - 1}, got {config.timesteps}")
        if max(config.blocks) >= len(unet.config.decoder_channels):
            raise ConfigError(
                f"decoder blocks run from 0 to {len(unet.config.decoder_channels) - 1}, got {config.blocks}"
            )
        self.unet = unet.eval().requires_grad_(False)
        self.process = process
        self.config = config
        self._noise = noise_texture(config)

    @property
    def channels(self) -> dict[int, int]:
        """Number of features at each down-sampling factor, finest first; their sum is the feature width."""
        channels: dict[int, int] = {}
        if self.config.image:
            channels[1] = 3
        for block in self.config.blocks:
            factor = self.unet.config.decoder_factors[block]
            width = self.unet.config.decoder_channels[block] * len(self.config.timesteps)
            channels[factor] = channels.get(factor, 0) + width
        return dict(sorted(channels.items()))

    @torch.no_grad()
    def __call__(self, x0: Tensor, shift: tuple[int, int] = (0, 0)) -> dict[int, Tensor]:
        """``maps`` without gradients."""
        return self.maps(x0, shift)

    def maps(self, x0: Tensor, shift: tuple[int, int] = (0, 0)) -> dict[int, Tensor]:
        """Feature maps of images ``(n, 3, h, w)`` in [-1, 1].

        Parameters
        ----------
        shift
            Moves the noise texture by (y, x); training draws it at random so that no classifier learns the texture.

        Returns
        -------
        dict
            factor -> ``(n, channels[factor], h / factor, w / factor)``; within a factor: the image, then timestep by
            timestep, block by block.
        """
        n, _, height, width = x0.shape
        steps = len(self.config.timesteps)
        repeats = (1, 1, ceil_div(height, NOISE_PERIOD), ceil_div(width, NOISE_PERIOD))
        noise = self._noise.to(x0.device).roll(shift, (2, 3)).repeat(repeats)[:, :, :height, :width]
        t = torch.tensor(self.config.timesteps, device=x0.device).repeat_interleave(n)
        noisy = self.process.noise(x0.repeat(steps, 1, 1, 1), t, noise.repeat_interleave(n, 0))
        noisy = noisy.to(dtype=self.unet.stem.weight.dtype, memory_format=torch.channels_last)
        maps: dict[int, list[Tensor]] = {}
        if self.config.image:
            maps[1] = [x0.to(noisy.dtype)]
        # All timesteps go through the network as one batch, timestep by timestep.
        activations = self.unet.activations(noisy, t, self.config.blocks)
        for step in range(steps):
            for block, activation in zip(self.config.blocks, activations, strict=True):
                factor = self.unet.config.decoder_factors[block]
                maps.setdefault(factor, []).append(activation[step * n : (step + 1) * n])
        return {factor: torch.cat(maps[factor], dim=1) for factor in sorted(maps)}


def sample_features(maps: dict[int, Tensor], index: int, points: Tensor) -> Tensor:
    """Features ``(k, width)`` of image ``index`` at integer pixels ``points`` ``(k, 2)`` (y, x), finest factor first.

    Bilinear, as ``interpolate(..., align_corners=False)`` would give at full resolution, without building it.
    """
    return torch.cat([_bilinear(stack[index].float(), factor, points) for factor, stack in maps.items()], dim=1)


def _bilinear(field: Tensor, factor: int, points: Tensor) -> Tensor:
    """Values ``(k, c)`` of a map ``(c, h, w)`` at pixels ``(k, 2)`` of an image that is ``factor`` times as large."""
    # Pixel centres lie at half-integers; before the first centre the border pixel is repeated.
    position = ((points.to(field.device).float() + 0.5) / factor - 0.5).clamp_min(0)
    low = position.floor().long()
    high = torch.minimum(low + 1, torch.tensor([field.shape[1] - 1, field.shape[2] - 1], device=field.device))
    low = torch.minimum(low, high)
    wy, wx = (position - low).unbind(1)
    y0, x0 = low.T
    y1, x1 = high.T
    top = field[:, y0, x0] * (1 - wx) + field[:, y0, x1] * wx
    bottom = field[:, y1, x0] * (1 - wx) + field[:, y1, x1] * wx
    return (top * (1 - wy) + bottom * wy).T
