"""Small trainings of method B's networks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from wsinuc.datasets.base import LabelledImage
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.checkpoints.generators import IMAGE, STRUCTURE
from wsinuc.models.networks.spade_unet import SpadeUNetConfig
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.models.training.loop import FitConfig
from wsinuc.models.training.state import read_log
from wsinuc.workflows.generators.config import GeneratorConfig
from wsinuc.workflows.generators.nudiff import train_generator
from wsinuc.workflows.training.run import Session

train_structures = partial(train_generator, STRUCTURE)
train_images = partial(train_generator, IMAGE)

NARROW = {"base": 32, "multipliers": (1, 1), "res_blocks": 1, "attention_factors": (), "middle_attention": False}


FIT = FitConfig(steps=4, lr=1e-3, bf16=False, ema=0.9)


STRUCTURES = GeneratorConfig(network=UNetConfig(**NARROW), mpp=0.5, patch=16, batch=2, fit=FIT)


IMAGES = replace(STRUCTURES, network=SpadeUNetConfig(**NARROW, spade_width=8), drop_rate=0.5, drop_from=2)


def tissue(seed: int = 0, side: int = 40) -> LabelledImage:
    """Grey noise with one dark nucleus of 10 x 12 px."""
    labels = np.zeros((side, side), np.int32)
    labels[8:18, 10:22] = 1
    pixels = np.random.default_rng(seed).integers(150, 200, (side, side, 3), dtype=np.uint8)
    pixels[labels > 0] //= 3
    return LabelledImage(name=f"tissue{seed}", image=pixels, labels=labels, classes=None, mpp=0.5, attributes={})


DATA = [tissue(0), tissue(1)]


def trained(out: Path, config: GeneratorConfig, **options: object) -> dict[str, torch.Tensor]:
    train = train_structures if config.kind == "nudiff-structure" else train_images
    train(DATA, out, config, **options)
    return load_checkpoint(out, config.kind).tensors


def interrupted(out: Path, config: GeneratorConfig, after: int) -> dict[str, torch.Tensor]:
    """Trained with a stop after some steps, and then to the end."""
    steps = iter(range(1, 100))
    trained(out, config, session=Session(should_stop=lambda: next(steps) >= after))
    assert read_log(out.with_suffix(".jsonl"))[-1]["step"] == after
    return trained(out, config)
