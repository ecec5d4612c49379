"""What a pre-training will take, what it makes meanwhile, and how it went: estimates, sample grids, curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wsinuc.exports.atomic import replacing
from wsinuc.exports.pictures.plots import draw_curves
from wsinuc.models.checkpoints.denoisers import build_unet
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.samplers import SamplerConfig, walk
from wsinuc.models.pixels import from_network
from wsinuc.models.training.state import read_log
from wsinuc.workflows.denoiser.config import PretrainConfig

SAMPLES = 16
SAMPLING_STEPS = 25
"""Of DDIM: enough to see what the model has learned, cheap enough to do often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainEstimate:
    """What one training will take, computed without running it."""

    parameters: int
    flops_per_step: float
    """Forward and backward pass of a whole batch; a backward pass costs about two forward passes."""
    memory_bytes: float
    """On the device, for weights, gradients, optimiser, average and the activations of one pass; about."""


def estimate(config: PretrainConfig, processes: int = 1) -> PretrainEstimate:
    """Size and cost of a training."""
    at_once = max(1, config.batch // (config.fit.accumulate * processes))
    shapes = [(3, config.patch, config.patch)]
    return estimate_network(lambda: build_unet(config.unet), shapes, config.batch, at_once, bf16=config.fit.bf16)


def estimate_network(
    build: Callable[[], nn.Module],
    shapes: Sequence[tuple[int, int, int]],
    batch: int,
    at_once: int,
    *,
    bf16: bool,
    timestep: bool = True,
) -> PretrainEstimate:
    """Size and cost of training a network, from a forward pass without data.

    Parameters
    ----------
    shapes
        ``(c, h, w)`` of the noisy image and of what else one call takes beside the timestep.
    timestep
        Whether the network takes a timestep after the image, as denoisers do.
    at_once
        Images of one pass, out of the ``batch`` of a step.
    """
    with torch.device("meta"):
        network = build().train()
        image, *others = [torch.zeros(1, *shape) for shape in shapes]
        if timestep:
            others.insert(0, torch.zeros(1, dtype=torch.long))
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[id(tensor.untyped_storage())] = tensor.numel() * tensor.element_size()
        alive.append(tensor)  # ids stay distinct only while all are alive
        return tensor

    alive: list[torch.Tensor] = []
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        network(image, *others)
    parameters = sum(p.numel() for p in network.parameters())
    activations = sum(kept.values()) * at_once * (0.5 if bf16 else 1.0)
    return PretrainEstimate(
        parameters=parameters,
        flops_per_step=3.0 * counter.get_total_flops() * batch,
        memory_bytes=5 * 4 * parameters + activations,  # weights, gradients, two moments, average
    )


def sample_grid(network: nn.Module, process: GaussianDiffusion, config: PretrainConfig) -> np.ndarray:
    """4 x 4 samples as RGB; the same noise each time, so that grids of one training can be compared."""
    generator = torch.Generator().manual_seed(config.seed)
    weight = next(network.parameters())
    noise = torch.randn(SAMPLES, 3, config.patch, config.patch, generator=generator).to(weight.device)
    sampler = SamplerConfig("ddim", SAMPLING_STEPS)
    with torch.autocast(weight.device.type, dtype=torch.bfloat16, enabled=config.fit.bf16):
        samples = torch.cat([walk(process, network, part, sampler) for part in noise.split(4)])
    pixels = from_network(samples)
    side = round(SAMPLES**0.5)
    rows = pixels.reshape(side, side, config.patch, config.patch, 3).swapaxes(1, 2)
    return rows.reshape(side * config.patch, side * config.patch, 3)


def write_png(pixels: np.ndarray, path: Path) -> None:
    """RGB as PNG, its folder made if need be; raises OutputError."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as stream:
        Image.fromarray(pixels).save(stream, format="PNG")


def draw_training(log: Path, path: Path, *, loss: str = "loss of the predicted noise") -> None:
    """Curves of training and held-out loss over the images seen."""
    lines = read_log(log)
    if not lines:
        return
    curves: dict[str, tuple[Any, Any]] = {
        "training": ([line["images"] for line in lines], [line["loss"] for line in lines])
    }
    measured = [line for line in lines if line.get("validation") is not None]
    if measured:
        curves["held out"] = ([line["images"] for line in measured], [line["validation"] for line in measured])
    draw_curves(curves, path, x="images seen", y="loss", title=f"{path.stem}: {loss}")
