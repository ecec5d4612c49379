"""How like its teacher a student is, on held-out patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from wsinuc.models.networks.dense import DenseOutput
from wsinuc.models.pixels import to_network
from wsinuc.workflows.distill.config import DistillConfig
from wsinuc.workflows.train.soft_crops import SoftCropSource, soft_loss

_MEASURED = 48  # held-out patches that are looked at, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How like its teacher a student is, on held-out patches."""

    loss: float
    dice: float
    """Of the pixels that each calls nucleus (probability at least one half), all patches pooled."""
    difference: float
    """Mean absolute difference of the probabilities of nucleus."""


@torch.no_grad()
def measure_agreement(
    network: nn.Module, source: SoftCropSource, numbers: Sequence[int], config: DistillConfig
) -> Agreement:
    """How like the teacher's its outputs are on whole patches, but for their rims, where the student lacks context."""
    device = next(network.parameters()).device
    # An eighth on each side is where a plain U-Net's outputs lack their context.
    rim = config.patch // 8
    inner = slice(rim, config.patch - rim)
    both = either = total = difference = 0.0
    chosen = numbers[:_MEASURED]
    for number in chosen:
        crop = source.whole(number)
        raw: DenseOutput = network(to_network(crop.image[None]).to(device)).float()
        total += float(soft_loss(raw, [crop.target], config.map_weight))
        student = 1 - raw.classes.softmax(1)[0, 0, inner, inner].cpu().numpy()
        teacher = 1 - crop.target.probabilities[0, inner, inner]
        both += float(((student >= 0.5) & (teacher >= 0.5)).sum())
        either += float((student >= 0.5).sum() + (teacher >= 0.5).sum())
        difference += float(np.abs(student - teacher).mean())
    dice = 2 * both / either if either else 1.0
    return Agreement(loss=total / len(chosen), dice=dice, difference=difference / len(chosen))
