"""Measure how many um a pixel of NuInsSeg has, which its authors do not record.

    python examples/nuinsseg_scale.py DATA [--model student] [--images 3]

Two rulers, both without a published size:

* **a model that never saw NuInsSeg** segments the images as if a pixel had 0.14 to 0.36 um. It learnt nuclei at a known
  resolution, so it agrees best with the annotation where the pretended one is right. The same is done with TNBC, whose
  0.25 um are known: what is found there corrects what is found here.
* **nuclei of one kind**: median diameters by organ, in um at the result, to be held against what is known of the cells.

DATA holds `nuinsseg` and `tnbc`; of NuInsSeg the first images of each organ's `train` part are taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
from finish_model import HELD_OUT
from nuinsseg_split import SPLIT
from numpy.typing import NDArray

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.split import Split
from wsinuc.metrics.segmentation import score
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.tasks.predictions import predict_labels

PRETENDED = tuple(np.round(0.08 * 2 ** (np.arange(10) / 4), 3).tolist())
"""um per px, a quarter of an octave apart."""
TNBC_MPP = 0.25


def first_images(data: Path, count: int) -> list[LabelledImage]:
    """The first images of every organ in the part that models may learn from."""
    dataset = Split.load(SPLIT).of(open_dataset(data / "nuinsseg", mpp=TNBC_MPP), "train")
    organs = [row["organ"] for row in dataset.rows]
    return [dataset[i] for i, organ in enumerate(organs) if organs[:i].count(organ) < count]


def agreement(images: Sequence[LabelledImage], segmenter: Segmenter) -> NDArray[np.float64]:
    """Mean AJI at each pretended resolution."""
    found = []
    for mpp in PRETENDED:
        seen = [replace(image, mpp=mpp) for image in images]
        found.append(fmean(score(image.labels, predict_labels(image, segmenter=segmenter)).aji for image in seen))
    return np.array(found)


def peak(scores: NDArray[np.float64]) -> float:
    """The resolution of the highest score, by a parabola through the five points around it."""
    best = int(np.clip(scores.argmax(), 2, len(scores) - 3))
    near = slice(best - 2, best + 3)
    curve = np.polyfit(np.log(PRETENDED[near]), scores[near], 2)
    return float(np.exp(-curve[1] / (2 * curve[0])))


def diameters(image: LabelledImage) -> NDArray[np.float64]:
    """Diameters in px of discs as large as the nuclei that lie inside of the image."""
    edge = np.concatenate([image.labels[[0, -1]].ravel(), image.labels[:, [0, -1]].ravel()])
    areas = np.bincount(image.labels.ravel())
    areas[np.union1d(edge, [0])] = 0
    return 2 * np.sqrt(areas[areas > 0] / np.pi)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="student")
    parser.add_argument("--images", type=int, default=1, help="of each organ")
    arguments = parser.parse_args()
    segmenter = load_segmenter(arguments.model, device="cpu")
    sets = {
        "tnbc": list(open_dataset(arguments.data / "tnbc", mpp=TNBC_MPP).where({"patient": frozenset(HELD_OUT)})),
        "nuinsseg": first_images(arguments.data, arguments.images),
    }
    print("um per px " + " ".join(f"{mpp:6.3f}" for mpp in PRETENDED) + "   best")
    best = {}
    for name, images in sets.items():
        scores = agreement(images, segmenter)
        best[name] = peak(scores)
        print(f"{name:10}" + " ".join(f"{value:6.3f}" for value in scores) + f"  {best[name]:.3f}", flush=True)
    result = best["nuinsseg"] / best["tnbc"] * TNBC_MPP
    print(f"NuInsSeg has {result:.3f} um per px where TNBC has {TNBC_MPP}")
    every = open_dataset(arguments.data / "nuinsseg", mpp=result)
    for organ in sorted({row["organ"] for row in every.rows}):
        found = np.concatenate([diameters(image) for image in every.where({"organ": frozenset({organ})})])
        low, middle, high = np.percentile(found, (10, 50, 90)) * result
        print(f"{organ:40} {len(found):5} nuclei, {low:4.1f} {middle:4.1f} {high:4.1f} um (10, 50, 90 %)")


if __name__ == "__main__":
    main()
