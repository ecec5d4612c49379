"""What a training will take, found out before it begins: parameters, operations, memory.

Nothing is run: a network without data (PyTorch's ``meta`` device) counts its own operations, and
the tensors that it would keep for the backward pass.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wsinuc.models.devices import in_bf16, pick_device
from wsinuc.workflows.training.session import TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCost:
    """Size and cost of one training."""

    parameters: int
    """That are learned."""
    flops: float
    """Of the whole training, without augmentation, scoring and pictures; about."""
    memory_bytes: float
    """For weights, gradients, optimiser, average and activations, or for the table of pixels; about."""
    text: str = ""
    """The settings that decide it, in a line."""
    seconds: float | None = None
    """Of the whole training on this machine, where a part of it was timed."""
    measured: str = ""
    """What was timed for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCost:
    """What training one network takes, computed without running it."""

    parameters: int
    flops_per_step: float
    """Forward and backward pass of a whole batch; a backward pass costs about two forward passes."""
    memory_bytes: float
    """On the device, for weights, gradients, optimiser, average and the activations of one pass; about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one part of a training took on this machine."""

    flops: float
    seconds: float


def measured(run: Callable[[], object]) -> Measurement:
    """Run one part of a training, and see what it takes. PyTorch's first call is a little slower than others."""
    begun = time.monotonic()
    with FlopCounterMode(display=False) as counter:
        run()
    return Measurement(flops=float(counter.get_total_flops()), seconds=time.monotonic() - begun)


def estimate_network(
    build: Callable[[], nn.Module],
    inputs: Callable[[], Sequence[object]],
    batch: int,
    at_once: int,
    *,
    bf16: bool | None,
) -> NetworkCost:
    """Size and cost of training a network, from a forward pass without data.

    Parameters
    ----------
    inputs
        What one call of the network takes, for a single image.
    at_once
        Images of one pass, out of the ``batch`` of a step.
    bf16
        Whether activations take two bytes instead of four; None: where the fastest device here computes so.
    """
    with torch.device("meta"):
        network = build().train()
        arguments = inputs()
    saved_bytes: dict[int, int] = {}
    alive: list[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            saved_bytes[id(tensor.untyped_storage())] = tensor.numel() * tensor.element_size()
        alive.append(tensor)  # ids stay distinct only while all are alive
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        network(*arguments)
    parameters = sum(p.numel() for p in network.parameters())
    half = in_bf16(pick_device("auto"), bf16)
    activations = sum(saved_bytes.values()) * at_once * (0.5 if half else 1.0)
    return NetworkCost(
        parameters=parameters,
        flops_per_step=3.0 * counter.get_total_flops() * batch,
        memory_bytes=5 * 4 * parameters + activations,  # weights, gradients, two moments, average
    )


def noisy(channels: int, patch: int, *conditions: int) -> Callable[[], Sequence[object]]:
    """Inputs of a denoiser: an image of so many channels, its timestep, and conditions of so many channels each."""

    def inputs() -> Sequence[object]:
        image = torch.zeros(1, channels, patch, patch)
        return (image, torch.zeros(1, dtype=torch.long), *(torch.zeros(1, c, patch, patch) for c in conditions))

    return inputs


def images_at_once(config: TrainingSettings, processes: int = 1) -> int:
    """Images of one pass of a training, in each process."""
    return max(1, config.batch // (config.fit.accumulate * processes))


def cost_of_parts(part: Measurement, count: int, *, parameters: int, text: str, what: str) -> TrainingCost:
    """The cost of a training that is mostly so many parts alike, one of which was measured.

    Parameters
    ----------
    what
        What a part is, for the message: ``image``.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return TrainingCost(
        parameters=parameters,
        flops=part.flops * count,
        # macOS counts bytes, others kibibytes
        memory_bytes=peak if sys.platform == "darwin" else peak * 1024,
        text=text,
        seconds=part.seconds * count,
        measured=f"one {what} took {part.seconds:.2f} s, memory is what that needed",
    )


def cost_of_steps(network: NetworkCost, steps: int, text: str) -> TrainingCost:
    """The cost of a training of so many steps."""
    return TrainingCost(
        parameters=network.parameters,
        flops=network.flops_per_step * steps,
        memory_bytes=network.memory_bytes,
        text=text,
    )
