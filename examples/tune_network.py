"""Go on with the training of a network, from annotated images of 31 organs and from what models say of other tissue.

    python examples/tune_network.py DATA START OUT.safetensors --taught FOLDER --taught FOLDER [--steps 1600]
        [--pointed FOLDER] ...

DATA is as for `train_teacher.py` and `unlabelled_tissue.py`; START a U-Net of `train_teacher.py` or an earlier
student; each FOLDER what one model says of the tissue (`teach_tissue.py`), of which the mean is
learnt. With `--pointed` a share of the annotated crops are outlines of models that people's points
have corrected (`pointed_tissue.py`). Interrupt it at will: the same command goes on where it
stopped. A seed gives the same crops in the same order.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pointed_tissue import SEEN as POINTED
from pointed_tissue import with_points
from train_accurate import report
from train_fast import ZOOMS, at_zooms, earlier_student, pairs_of, student_loss
from train_teacher import AUGMENTATION, SEEN, learnt_from
from unlabelled_tissue import HAEMATOXYLIN, MPP, named_tissue
from unlabelled_tissue import SEEN as PIXELS

from wsinuc.datasets.sampling.crops import Crop
from wsinuc.datasets.sampling.patches import Prefetcher
from wsinuc.models.checkpoints.checkpoint import save_checkpoint
from wsinuc.models.training.loop import FitConfig, fit
from wsinuc.segmenters.network import network_checkpoint
from wsinuc.workflows.train.network_loss import Targets, make_targets
from wsinuc.workflows.train.soft_crops import SoftCrop, SoftCropSource

COARSE = 0.15
"""Probability of a crop as a coarser slide shows it."""
SHARES = {"nuinsseg": 0.42, "tnbc": 0.43, "dsb2018_histology": 0.06, "negatives": 0.09}
"""Of the annotated crops."""
TISSUE = {HAEMATOXYLIN: 0.1, "tnbc": 2.0}
"""How often an image of a set is seen beside one of the others."""
LABEL_WEIGHT = 0.7
"""Weight of the annotation beside what the models say, unless another is given."""
POINTED_SHARE = 0.35
"""Of the annotated crops, that have outlines by points, unless another is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long a training goes on, and on how much of what."""

    steps: int
    rate: float
    average: float
    """Decay of the moving average of the weights."""
    crop: int
    taught: int
    """Crops of a step that models have scored, in pairs."""
    labelled: int
    """Annotated ones."""
    label_weight: float
    pointed: Path | None
    """Folder of `pointed_tissue.py`."""
    pointed_share: float
    """Of the annotated crops, that come from it."""
    seed: int
    bf16: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaughtTissue:
    """What models say of unlabelled tissue."""

    patches: list[NDArray[np.uint8]]
    """RGB and the mean of what they say, ``(3 + channels, h, w)`` for each image."""
    weights: list[float]
    """How often each is seen, see `TISSUE`."""


def taught_tissue(data: Path, folders: list[Path]) -> TaughtTissue:
    """Read what the models said, of those images of which each has said something."""
    patches = []
    weights = []
    for number, (name, image) in enumerate(named_tissue(data)):
        files = [folder / f"{number:04d}.npy" for folder in folders]
        if not all(file.exists() for file in files):
            continue
        scores = [np.load(file).astype(np.float32) for file in files]
        mean = np.rint(np.mean(scores, axis=0)).astype(np.uint8)
        patches.append(np.concatenate([np.moveaxis(image, 2, 0), mean]))
        weights.append(TISSUE.get(name, 1.0))
    return TaughtTissue(patches=patches, weights=weights)


def taught_crops(taught: TaughtTissue, crop: int, seed: int) -> SoftCropSource:
    """Pairs of crops of these patches in several sizes, of large patches a little oftener."""
    augmentation = replace(AUGMENTATION, zoom=1.0, compact=0.0, artefacts=0.0, coarse=COARSE)
    sized = at_zooms(taught.patches, ZOOMS, crop)
    return pairs_of(sized, crop, seed, augmentation, np.repeat(taught.weights, len(ZOOMS)))


def batches(
    data: Path, folders: list[Path], course: Course
) -> Callable[[int], tuple[list[SoftCrop], list[Crop], Targets]]:
    """What step k learns from."""
    soft = taught_crops(taught_tissue(data, folders), course.crop, course.seed)
    plain = learnt_from(data, course.seed, SHARES)
    if course.pointed is not None:
        plain = with_points(plain, course.pointed, course.pointed_share)
    hard = replace(plain, size=course.crop, augmentation=replace(AUGMENTATION, coarse=COARSE))

    def batch(step: int) -> tuple[list[SoftCrop], list[Crop], Targets]:
        crops = hard.batch(step, course.labelled)
        return soft.batch(step, course.taught), crops, make_targets(crops, "distance", 0, mpp=MPP)

    return batch


def tune(data: Path, start: Path, out: Path, folders: list[Path], course: Course) -> None:
    """Train, or go on, and write ``out``."""
    torch.manual_seed(course.seed)
    former, described, network = earlier_student(start)
    schedule = FitConfig(
        steps=course.steps,
        lr=course.rate,
        warmup=50,
        cosine=True,
        weight_decay=0.01,
        ema=course.average,
        bf16=course.bf16,
        save_every=250,
        log_every=50,
    )
    with closing(Prefetcher(batches(data, folders, course), threads=1)) as ahead:
        loss = student_loss(network, ahead, course.label_weight)
        crops = course.taught + course.labelled
        tuned = fit(network, loss, schedule, state=out.with_suffix(".state"), on_progress=report, images=crops)
    origin = {
        "data": "; ".join([SEEN, PIXELS, *([POINTED] if course.pointed else [])]),
        "licence": "Apache-2.0",
        "steps": course.steps,
        "seed": course.seed,
        "start": former.sha256,
    }
    save_checkpoint(network_checkpoint(described, dict(tuned), origin), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("start", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--taught", type=Path, action="append", required=True)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--average", type=float, default=0.995)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--taught-crops", type=int, default=6)
    parser.add_argument("--labelled-crops", type=int, default=4)
    parser.add_argument("--label-weight", type=float, default=LABEL_WEIGHT)
    parser.add_argument("--pointed", type=Path, help="folder of pointed_tissue.py")
    parser.add_argument("--pointed-share", type=float, default=POINTED_SHARE)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    course = Course(
        steps=arguments.steps,
        rate=arguments.rate,
        average=arguments.average,
        crop=arguments.crop,
        taught=arguments.taught_crops,
        labelled=arguments.labelled_crops,
        label_weight=arguments.label_weight,
        pointed=arguments.pointed,
        pointed_share=arguments.pointed_share,
        seed=arguments.seed,
        bf16=arguments.bf16,
    )
    tune(arguments.data, arguments.start, arguments.out, arguments.taught, course)


if __name__ == "__main__":
    main()
