"""Images of two kinds of nuclei, dark round and pale long ones, marked by points; and a segmenter that finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.draw import ellipse

from wsinuc.datasets.base import LabelledImage
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.base import usual_mpp_range
from wsinuc.separation.watershed import WatershedSettings, instances_from_pieces

MPP = 0.5
CLASSES = (NucleusClass("round", (200, 40, 40)), NucleusClass("long", (40, 90, 200)))
PAPER = (235, 200, 220)
NAMES = ("Tumor", "Immune cells", "Stroma", "Vessel wall")
"""Classes of the set of points as files."""


class DarkSegmenter:
    """Everything darker than the ground is nucleus; needs no weights."""

    mpp, tile, margin, batch_size, channels = MPP, 128, 16, 2, 3
    mpp_range = usual_mpp_range(MPP)
    classes = (NucleusClass("Nucleus", (0, 200, 80)),)
    identity = "dark"
    settings = WatershedSettings(mpp=MPP, max_diameter_um=15)
    min_halo = settings.min_halo

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, device: object, dtype: object) -> DarkSegmenter:
        return cls()

    def calibrate(self, samples: NDArray[np.uint8]) -> DarkSegmenter:
        return self

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        inner = pixels[:, self.margin : -self.margin, self.margin : -self.margin]
        dark = np.where(inner[..., 0] < 190, 255, 0).astype(np.uint8)
        return np.stack([dark, np.zeros_like(dark), dark], axis=1)

    def separate(self, scores: NDArray[np.uint8]) -> NDArray[np.int32]:
        return instances_from_pieces(scores[0], self.settings)


def draw(shape: tuple[int, int], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int32]]:
    """An image (h, w, 3) with its points (n, 2) and their classes (n,), from 1; nuclei lie on a jittered lattice."""
    rng = np.random.default_rng(seed)
    image = np.full((*shape, 3), PAPER, np.uint8)
    points, classes = [], []
    for y in range(14, shape[0] - 13, 28):
        for x in range(14, shape[1] - 13, 28):
            center, kind = np.array([y, x]) + rng.integers(-2, 3, 2), int(rng.integers(2))
            radii, color = ((6, 6), (90, 60, 140)) if kind == 0 else ((4, 9), (150, 120, 190))
            inside = ellipse(*center, *radii, shape=shape, rotation=0 if kind == 0 else rng.uniform(0, np.pi))
            image[inside] = color
            points.append(center)
            classes.append(kind + 1)
    noise = rng.integers(-12, 13, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), np.array(points, float), np.array(classes, np.int32)


def labelled(seed: int, shape: tuple[int, int] = (140, 140)) -> LabelledImage:
    image, points, classes = draw(shape, seed)
    return LabelledImage(
        name=f"i{seed}",
        image=image,
        labels=np.zeros(shape, np.int32),
        attributes={"name": f"i{seed}", "patient": ""},
        mpp=MPP,
        points=points,
        point_classes=classes,
    )


def write_point_set(folder: Path, images: int = 4) -> Path:
    """The same as files: points of four classes with names of one's own, which no list declares."""
    for name in ("images", "points"):
        (folder / name).mkdir(parents=True)
    for seed in range(images):
        each = labelled(seed)
        Image.fromarray(each.image).save(folder / "images" / f"{each.name}.png")
        # Nuclei of either kind are two classes here, by their half of the image, so that all four classes occur.
        lower = each.points[:, 0] > 70
        numbers = 2 * (each.point_classes - 1) + lower
        rows = [f"{x:.0f},{y:.0f},{NAMES[c]}" for (y, x), c in zip(each.points, numbers, strict=True)]
        (folder / "points" / f"{each.name}.csv").write_text("\n".join(["x,y,class", *rows]) + "\n")
    return folder
