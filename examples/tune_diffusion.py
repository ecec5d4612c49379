"""Go on with the tuning of `diffusion`, from annotated images of 31 organs and from what models say of other tissue.

    python examples/tune_diffusion.py DATA START OUT.safetensors --taught FOLDER [--steps 650] [--seed 41]
        [--pointed FOLDER]

DATA is as for `train_teacher.py` and `unlabelled_tissue.py`; START a model of `refine_accurate.py`
or an earlier run of this script; each FOLDER what one model says of the tissue
(`teach_tissue.py`), of which the mean is learnt. With `--pointed` a share of the annotated crops are outlines of
models that people's points have corrected (`pointed_tissue.py`). Interrupt it at will: the same
command goes on where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from pointed_tissue import SEEN as POINTED
from pointed_tissue import with_points
from refine_accurate import REFINE
from train_accurate import report
from train_teacher import SEEN, learnt_from
from tune_network import LABEL_WEIGHT, POINTED_SHARE, taught_crops, taught_tissue
from unlabelled_tissue import MPP
from unlabelled_tissue import SEEN as PIXELS

from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.models.training.loop import FitConfig
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.ddpm import DdpmSegmenter
from wsinuc.workflows.train.finetune import Taught, finetune

CROP = 256
ARTEFACTS = 0.15
"""Probability of ink, a fold or dust in an annotated crop."""
RATE = 4e-4


def tune(
    data: Path, start: Path, out: Path, folders: list[Path], *, steps: int, seed: int, pointed: Path | None = None
) -> None:
    """Train, or go on, and write ``out``."""
    hard = learnt_from(data, seed)
    if pointed is not None:
        hard = with_points(hard, pointed, POINTED_SHARE)
    soft = taught_crops(taught_tissue(data, folders), CROP, seed)
    former = load_checkpoint(start, "segmenter")
    segmenter = cast(DdpmSegmenter, load_segmenter(str(start), device="cpu"))
    segmenter.extractor.unet.float()
    segmenter.ensemble.float()
    config = replace(REFINE, seed=seed, batch=2, augmentation=replace(REFINE.augmentation, artefacts=ARTEFACTS))
    schedule = FitConfig(
        steps=steps, lr=RATE, warmup=30, cosine=True, weight_decay=0.01, ema=0.995, save_every=50, log_every=10
    )
    finetune(
        list(hard.images),
        segmenter.extractor,
        segmenter.ensemble,
        MPP,
        config,
        schedule,
        state=out.with_suffix(".state"),
        weights=list(hard.weights or ()),
        taught=Taught(source=soft, batch=2, label_weight=LABEL_WEIGHT),
        on_progress=report,
    )
    origin = former.provenance | {
        "data": "; ".join([SEEN, PIXELS, *([POINTED] if pointed else [])]),
        "steps": steps,
        "seed": seed,
        "tuned_from": former.sha256,
    }
    save_checkpoint(segmenter.to_checkpoint(origin), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("start", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--taught", type=Path, action="append", required=True)
    parser.add_argument("--steps", type=int, default=650)
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--pointed", type=Path, help="folder of pointed_tissue.py")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    tune(
        arguments.data,
        arguments.start,
        arguments.out,
        arguments.taught,
        steps=arguments.steps,
        seed=arguments.seed,
        pointed=arguments.pointed,
    )


if __name__ == "__main__":
    main()
