"""Measure how many um a pixel of NuInsSeg has, which its authors do not record.

    python examples/nuinsseg_scale.py DATA [--model student] [--images 1]

Four looks at the same question; docs/reference/test-data.md has what they gave and what was decided.

* **A model that never saw NuInsSeg** segments it as if a pixel had 0.1 to 0.4 um. It learnt nuclei
  at 0.25 um, so it agrees best with the annotation where they look as large as there. The same is
  done with TNBC, whose 0.25 um are known: the ratio of the two best values is the result.
* **Lymphocytes**: the median diameter of round, dark nuclei in human spleen and tonsil, against TNBC's patient 07.
* **Red cells**: discs in vessels that were picked by eye, measured where their redness falls to one half.
* **All nuclei**: diameters by organ at a given resolution, to be held against what is known of the cells.

DATA holds `nuinsseg` and `tnbc`; the model sees the first images of each organ's `train` part.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
from finish_model import HELD_OUT
from nuinsseg_split import SPLIT
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.measure import regionprops

from wsinuc.datasets import open_dataset
from wsinuc.datasets.augmentation.augment import density
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.split import Split
from wsinuc.metrics.segmentation import score
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.workflows.evaluate.predictions import predict_labels

PRETENDED = (0.095, 0.113, 0.135, 0.160, 0.190, 0.226, 0.269, 0.320, 0.381)
"""um per px, a quarter of an octave apart."""
TNBC_MPP = 0.25
LYMPHOID = {"tnbc": {"patient": frozenset({"07"})}, "nuinsseg": {"organ": frozenset({"human spleen", "human tonsile"})}}
"""Where most round, dark nuclei are lymphocytes'."""
RED_CELLS = (
    ("human_melanoma_08", 114, 142),
    ("human_melanoma_08", 21, 67),
    ("human_melanoma_05", 355, 111),
    ("human_melanoma_05", 261, 7),
    ("human_melanoma_07", 178, 325),
    ("human_melanoma_02", 69, 53),
    ("human_epiglottis_10", 25, 33),
    ("human_epiglottis_10", 60, 135),
)
"""(image, x, y) of discs whose edge is seen all around."""


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


def first_images(data: Path, count: int) -> list[LabelledImage]:
    """The first images of every organ in the part that models may learn from."""
    dataset = Split.load(SPLIT).of(open_dataset(data / "nuinsseg", mpp=TNBC_MPP), "train")
    organs = [row["organ"] for row in dataset.rows]
    return [dataset[i] for i, organ in enumerate(organs) if organs[:i].count(organ) < count]


def by_model(data: Path, model: str, count: int) -> None:
    """Print what a model says."""
    segmenter = load_segmenter(model, device="cpu")
    tnbc = open_dataset(data / "tnbc", mpp=TNBC_MPP).where({"patient": frozenset(HELD_OUT)})
    print("um per px  " + " ".join(f"{mpp:.3f}" for mpp in PRETENDED) + "  best")
    best = []
    for name, images in (("TNBC", list(tnbc)), ("NuInsSeg", first_images(data, count))):
        scores = agreement(images, segmenter)
        best.append(peak(scores))
        print(f"{name:10} " + " ".join(f"{value:.3f}" for value in scores) + f"  {best[-1]:.3f}", flush=True)
    print(f"{model}: {best[1] / best[0] * TNBC_MPP:.3f} um per px\n")


def diameters(images: Iterable[LabelledImage], *, round_and_dark: bool = False) -> NDArray[np.float64]:
    """Diameters in px of discs as large as the nuclei that lie inside of the images."""
    found = []
    for image in images:
        height, width = image.labels.shape
        regions = regionprops(image.labels, intensity_image=density(image.image)[..., 0])
        regions = [r for r in regions if min(r.bbox[:2]) > 0 and r.bbox[2] < height and r.bbox[3] < width]
        if round_and_dark and regions:
            dark = np.median([r.intensity_mean for r in regions])
            regions = [r for r in regions if r.intensity_mean > dark and r.eccentricity < 0.6 and r.solidity > 0.93]
        found += [r.equivalent_diameter_area for r in regions]
    return np.array(found)


def by_lymphocytes(data: Path) -> None:
    """Print the sizes of lymphocytes."""
    middle = {}
    for name, where in LYMPHOID.items():
        sizes = diameters(open_dataset(data / name, mpp=TNBC_MPP).where(where), round_and_dark=True)
        middle[name] = float(np.median(sizes))
        print(f"{name}: {len(sizes)} round, dark nuclei, median {middle[name]:.1f} px")
    print(f"lymphocytes: {middle['tnbc'] / middle['nuinsseg'] * TNBC_MPP:.3f} um per px\n")


def red_cell(image: NDArray[np.uint8], x: float, y: float) -> float:
    """Diameter in px at which redness is half way from the middle to the ground, the median over 24 directions."""
    dyes = density(image)
    redness = gaussian_filter(dyes[..., 1] - 0.8 * dyes[..., 0], 1.2)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
    radii = np.arange(0, 34, 0.5)[None]
    rays = map_coordinates(redness, [y + np.sin(angles) * radii, x + np.cos(angles) * radii], order=1, mode="nearest")
    half = (np.median(rays[:, :16]) + rays[:, 12:].min(axis=1)) / 2
    edge = ((rays < half[:, None]) & (radii > 6)).argmax(axis=1)
    return float(2 * np.median(radii[0][edge]))


def by_red_cells(data: Path) -> None:
    """Print the sizes of red cells."""
    every = open_dataset(data / "nuinsseg", mpp=TNBC_MPP)
    images = {row["name"]: i for i, row in enumerate(every.rows)}
    sizes = [red_cell(every[images[name]].image, x, y) for name, x, y in RED_CELLS]
    middle = float(np.median(sizes))
    print(f"red cells: {', '.join(f'{size:.0f}' for size in sizes)} px, median {middle:.1f} px;")
    print(f"{6 / middle:.3f} to {7.5 / middle:.3f} um per px if they are 6 to 7.5 um wide\n")


def by_organ(data: Path, mpp: float) -> None:
    """Print the sizes of all nuclei."""
    every = open_dataset(data / "nuinsseg", mpp=mpp)
    print(f"at {mpp} um per px" + " " * 27 + "nuclei   10 %   50 %   90 % um wide")
    for organ in sorted({row["organ"] for row in every.rows}):
        found = diameters(every.where({"organ": frozenset({organ})}))
        sizes = "  ".join(f"{size:5.1f}" for size in np.percentile(found, (10, 50, 90)) * mpp)
        print(f"{organ:42} {len(found):6}  {sizes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="student")
    parser.add_argument("--images", type=int, default=1, help="of each organ that the model sees")
    parser.add_argument("--mpp", type=float, default=0.16, help="um per px of the table by organ")
    arguments = parser.parse_args()
    by_red_cells(arguments.data)
    by_lymphocytes(arguments.data)
    by_organ(arguments.data, arguments.mpp)
    by_model(arguments.data, arguments.model, arguments.images)


if __name__ == "__main__":
    main()
