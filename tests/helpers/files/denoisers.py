"""Untrained denoisers on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.checkpoints.denoisers import denoiser_config
from wsinuc.models.networks.unet import UNetConfig

SMALL = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)


def write_denoiser(path: Path, network: nn.Module, **more: Any) -> Path:
    config = {**denoiser_config(network), "betas": "quadratic", "mpp": 0.5, "learned_variance": False, **more}
    save_checkpoint(Checkpoint(kind="denoiser", config=config, provenance={}, tensors=network.state_dict()), path)
    return path
