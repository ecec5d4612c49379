"""Where is the AJI lost? What it would be if one kind of error were mended, with the annotation's help.

    PYTHONPATH=. python tests/benchmarks/aji_losses.py DATA PREDICTIONS [--mpp UM]

PREDICTIONS is the folder of that name that ``wsinuc evaluate -o`` writes. Kinds: predictions with
hardly any annotated nucleus beneath (removed), annotated nuclei that are hardly covered (added as
annotated), predictions that hold most of two or more (cut by the annotation), annotated nuclei that
hold most of two or more predictions (these united), outlines of matched nuclei (replaced by the
annotation's). Prints means over the images, one mended kind per line.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from wsinuc.datasets import open_dataset
from wsinuc.metrics.segmentation import score
from wsinuc.workflows.evaluate.predictions import read_label_image

HARDLY, MOST = 0.2, 0.5
Labels = NDArray[np.int64]


def shared_areas(truth: Labels, predicted: Labels) -> NDArray[np.int64]:
    """Pixels that each annotated nucleus (rows) and each prediction (columns) have in common; 0 is background."""
    width = int(predicted.max()) + 1
    return np.bincount((truth * width + predicted).ravel(), minlength=(int(truth.max()) + 1) * width).reshape(-1, width)


def shares(truth: Labels, predicted: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of each annotated nucleus that lies in each prediction, and the other way round; background has none."""
    table = shared_areas(truth, predicted)
    of_truth = table / np.maximum(table.sum(1, keepdims=True), 1)
    of_predicted = table / np.maximum(table.sum(0), 1)
    for part in (of_truth, of_predicted):
        part[0] = part[:, 0] = 0
    return of_truth, of_predicted


def without_invented(truth: Labels, predicted: Labels) -> Labels:
    _, inside = shares(truth, predicted)
    return np.where((inside.sum(0) < HARDLY)[predicted], 0, predicted)


def with_missed(truth: Labels, predicted: Labels) -> Labels:
    covered, _ = shares(truth, predicted)
    missed = (covered.sum(1) < HARDLY)[truth] & (truth > 0) & (predicted == 0)
    return np.where(missed, truth + predicted.max(), predicted)


def fused_cut(truth: Labels, predicted: Labels) -> Labels:
    covered, _ = shares(truth, predicted)
    fused = ((covered > MOST).sum(0) > 1)[predicted]
    pieces = watershed(np.zeros(truth.shape, np.uint8), np.where(fused, truth, 0), mask=fused)
    return np.where(fused & (pieces > 0), pieces + predicted.max(), predicted)


def cut_united(truth: Labels, predicted: Labels) -> Labels:
    _, inside = shares(truth, predicted)
    owner = np.arange(inside.shape[1])
    for nucleus in np.flatnonzero((inside > MOST).sum(1) > 1):
        parts = np.flatnonzero(inside[nucleus] > MOST)
        owner[parts] = parts[0]
    return owner[predicted]


def outlines_exact(truth: Labels, predicted: Labels) -> Labels:
    table = shared_areas(truth, predicted)
    union = table.sum(1, keepdims=True) + table.sum(0) - table
    right = table / np.maximum(union, 1) > MOST
    right[0] = right[:, 0] = False
    kept = np.where(right.any(0)[predicted], 0, predicted)
    return np.where(right.any(1)[truth], truth + predicted.max(), kept)


MENDED: dict[str, Callable[[Labels, Labels], Labels]] = {
    "nothing": lambda truth, predicted: predicted,
    "invented removed": without_invented,
    "missed added": with_missed,
    "fused cut": fused_cut,
    "cut united": cut_united,
    "outlines exact": outlines_exact,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--mpp", type=float, default=0.25)
    arguments = parser.parse_args()
    images = list(open_dataset(arguments.data, mpp=arguments.mpp))
    pairs = [
        (image.labels.astype(np.int64), read_label_image(arguments.predictions, image.name).labels.astype(np.int64))
        for image in images
    ]
    for name, mend in MENDED.items():
        scored = [score(truth, mend(truth, predicted)) for truth, predicted in pairs]
        print(f"{name:18} Dice {fmean(s.dice for s in scored):.3f}  AJI {fmean(s.aji for s in scored):.3f}")


if __name__ == "__main__":
    main()
