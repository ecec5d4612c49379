"""How much detail do images have at each scale, and how dark are their nuclei? Grain shows in the finest one.

    python examples/synthetic_pairs/scales.py DATA/monuseg2018_train SYNTHETIC ... [--count 30]

The first data set is taken at the windows of `tenth.json` and 0.25 um per px, the others as they
are; all are compared at 0.5. Standard deviation of the optical density (mean of the three channels)
after differences of Gaussians, and its mean in nuclei and beside them; means over images, as
Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage

from wsinuc.datasets import open_dataset
from wsinuc.datasets.augmentation.augment import resized
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.split import Split
from wsinuc.grid import Box

MPP = 0.5
SIGMAS = (0, 0.7, 1.5, 3, 6)
"""Pixels; each column lies between two of them."""


def figures(sample: LabelledImage) -> list[float]:
    """Standard deviations from fine to coarse, then the density in nuclei and beside them."""
    shape = tuple(round(side * sample.mpp / MPP) for side in sample.labels.shape)
    image, labels = resized(sample, Box.of_shape(sample.labels.shape), shape)
    density = -np.log((image.astype(np.float64) + 1) / 256).mean(2)
    smooth = [ndimage.gaussian_filter(density, sigma) if sigma else density for sigma in SIGMAS]
    bands = [float((fine - coarse).std()) for fine, coarse in pairwise(smooth)]
    return [*bands, float(density[labels > 0].mean()), float(density[labels == 0].mean())]


def row(name: str, images: Iterable[LabelledImage]) -> str:
    return f"| {name} | " + " | ".join(f"{value:.3f}" for value in np.mean([figures(i) for i in images], 0)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("synthetic", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=30)
    options = parser.parse_args()
    bands = [f"{a:g} - {b:g} px" for a, b in pairwise(SIGMAS)]
    print("| images | " + " | ".join([*bands, "in nuclei", "beside"]) + " |\n" + "|---" * (len(bands) + 3) + "|")
    real = Split.load(Path(__file__).parent / "tenth.json").of(open_dataset(options.real, mpp=0.25), "train")
    print(row("real", islice(real, options.count)))
    for folder in options.synthetic:
        print(row(folder.name, islice(open_dataset(folder), options.count)))


if __name__ == "__main__":
    main()
