"""Make the shipped `denoiser` again: pre-trained on unlabelled tissue of many organs and laboratories.

    python examples/train_denoiser.py DATA OUT.safetensors [--shipped FILE] [--steps 5000] [--minutes 120]

DATA is as for `unlabelled_tissue.py`, and holds `nuinsseg` (its part `train` alone), `brca_m2c`
(without patients of the authors' test images and of MoNuSeg's), and `nct_crc`. No annotation is
read. Interrupt it at will: the same command goes on where it stopped. FILE gets the weights in
half precision, and says which features suit pixel classifiers best: those that do best
in cross-validations on four windows of TNBC's patients 01 to 08 and of NuInsSeg's part train (docs/models/denoiser.md).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from train_accurate import PRETRAIN, image_weights, report, resized
from train_teacher import part_of_nuinsseg
from unlabelled_tissue import MPP, files, read, tissue

from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.models.features.extractor import FeatureConfig
from wsinuc.workflows.denoiser.run import pretrain
from wsinuc.workflows.training.run import Session

FEATURES = FeatureConfig(timesteps=(50,), blocks=(4, 5, 6))

SEEN = {
    "data": (
        "pixels of NuInsSeg's part train (CC BY 4.0), TNBC without patients 09-11 (CC BY 4.0), "
        "DSB 2018 histology (CC0), NuCLS (CC0), BRCA-M2C without test images (BSD-3-Clause), "
        "SBU's TCGA patches (BSD-3-Clause), Camelyon (CC0), oral mucosa (CC BY 4.0), BCSS (CC0), "
        "NCT-CRC-HE (CC BY 4.0), OpenSlide's images"
    ),
    "licence": "Apache-2.0",
}


def unlabelled(data: Path) -> list[NDArray[np.uint8]]:
    """RGB images, about 0.25 um per px; those that are coarser stay as they are, so that coarse tissue is known too."""
    images = tissue(data)
    for image in part_of_nuinsseg(data, "train"):
        images.append(resized(Image.fromarray(image.image), image.mpp / MPP, Image.Resampling.BOX))
    images += [read(path) for path in brca_files(data / "brca_m2c")]
    images += [read(path) for path in files(data / "nct_crc")]
    return [image for image in images if min(image.shape[:2]) >= PRETRAIN.patch]


def brca_files(folder: Path) -> list[Path]:
    """Images of patients that measure nothing."""
    apart = (folder / "brca_ds_test.txt").read_text() + (folder / "overlap_with_monuseg.txt").read_text()
    patients = {line.strip()[:12] for line in apart.splitlines() if line.strip()}
    return [path for path in files(folder) if path.name[:12] not in patients]


def ship(trained: Path, shipped: Path) -> None:
    """Write a finished denoiser as it goes into the package."""
    checkpoint = load_checkpoint(trained, "denoiser")
    tensors = {name: tensor.half() for name, tensor in checkpoint.tensors.items()}
    config = checkpoint.config | {"features": asdict(FEATURES)}
    save_checkpoint(replace(checkpoint, config=config, tensors=tensors), shipped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shipped", type=Path, metavar="FILE")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop cleanly after this long")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    images = unlabelled(arguments.data)
    print(f"{len(images)} images, {sum(i.shape[0] * i.shape[1] for i in images) / 1e6:.0f} Mpx", flush=True)
    end = time.monotonic() + 60 * arguments.minutes
    schedule = replace(PRETRAIN.fit, steps=arguments.steps, ema=0.999, save_every=100)
    pretrain(
        images,
        arguments.out,
        replace(PRETRAIN, fit=schedule, seed=2),
        weights=image_weights(images),
        provenance=SEEN,
        session=Session(on_progress=report, should_stop=lambda: time.monotonic() > end),
    )
    if arguments.shipped and time.monotonic() <= end:
        ship(arguments.out, arguments.shipped)


if __name__ == "__main__":
    main()
