"""Compare the ways of separating nuclei on maps of real annotation: clean, in 8 bits, noisy, blurred.

    python examples/separation.py DATA [--mpp 0.25 0.5] [--images N]

DATA holds the folders `monuseg2018_train` and `tnbc` (images, 16-bit labels, manifest; about 0.25
um per pixel). From the labels are made the maps that generators draw: semantic, H and V, distance
to the centroid, and points; then each way has to find the labels again. Prints a Markdown table:
Dice of each nucleus with the instance that fits it best (mDice, mean over nuclei), AJI+ (mean over
images), by how much the number of nuclei is off, and seconds per megapixel on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.datasets import open_dataset
from wsinuc.datasets.augmentation.augment import resized
from wsinuc.grid import Box
from wsinuc.labels import relabel
from wsinuc.metrics.segmentation import aji_plus, count_overlaps
from wsinuc.separation.generated import SEPARATIONS, GeneratedMaps, separate, settings_for_maps
from wsinuc.separation.targets import hv_maps

SETS = ("monuseg2018_train", "tnbc")
SET_MPP = 0.25
NOISE = 0.1
BLUR_UM = 0.5

Change = Callable[[NDArray, float, np.random.Generator], NDArray]
CHANGES: dict[str, Change] = {
    "clean": lambda values, mpp, rng: values,
    "8 bit": lambda values, mpp, rng: np.rint(values * 127.5) / 127.5,
    f"noise {NOISE}": lambda values, mpp, rng: values + NOISE * rng.standard_normal(values.shape),
    f"blur {BLUR_UM} um": lambda values, mpp, rng: ndimage.gaussian_filter(values, BLUR_UM / mpp, axes=(-2, -1)),
}
"""What is done to the maps, in the range that they have."""


def labels_at(path: Path, mpp: float, count: int | None) -> Iterator[NDArray[np.int32]]:
    """Annotation of the images at a resolution, without what is too small to be a nucleus there."""
    dataset = open_dataset(path, mpp=SET_MPP)
    for index in np.linspace(0, len(dataset) - 1, min(count or len(dataset), len(dataset))).astype(int):
        image = dataset[int(index)]
        height, width = (round(side * SET_MPP / mpp) for side in image.labels.shape)
        _, labels = resized(image, Box.of_shape(image.labels.shape), (height, width))
        yield relabel(labels, settings_for_maps(mpp).area_px(settings_for_maps(mpp).min_area_um2))


def maps_of(labels: NDArray[np.int32]) -> GeneratedMaps:
    """What a perfect generator would draw; points at the nucleus' pixel that is nearest to its centroid."""
    distance = np.zeros(labels.shape, np.float32)
    points = np.zeros(labels.shape, np.int32)
    for label, place in enumerate(ndimage.find_objects(labels), start=1):
        at = np.argwhere(labels[place] == label)
        away = np.hypot(*(at - at.mean(axis=0)).T)
        distance[place][tuple(at.T)] = 1 - away / max(away.max(), 1.0)
        points[place][tuple(at[away.argmin()])] = 1
    return GeneratedMaps(semantic=(labels > 0).astype(np.float32), hv=hv_maps(labels), distance=distance, points=points)


def changed(maps: GeneratedMaps, change: Change, mpp: float, seed: int) -> GeneratedMaps:
    """The maps as a generator would spoil them; points are given to it, and stay."""
    rng = np.random.default_rng(seed)
    assert maps.hv is not None
    assert maps.distance is not None
    return replace(
        maps,
        semantic=change(maps.semantic, mpp, rng),
        hv=change(maps.hv, mpp, rng),
        distance=change(maps.distance, mpp, rng),
    )


def dice_of_nuclei(truth: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[np.float64]:
    """For each true nucleus the Dice with the instance that fits it best, 0 where none touches it."""
    table = count_overlaps(truth, found)
    best = np.zeros(len(table.true_areas))
    total = table.true_areas[table.true_index] + table.predicted_areas[table.predicted_index]
    np.maximum.at(best, table.true_index, 2 * table.shared / total)
    return best


def row(every: list[NDArray[np.int32]], spoilt: list[GeneratedMaps], method: str, mpp: float) -> str:
    """The figures of one way on one set."""
    dice = []
    aji = []
    true = predicted = pixels = 0
    seconds = 0.0
    for truth, maps in zip(every, spoilt, strict=True):
        start = time.process_time()
        found = separate(method, maps, settings_for_maps(mpp)).labels
        seconds += time.process_time() - start
        dice.append(dice_of_nuclei(truth, found))
        aji.append(aji_plus(truth, found))
        true += int(truth.max())
        predicted += int(found.max())
        pixels += truth.size
    figures = f"{np.concatenate(dice).mean():.4f} | {np.mean(aji):.4f} | {predicted / true - 1:+.1%}"
    return f"{method} | {figures} | {seconds / pixels * 1e6:.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--mpp", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--images", type=int, metavar="N", help="of each set, evenly spread; all without it")
    options = parser.parse_args()
    print("| set | um/px | maps | separation | mDice | AJI+ | count | s/Mpx |\n|---|---|---|---|---|---|---|---|")
    for name in SETS:
        for mpp in options.mpp:
            every = [labels for labels in labels_at(options.data / name, mpp, options.images) if labels.any()]
            perfect = [maps_of(labels) for labels in every]
            separate("points", perfect[0], settings_for_maps(mpp))  # compiles what is compiled
            for kind, change in CHANGES.items():
                spoilt = [changed(maps, change, mpp, seed) for seed, maps in enumerate(perfect)]
                for method in SEPARATIONS:
                    print(f"| {name} | {mpp:g} | {kind} | {row(every, spoilt, method, mpp)} |", flush=True)


if __name__ == "__main__":
    main()
