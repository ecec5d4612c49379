"""What a pre-training will take, and the grids of samples that it draws meanwhile."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wsinuc.models.checkpoints.denoisers import untrained_denoiser
from wsinuc.models.devices import forward_pass
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.samplers import SamplerConfig, walk
from wsinuc.models.pixels import from_network
from wsinuc.workflows.denoiser.config import PretrainConfig
from wsinuc.workflows.training.cost import NetworkCost, estimate_network, images_at_once, noisy

SAMPLES = 16
SAMPLING_STEPS = 25
"""Of DDIM: enough to see what the model has learned, cheap enough to do often."""


_AT_ONCE = 4  # samples of one pass, so that a grid needs no more memory than a step


def estimate(config: PretrainConfig, processes: int = 1) -> NetworkCost:
    """Size and cost of a training."""
    return estimate_network(
        lambda: untrained_denoiser(config.unet),
        noisy(3, config.patch),
        config.batch,
        images_at_once(config, processes),
        bf16=config.fit.bf16,
    )


def sample_grid(network: nn.Module, process: GaussianDiffusion, config: PretrainConfig) -> NDArray[np.uint8]:
    """4 x 4 samples as RGB; the same noise each time, so that grids of one training can be compared."""
    generator = torch.Generator().manual_seed(config.seed)
    weight = next(network.parameters())
    noise = torch.randn(SAMPLES, 3, config.patch, config.patch, generator=generator).to(weight.device)
    sampler = SamplerConfig("ddim", SAMPLING_STEPS)
    with forward_pass(weight.device, config.fit.bf16):
        samples = torch.cat([walk(process, network, part, sampler) for part in torch.split(noise, _AT_ONCE)])
    pixels = from_network(samples)
    side = round(SAMPLES**0.5)
    rows = pixels.reshape(side, side, config.patch, config.patch, 3).swapaxes(1, 2)
    return rows.reshape(side * config.patch, side * config.patch, 3)
