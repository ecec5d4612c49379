"""Write into a model what the form of an outline says about whether it is a nucleus, and what its probabilities mean.

    python examples/fit_shape_odds.py MODEL DATA

DATA holds the folders `nuinsseg` and `tnbc`. The model finds nuclei on every fourth training image of NuInsSeg
(`nuinsseg_split.json`) and on TNBC without patients 09 to 11, and a logistic regression learns from which of
them are right (IoU above one half). Both sets count as much. Run again, it does the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.split import Split
from wsinuc.metrics.segmentation import count_overlaps
from wsinuc.metrics.shape_odds import fit_shape_odds
from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.models.devices import pick_dtype
from wsinuc.nuclei import MEASUREMENTS
from wsinuc.pipeline.image import find_nuclei, paint_level0
from wsinuc.segmenters import segmenter_from
from wsinuc.segmenters.base import Segmenter
from wsinuc.slides.array import ArraySlide
from wsinuc.workflows.evaluate.ignored import counted

HELD_OUT = ("09", "10", "11")
SPLIT = Path(__file__).parent / "nuinsseg_split.json"
EVERY = 4


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The nuclei that a model finds on a set of images."""

    probabilities: NDArray[np.float32]
    """(n,) means over their pixels."""
    measurements: dict[str, NDArray[np.float32]]
    """(n,) each."""
    right: NDArray[np.bool_]
    """(n,)"""


def found_on(images: Iterable[LabelledImage], segmenter: Segmenter) -> Found:
    """What a model finds, and what of it is right."""
    nuclei = []
    right = []
    for image in images:
        with ArraySlide(image.image, mpp=image.mpp) as slide:
            seen = find_nuclei(slide.at(segmenter.mpp), segmenter).nuclei
        labels = counted(paint_level0(seen, image.labels.shape), image.ignore)
        overlaps = count_overlaps(counted(image.labels, image.ignore), labels)
        # Both ascend: ids of nuclei, and labels that count.
        nuclei.append(seen.select(np.isin(seen.ids, overlaps.predicted_labels)))
        right.append(overlaps.right)
    return Found(
        probabilities=np.concatenate([each.probabilities for each in nuclei]),
        measurements={name: np.concatenate([each.measurements[name] for each in nuclei]) for name in MEASUREMENTS},
        right=np.concatenate(right),
    )


def fit(model: Path, data: Path) -> None:
    """Measure, and rewrite the checkpoint."""
    checkpoint = load_checkpoint(model, "segmenter")
    unmeasured = checkpoint.config | {"certainty": (1.0, 0.0), "shape_odds": None}
    device = torch.device("cpu")
    segmenter = segmenter_from(replace(checkpoint, config=unmeasured), device=device, dtype=pick_dtype(device))
    organs = Split.load(SPLIT).of(open_dataset(data / "nuinsseg", mpp=0.16), "train")
    patients = open_dataset(data / "tnbc", mpp=0.25).where(unwanted={"patient": HELD_OUT})
    sets = [found_on(images, segmenter) for images in (organs[::EVERY], patients)]
    odds, line = fit_shape_odds(
        np.concatenate([each.probabilities for each in sets]),
        {name: np.concatenate([each.measurements[name] for each in sets]) for name in MEASUREMENTS},
        np.concatenate([each.right for each in sets]),
        np.concatenate([np.full(len(each.right), 1 / len(each.right)) for each in sets]) * len(sets[0].right),
    )
    print(f"{model.name}: {odds}, slope {line[0]:.3f}, offset {line[1]:.3f}")
    save_checkpoint(replace(checkpoint, config=unmeasured | {"certainty": line, "shape_odds": asdict(odds)}), model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    fit(arguments.model, arguments.data)


if __name__ == "__main__":
    main()
