"""Training networks: from images to a segmenter that finds nuclei, and every way it can be refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.draw import disk

from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import CheckpointError, ConfigError, DataError, OutputError
from wsinuc.metrics.segmentation import score
from wsinuc.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.training import FitConfig
from wsinuc.models.unet import UNet, UNetConfig
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import NucleusClass, Segmenter
from wsinuc.tasks.evaluate import predict_labels
from wsinuc.tasks.train_network import NetworkTrainConfig, train_network

UNET = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)
FIT = FitConfig(steps=40, lr=3e-3, warmup=5, cosine=True, ema=0.9, bf16=False)
PLAIN = NetworkTrainConfig(method="unet", base=8, levels=3, crop=64, batch=4, fit=FIT)
TUNED = NetworkTrainConfig(method="finetune", denoiser=UNET, crop=32, batch=4, fit=replace(FIT, steps=60))
HOVER = NetworkTrainConfig(method="hovernet", width=1 / 16, crop=128, batch=4, fit=replace(FIT, steps=30, lr=5e-3))
TWO = (NucleusClass("dark", (0, 0, 200)), NucleusClass("red", (200, 0, 0)))


def field(seed: int, side: int = 128, *, classes: bool = False) -> LabelledImage:
    """Discs on a pale ground, dark and, with classes, every other red."""
    rng = np.random.default_rng(seed)
    image, labels = np.full((side, side, 3), (225, 190, 215), np.uint8), np.zeros((side, side), np.int32)
    for y in range(16, side, 32):
        for x in range(16, side, 32):
            rows, columns = disk((y + rng.integers(-4, 5), x + rng.integers(-4, 5)), 9)
            labels[rows, columns] = labels.max() + 1
            image[rows, columns] = (90, 60, 140) if not classes or labels.max() % 2 else (200, 40, 60)
    numbers = np.arange(labels.max() + 1)
    return LabelledImage(
        name=f"field{seed}",
        image=(image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8),
        labels=labels,
        attributes={},
        mpp=0.5,
        classes=np.where(numbers > 0, 2 - numbers % 2, 0).astype(np.int32) if classes else None,
    )


@pytest.mark.parametrize("config", [PLAIN, TUNED, HOVER], ids=lambda c: c.method)
def test_a_trained_network_finds_the_discs(config: NetworkTrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    train_network([field(1), field(2)], (), path, config, device="cpu")
    segmenter = load_segmenter(str(path), device="cpu")
    assert isinstance(segmenter, Segmenter)
    assert [c.name for c in segmenter.classes] == ["Nucleus"]
    truth = field(9)
    scored = score(truth.labels, predict_labels(truth, segmenter=segmenter))
    assert scored.dice > 0.8
    assert scored.aji > 0.6
