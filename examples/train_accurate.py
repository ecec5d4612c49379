"""Make the shipped model `accurate` again: pre-train the denoiser, then tune it and the ensemble on annotated images.

    python examples/train_accurate.py DATA OUT [--minutes 60]

DATA holds the folders `tnbc` and `dsb2018_histology` (images, 16-bit labels, manifest),
`nucls_points` and `slides`; TNBC patients 09, 10 and 11 are held out of everything. Interrupt it at
will: the same command goes on where it stopped. Two CPU cores take about an hour and a quarter; OUT
then holds `denoiser.safetensors` and `accurate.safetensors`.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from finish_model import HELD_OUT, finish
from PIL import Image

from wsinuc.datasets import open_dataset
from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.models.features.extractor import FeatureConfig
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.models.training.loop import FitConfig, Progress
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.denoiser.run import PretrainConfig, pretrain
from wsinuc.workflows.train.ddpm import DdpmTrainConfig, train_ddpm
from wsinuc.workflows.train.finetune import FinetuneConfig
from wsinuc.workflows.training.run import Session

MPP = 0.25
TYPICAL_DIAMETER_UM = 5.5  # median over the TNBC images; DSB images do not record their scale
PRETRAIN = PretrainConfig(
    mpp=MPP,
    patch=128,
    batch=8,
    unet=UNetConfig(base=32, multipliers=(1, 1, 2, 4, 4), res_blocks=1, attention_factors=(), middle_attention=False),
    fit=FitConfig(steps=1000, lr=1e-3, warmup=100, cosine=True, weight_decay=0.01, ema=0.999, save_every=200),
    timestep_power=2.0,
    zoom=1.4,
    stain=0.3,
    seed=1,
)

TUNE = FinetuneConfig(
    fit=FitConfig(steps=2000, lr=8e-4, warmup=50, cosine=True, weight_decay=0.01, ema=0.998, save_every=100),
    ensemble_fit=FitConfig(steps=600, lr=5e-4, warmup=20, cosine=True, weight_decay=0.01, ema=0.995, save_every=100),
    ensemble_zoom=1.8,
    disturbance=0.1,
    crop=256,
    batch=4,
    augmentation=Augmentation(zoom=1.4, stain=0.5, blur=0.3, noise=4.0, light=0.2, jpeg=0.3, crowd=0.5),
    seed=1,
)
TRAIN = DdpmTrainConfig(
    features=FeatureConfig(timesteps=(0,), blocks=(4, 5, 6)),
    members=4,
    factor=2,
    views=2,
    fit_threshold=False,
    tuning=TUNE,
    seed=1,
)
SEPARATION = {"foreground_threshold": 0.6, "smoothing_um": 0.4, "min_area_um2": 5.0}
"""Chosen on TNBC patients 09 to 11, as they are and crowded (`wsinuc.datasets.augmentation.crowding`)."""
DSB_WEIGHT = 0.3  # of a TNBC image's: most DSB images show haematoxylin alone


def resized(image: Image.Image, factor: float, resample: Image.Resampling) -> np.ndarray:
    """The image enlarged by ``factor``."""
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return np.asarray(image.resize(size, resample))


def rows(folder: Path) -> list[dict[str, str]]:
    """The manifest of a data set."""
    with (folder / "manifest.csv").open() as stream:
        return list(csv.DictReader(stream))


def mpp_by_nuclei(labels: np.ndarray) -> float:
    """um per pixel at which the median nucleus has the typical diameter, within what microscopes do."""
    areas = np.bincount(labels.ravel())[1:]
    diameter = 2 * np.sqrt(np.median(areas[areas > 0]) / np.pi)
    return float(np.clip(TYPICAL_DIAMETER_UM / diameter, 0.1, 0.5))


def unlabelled(data: Path, mpp: float) -> list[np.ndarray]:
    """Every image that may train weights that ship, at ``mpp``; no held-out patient."""
    images = []
    for row in rows(data / "tnbc"):
        if row["patient"] not in HELD_OUT:
            picture = Image.open(data / "tnbc" / "images" / f"{row['name']}.png").convert("RGB")
            images.append(resized(picture, 0.25 / mpp, Image.Resampling.BOX))
    for row in rows(data / "dsb2018_histology"):
        picture = Image.open(data / "dsb2018_histology" / "images" / f"{row['name']}.png").convert("RGB")
        labels = np.asarray(Image.open(data / "dsb2018_histology" / "labels" / f"{row['name']}.png"))
        images.append(resized(picture, mpp_by_nuclei(labels) / mpp, Image.Resampling.BOX))
    for path in sorted((data / "nucls_points" / "images").glob("*.png")):
        images.append(resized(Image.open(path).convert("RGB"), 0.2 / mpp, Image.Resampling.BOX))
    images.append(
        resized(
            Image.open(data / "slides" / "OS-1_HE_original_image.png").convert("RGB"), 0.25 / mpp, Image.Resampling.BOX
        )
    )
    images.append(slide_pixels(data / "slides" / "CMU-1-Small-Region.svs"))
    return images


def slide_pixels(path: Path) -> np.ndarray:
    """Level 0 of a small slide as it is, about 0.5 um/px: at 0.25 its nuclei look half as wide,
    which denoising may know too."""
    import openslide

    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def annotated(data: Path) -> tuple[list[LabelledImage], list[float]]:
    """Images that the classifiers may learn from, and how often each is drawn."""
    tnbc = [item for item in open_dataset(data / "tnbc", mpp=0.25) if item.attributes["patient"] not in HELD_OUT]
    dsb = [replace(item, mpp=mpp_by_nuclei(item.labels)) for item in open_dataset(data / "dsb2018_histology", mpp=0.25)]
    return tnbc + dsb, [1.0] * len(tnbc) + [DSB_WEIGHT] * len(dsb)


def image_weights(images: list[np.ndarray]) -> list[float]:
    """Square roots of the areas: the one slide must not crowd out the many small images."""
    return [float(np.sqrt(i.shape[0] * i.shape[1])) for i in images]


def set_separation(path: Path) -> None:
    """Write the chosen settings of the watershed into a checkpoint."""
    checkpoint = load_checkpoint(path, "segmenter")
    watershed = checkpoint.config["watershed"] | SEPARATION
    save_checkpoint(replace(checkpoint, config=checkpoint.config | {"watershed": watershed}), path)


def report(progress: Progress) -> None:
    """One line on the terminal."""
    print(f"step {progress.step}  loss {progress.loss:.4f}  {progress.seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop pre-training cleanly after this long")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    images = unlabelled(arguments.data, MPP)
    print(f"{len(images)} images, {sum(i.shape[0] * i.shape[1] for i in images) / 1e6:.1f} Mpx at {MPP} um/px")
    end = time.monotonic() + 60 * arguments.minutes
    pretrain(
        images,
        arguments.out / "denoiser.safetensors",
        PRETRAIN,
        weights=image_weights(images),
        session=Session(on_progress=report, should_stop=lambda: time.monotonic() > end),
    )
    images, weights = annotated(arguments.data)
    train_ddpm(
        images,
        (NUCLEUS,),
        arguments.out / "denoiser.safetensors",
        arguments.out / "accurate.safetensors",
        TRAIN,
        weights=weights,
        device="cpu",
        provenance={
            "data": "TNBC (CC BY 4.0) without patients 09-11, DSB 2018 histology (CC0)",
            "licence": "Apache-2.0",
        },
        on_event=lambda message: print(message, flush=True),
    )
    set_separation(arguments.out / "accurate.safetensors")
    finish(arguments.out / "accurate.safetensors", arguments.data)


if __name__ == "__main__":
    main()
