"""The denoiser of the low-data experiment: the shipped model's, trained longer and also on MoNuSeg's training part.

    python examples/low_data/pretrain.py DATA OUT [--steps 8000]

Pixels only, no annotation; the test images of `monuseg_split.json` and TNBC patients 09 to 11 are left out. What saw MoNuSeg
is for this experiment and may not be shipped. A `denoiser.state` of `examples/train_default.py` (2,000 steps) in OUT is gone on
from: so was the one of docs/results.md made.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wsinuc.datasets.split import Split
from wsinuc.tasks.pretrain import pretrain

sys.path.insert(0, str(Path(__file__).parents[1]))
import train_default


def monuseg(folder: Path) -> list[np.ndarray]:
    """The training part of MoNuSeg at the resolution to train at."""
    names = [name for name, _ in Split.load(Path(__file__).parent / "monuseg_split.json").parts["train"]]
    factor = 0.25 / train_default.MPP
    pictures = (Image.open(folder / "images" / f"{name}.png").convert("RGB") for name in names)
    return [train_default.resized(picture, factor, Image.Resampling.BOX) for picture in pictures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=8000)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    images = train_default.unlabelled(arguments.data) + monuseg(arguments.data / "monuseg2018_train")
    pretrain(
        images,
        arguments.out / "denoiser.safetensors",
        replace(train_default.PRETRAIN, fit=replace(train_default.PRETRAIN.fit, steps=arguments.steps)),
        weights=train_default.image_weights(images),
        on_progress=train_default.report,
    )


if __name__ == "__main__":
    main()
