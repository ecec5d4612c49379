"""Make the shipped model `accurate` better at crowds: the second half of its recipe, after train_accurate.py.

    python examples/train_accurate.py DATA OUT              # OUT/accurate.safetensors: the tuned model
    wsinuc distill OUT/accurate.safetensors ... -o OUT/first.safetensors  # a first student
    python examples/refine_accurate.py DATA OUT             # OUT/crowds.safetensors and OUT/refined.safetensors

First the tuned model learns from tissue that is drawn together until nuclei touch, with errors
between near nuclei weighing more (`crowds`). Then it learns, beside the annotation, what it and the
first student say on average of unlabelled tissue: the student sees it more coarsely, and the mean
of both scores better than either (`refined`, which ships as `accurate`). Interrupt it at will: the
same command goes on where it stopped. One core takes about fifty minutes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from finish_model import HELD_OUT, finish
from train_accurate import MPP, TUNE, annotated, report

from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.models.training.loop import FitConfig
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.ddpm import DdpmSegmenter
from wsinuc.workflows.data.sources import Choice
from wsinuc.workflows.distill.config import DistillConfig
from wsinuc.workflows.distill.patches import TeacherPatches, make_patches, scales_of
from wsinuc.workflows.distill.sources import gather_tissue
from wsinuc.workflows.distill.teacher import load_teacher
from wsinuc.workflows.train.finetune import FinetuneConfig, Taught, finetune
from wsinuc.workflows.train.soft_crops import SoftCropSource

CROWDED = replace(TUNE.augmentation, crowd=0.0, zoom=1.8, compact=0.6)
CROWDS = replace(TUNE, contact_weight=2.0, augmentation=CROWDED, seed=12)
REFINE = replace(TUNE, contact_weight=2.0, augmentation=replace(CROWDED, compact=0.5), batch=2, seed=21)
CROWDS_FIT = FitConfig(steps=600, lr=5e-4, warmup=50, cosine=True, weight_decay=0.01, ema=0.995, save_every=100)
REFINE_FIT = FitConfig(steps=450, lr=4e-4, warmup=30, cosine=True, weight_decay=0.01, ema=0.995, save_every=100)
PATCHES = DistillConfig(mpp=MPP, patches=500, patch=400, seed=1)


def tune(
    data: Path, start: Path, out: Path, config: FinetuneConfig, schedule: FitConfig, taught: Taught | None = None
) -> None:
    """Go on with the training of ``start`` and write ``out``."""
    checkpoint = load_checkpoint(start, "segmenter")
    segmenter = cast(DdpmSegmenter, load_segmenter(str(start), device="cpu"))
    segmenter.extractor.unet.float()
    segmenter.ensemble.float()
    images, weights = annotated(data)
    finetune(
        images,
        segmenter.extractor,
        segmenter.ensemble,
        MPP,
        config,
        schedule,
        state=out.with_suffix(".state"),
        weights=weights,
        taught=taught,
        on_progress=report,
    )
    save_checkpoint(segmenter.to_checkpoint(checkpoint.provenance | {"tuned_from": checkpoint.sha256}), out)


def patches_of(data: Path, models: list[Path], folder: Path) -> TeacherPatches:
    """Unlabelled tissue with the mean of what the models say; no held-out patient."""
    teachers = [load_teacher(str(model), device="cpu") for model in models]
    choice = Choice({}, {"patient": frozenset(HELD_OUT)})
    sources = [
        str(data / "tnbc"),
        str(data / "dsb2018_histology"),
        # Its layout says the resolution of these fifteen images.
        f"nucls={data / 'nucls_points'}",
        str(data / "slides/OS-1_HE_original_image.png"),
    ]
    tissue = gather_tissue(
        sources, scales_of(teachers, PATCHES), file_mpp=MPP, choice=choice, memory=4 * 2**30, even=True
    )
    choice.check()
    say = partial(print, flush=True)
    return make_patches(teachers, tissue.images, folder, PATCHES, weights=tissue.weights, on_event=say)


def taught_by(patches: TeacherPatches) -> Taught:
    """Crops of the patches, disturbed as the annotated ones are."""
    source = SoftCropSource(
        read=patches.patch,
        numbers=patches.training,
        classes=1,
        separation="distance",
        mpp=MPP,
        step=1.0,
        size=REFINE.crop,
        seed=REFINE.seed,
        augmentation=REFINE.augmentation,
    )
    return Taught(source=source, batch=2, label_weight=0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out
    crowds = out / "crowds.safetensors"
    refined = out / "refined.safetensors"
    if not crowds.exists():
        tune(arguments.data, out / "accurate.safetensors", crowds, CROWDS, CROWDS_FIT)
    models = [crowds, out / "first.safetensors"]
    patches = patches_of(arguments.data, models, out / "refined.patches")
    tune(arguments.data, crowds, refined, REFINE, REFINE_FIT, taught_by(patches))
    finish(refined, arguments.data)


if __name__ == "__main__":
    main()
