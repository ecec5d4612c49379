"""The denoiser of the low-data experiment, from the shipped models' unlabelled images and MoNuSeg's training part.

    python examples/low_data/pretrain.py DATA OUT [--steps 8000]

Pixels only, no annotation; the test images of `monuseg_split.json` and TNBC patients 09 to 11 are
left out. What saw MoNuSeg is for this experiment and may not be shipped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wsinuc.datasets.sampling.split import Split
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.models.training.loop import FitConfig
from wsinuc.workflows.denoiser.run import PretrainConfig, pretrain
from wsinuc.workflows.training.run import Session

sys.path.insert(0, str(Path(__file__).parents[1]))
from train_accurate import image_weights, report, resized, unlabelled

PRETRAIN = PretrainConfig(
    mpp=0.5,
    patch=64,
    batch=16,
    unet=UNetConfig(base=32, multipliers=(1, 2, 4, 4), res_blocks=1, attention_factors=(), middle_attention=False),
    fit=FitConfig(steps=8000, lr=1e-3, warmup=100, cosine=True, weight_decay=0.01, ema=0.999, save_every=200),
    timestep_power=2.0,
    zoom=1.4,
    stain=0.3,
    seed=1,
)


def monuseg(folder: Path) -> list[np.ndarray]:
    """The training part of MoNuSeg at the resolution to train at."""
    names = [name for name, _ in Split.load(Path(__file__).parent / "monuseg_split.json").parts["train"]]
    factor = 0.25 / PRETRAIN.mpp
    pictures = (Image.open(folder / "images" / f"{name}.png").convert("RGB") for name in names)
    return [resized(picture, factor, Image.Resampling.BOX) for picture in pictures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=8000)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    images = unlabelled(arguments.data, PRETRAIN.mpp) + monuseg(arguments.data / "monuseg2018_train")
    pretrain(
        images,
        arguments.out / "denoiser.safetensors",
        replace(PRETRAIN, fit=replace(PRETRAIN.fit, steps=arguments.steps)),
        weights=image_weights(images),
        session=Session(on_progress=report),
    )


if __name__ == "__main__":
    main()
