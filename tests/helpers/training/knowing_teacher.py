"""A teacher that knows the answer, and what a small student learns of it."""

from __future__ import annotations

from dataclasses import replace

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import disk

from wsinuc.models.training.loop import FitConfig
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.network import NetworkConfig
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.segmenters.tiling import MAPS
from wsinuc.separation.targets import centre_distance, hv_maps
from wsinuc.workflows.distill.config import DistillConfig
from wsinuc.workflows.distill.teacher import Teacher

GROUND, NUCLEUS = 225, 90


FIT = FitConfig(steps=40, lr=1e-2, warmup=5, cosine=True, ema=0.8, bf16=False)


TINY = DistillConfig(
    base=4, levels=2, patches=12, patch=64, crop=32, batch=4, fit=FIT, held_out=0.25, zoom=1.1, validate_every=20
)


ONE = (NucleusClass("Nucleus", (0, 200, 80)),)


def describe(separation: str = "distance", mpp: float = 0.5) -> NetworkConfig:
    shape = {"classes": 2, "maps": MAPS[separation], "base": 4, "levels": 2}
    return NetworkConfig.describe("unet", shape, mpp=mpp, separation=separation, classes=ONE)


class KnowingTeacher(TiledSegmenter):
    """Reads the probability of nucleus off the red channel, and makes maps of the pieces that it finds."""

    def __init__(self, separation: str = "distance", mpp: float = 0.5) -> None:
        self.config = replace(describe(separation, mpp), tile=144, margin=8)
        self.device, self.seen, self.fitted = torch.device("cpu"), [], []

    def calibrate(self, samples: NDArray[np.uint8]) -> KnowingTeacher:
        self.fitted.append(samples.shape)
        return self

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        assert pixels.shape[1:] == (self.tile, self.tile, 3)
        self.seen.append(len(pixels))
        inner = slice(self.margin, self.tile - self.margin)
        return np.stack([self._scores(image[inner, inner, 0]) for image in pixels])

    def _scores(self, red: NDArray[np.uint8]) -> NDArray[np.uint8]:
        nucleus = ((GROUND - red.astype(float)) / (GROUND - NUCLEUS)).clip(0, 1)
        labels = cc3d.connected_components(nucleus > 0.5, connectivity=4).astype(np.int32)
        hv = self.config.separation == "hv"
        maps = hv_maps(labels) / 2 + 0.5 if hv else centre_distance(labels)[None]
        return (np.stack([nucleus, 0 * nucleus, nucleus, *maps]) * 255).round().astype(np.uint8)


def teacher(segmenter: TiledSegmenter | None = None, sha256: str = "a" * 64) -> Teacher:
    return Teacher(
        segmenter=segmenter or KnowingTeacher(), name="knowing", sha256=sha256, provenance={"licence": "none"}
    )


def discs(seed: int, side: int = 128) -> NDArray[np.uint8]:
    """Dark discs on a pale ground."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), (GROUND, 190, 215), np.uint8)
    for y in range(16, side, 32):
        for x in range(16, side, 32):
            rows, columns = disk((y + rng.integers(-4, 5), x + rng.integers(-4, 5)), 9)
            image[rows, columns] = (NUCLEUS, 60, 140)
    return image


def smooth(seed: int, side: int) -> NDArray[np.uint8]:
    """Slowly changing grey: resampling and scoring may be exchanged."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 12)
    grey = np.interp(noise, (noise.min(), noise.max()), (NUCLEUS, GROUND))
    return np.repeat(grey[..., None], 3, 2).round().astype(np.uint8)


IMAGES = [discs(seed) for seed in range(4)]
