"""Unlabelled pixels that denoisers and their rivals are pre-trained on: tissue, and photographs of everyday things.

The tissue holds no image that an experiment here labels or tests: none of TNBC, of NuInsSeg its
part `train` alone, of BRCA-M2C the authors' training patients alone. So the pools are as apart as
the paper's (Alexis et al. 2024, section 4).

The photographs are those that scikit-image and scikit-learn bring along and that show neither
tissue nor drawings. They stand for ImageNet, which cannot be had offline.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data as bundled

sys.path.insert(0, str(Path(__file__).parents[1]))
from train_accurate import resized
from train_teacher import part_of_nuinsseg
from unlabelled_tissue import FIELDS, SEED, fields, files, read

MPP = 0.25
BRCA_MPP = 0.5
SETS = ("sbu_tcga", "camelyon", "oral", "nct_crc")
PHOTOGRAPHS = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "rocket")
"""Of scikit-image; beside them the left picture of its pair `stereo_motorcycle`."""

Picture = NDArray[np.uint8]
"""RGB ``(h, w, 3)``."""


def tissue(data: Path) -> list[Picture]:
    """Unlabelled H&E at 0.25 um per px, or at its own resolution where nobody recorded one."""
    rng = np.random.default_rng(SEED)
    pictures = [read(path) for name in SETS for path in files(data / name)]
    for path in files(data / "bcss"):
        pictures += fields(read(path), FIELDS["bcss"], rng)
    for image in part_of_nuinsseg(data, "train"):
        pictures.append(resized(Image.fromarray(image.image), image.mpp / MPP, Image.Resampling.BOX))
    for path in training_images_of_brca(data / "brca_m2c"):
        pictures.append(resized(Image.fromarray(read(path)), BRCA_MPP / MPP, Image.Resampling.BICUBIC))
    return pictures


def training_images_of_brca(folder: Path) -> list[Path]:
    """Images of patients whom neither the authors' validation nor their test list names."""
    apart = (folder / "brca_ds_val.txt").read_text() + (folder / "brca_ds_test.txt").read_text()
    patients = {line[:12] for line in apart.split()}
    return [path for path in files(folder) if path.name[:12] not in patients]


def photographs() -> list[Picture]:
    """What is no tissue; grey pictures are given three equal channels."""
    # Only this pool needs scikit-learn, which wsinuc itself does not.
    from sklearn.datasets import load_sample_images

    pictures = [getattr(bundled, name)() for name in PHOTOGRAPHS]
    pictures.append(bundled.stereo_motorcycle()[0])
    pictures += load_sample_images().images
    return [three_channels(picture) for picture in pictures]


def three_channels(picture: Picture) -> Picture:
    """RGB of a grey or coloured picture."""
    if picture.ndim == 2:
        return np.repeat(picture[:, :, None], 3, axis=2)
    return np.ascontiguousarray(picture[:, :, :3])


def as_much_tissue(pictures: list[Picture], pixels: int) -> list[Picture]:
    """As much tissue as there are pixels of photographs, spread over all pictures by a fixed order."""
    chosen = []
    left = pixels
    for index in np.random.default_rng(SEED).permutation(len(pictures)):
        if left <= 0:
            break
        chosen.append(pictures[index])
        left -= pixels_of([pictures[index]])
    return chosen


def pixels_of(pictures: list[Picture]) -> int:
    """How many pixels a pool holds."""
    return sum(picture.shape[0] * picture.shape[1] for picture in pictures)


def pool(name: str, data: Path) -> list[Picture]:
    """The pictures of a pool: ``tissue``, ``photographs`` or ``little-tissue``."""
    if name == "photographs":
        return photographs()
    pictures = tissue(data)
    if name == "little-tissue":
        return as_much_tissue(pictures, pixels_of(photographs()))
    return pictures
