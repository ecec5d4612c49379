"""A small training of method C."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from wsinuc.datasets.base import LabelledImage
from wsinuc.models.conditioning.points_encoder import PointsConfig
from wsinuc.models.conditioning.text import TextTokens
from wsinuc.models.networks.cosyn_unet import CoSynConfig
from wsinuc.models.training.loop import FitConfig
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.synthesis.prompts import Prompt
from wsinuc.workflows.generators import cosyn as task
from wsinuc.workflows.generators.cosyn_config import CoSynTrainConfig

TINY = CoSynConfig(
    classes=3,
    text_width=8,
    base=32,
    multipliers=(1, 1),
    blocks=(1, 1),
    attends=(False, True),
    reads=(False, True),
    fusion=(4, 8),
    points=PointsConfig(width=8, growth=4, blocks=1, dense=1),
    context=16,
    latents=4,
    resampler_depth=1,
    heads=1,
)


CLASSES = (NucleusClass("Epithelial", (255, 0, 0)), NucleusClass("Stroma", (0, 0, 255)))


CONFIG = CoSynTrainConfig(
    mpp=0.5,
    patch=16,
    batch=2,
    network=TINY,
    fit=FitConfig(steps=3, lr=1e-3, bf16=False, log_every=1, save_every=1),
    sample_steps=2,
)


class Words:
    """A stand-in for the text encoder: one token that says which tissue."""

    width = 8

    def __call__(self, prompts: Sequence[Prompt | str]) -> TextTokens:
        tokens = torch.stack([torch.full((1, 8), float(len(p.tissue))) for p in prompts if isinstance(p, Prompt)])
        return TextTokens(tokens, torch.ones(len(prompts), 1, dtype=torch.bool))

    def config(self) -> dict:
        return {"name": "words"}


def image(seed: int = 0, **attributes: str) -> LabelledImage:
    rng, labels = np.random.default_rng(seed), np.zeros((40, 40), np.int32)
    for i, (y, x) in enumerate([(2, 2), (20, 5), (10, 25), (28, 28)], start=1):
        labels[y : y + 7, x : x + 6] = i
    classes = np.array([0, 1, 2, 0, 1], np.int32)  # the third is of unknown class
    pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return LabelledImage(name=f"i{seed}", image=pixels, labels=labels, attributes=attributes, mpp=0.5, classes=classes)


def train(out: Path, config: CoSynTrainConfig = CONFIG, **more) -> None:
    task.train_cosyn(
        [image(0, organ="colon"), image(1, organ="breast")], CLASSES, out, config, text_encoder=Words(), **more
    )
