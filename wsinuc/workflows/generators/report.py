"""What a training of method B's networks makes meanwhile: pages of samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsinuc.models.devices import forward_pass
from wsinuc.models.diffusion.gaussian import Denoiser, GaussianDiffusion
from wsinuc.models.diffusion.guidance import guided
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.diffusion.samplers import SamplerConfig, walk
from wsinuc.models.networks.spade_unet import SpadeUNet, SpadeUNetConfig
from wsinuc.models.networks.unet import UNet
from wsinuc.models.pixels import from_network
from wsinuc.workflows.denoiser.report import SAMPLES, SAMPLING_STEPS
from wsinuc.workflows.generators.config import CHANNELS, GeneratorConfig

CONDITIONS = 4
"""Structures on a page of the image model."""
GUIDANCE = 2.0
"""The paper's w, shown beside unguided samples."""
_AT_ONCE = 4


def build_generator(config: GeneratorConfig) -> UNet | SpadeUNet:
    """The untrained network."""
    if isinstance(config.network, SpadeUNetConfig):
        return SpadeUNet(config.network)
    return UNet(config.network)


def as_colours(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Maps or images ``(n, 3, h, w)`` in [-1, 1] as RGB ``(n, h, w, 3)``: of a structure red is H,
    green V, blue nucleus."""
    return from_network(torch.from_numpy(x))


def structure_colours(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Structures ``(n, 3, h, w)``, all channels in [-1, 1], as RGB ``(n, h, w, 3)``: H red, V green, nuclei blue."""
    return as_colours(x[:, [1, 2, 0]])


def page(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Rows of RGB pictures ``(n, h, w, 3)`` side by side, the rows below each other; ``(rows h, n w, 3)``."""
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])


def structure_page(
    network: nn.Module, process: GaussianDiffusion, config: GeneratorConfig, levels: MeanLevels
) -> NDArray[np.uint8]:
    """4 x 4 samples; the same noise each time, so that pages of one training can be compared."""
    noise = _noise(SAMPLES, config)
    parts = [_sampled(process, network, part, network, config, levels) for part in torch.split(noise, _AT_ONCE)]
    pictures = structure_colours(np.concatenate(parts))
    side = round(SAMPLES**0.5)
    return page([pictures[i : i + side] for i in range(0, SAMPLES, side)])


def image_page(
    network: nn.Module,
    process: GaussianDiffusion,
    config: GeneratorConfig,
    examples: NDArray[np.float32],
    guidance: Sequence[float],
    levels: MeanLevels,
) -> NDArray[np.uint8]:
    """Rows of structures, of one sample for each with every ``guidance``, and of the real images.

    Parameters
    ----------
    examples
        ``(n, 6, h, w)``: images in [-1, 1], then their structures.
    """
    structures = examples[:, CHANNELS:]
    # Nucleus or not lies in [0, 1], H and V in [-1, 1]; pictures want one range.
    signed = np.concatenate([2 * structures[:, :1] - 1, structures[:, 1:]], axis=1)
    rows = [structure_colours(signed)]
    noise = _noise(len(examples), config)
    on = next(network.parameters()).device
    for w in guidance:
        images = []
        for start in range(0, len(examples), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            condition = torch.from_numpy(np.ascontiguousarray(structures[part])).to(on)
            images.append(_sampled(process, guided(network, condition, w), noise[part], network, config, levels))
        rows.append(as_colours(np.concatenate(images)))
    return page([*rows, as_colours(examples[:, :CHANNELS])])


def _noise(count: int, config: GeneratorConfig) -> Tensor:
    generator = torch.Generator().manual_seed(config.seed)
    return torch.randn(count, CHANNELS, config.patch, config.patch, generator=generator)


def _sampled(
    process: GaussianDiffusion,
    denoiser: Denoiser,
    noise: Tensor,
    network: nn.Module,
    config: GeneratorConfig,
    levels: MeanLevels,
) -> NDArray[np.float32]:
    on = next(network.parameters()).device
    sampler = SamplerConfig("ddim", SAMPLING_STEPS)
    with forward_pass(on, config.fit.bf16):
        return walk(process, denoiser, noise.to(on), sampler, levels=levels).float().cpu().numpy()
