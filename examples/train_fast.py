"""Make the network of `fast` again: a small U-Net that learns from annotated images and from two models together.

    python examples/train_fast.py DATA DIFFUSION FORMER OUT

DATA is as for `train_accurate.py`; DIFFUSION is what `refine_accurate.py` made (it ships as
`diffusion`), FORMER an earlier student, from which this one goes on. Their scores of all unlabelled
tissue, the student's of it in three sizes, are computed once and kept in OUT/teacher. Images of
haematoxylin alone are shown with the eosin of others besides. Interrupt it at will: the same
command goes on where it stopped. OUT then holds `student.safetensors`, which `join_models.py` makes
`fast` and, with DIFFUSION, `accurate` of.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from finish_model import HELD_OUT
from numpy.typing import NDArray
from PIL import Image
from train_accurate import annotated, report, rows, unlabelled

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.augmentation.counterstain import counterstained
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import Crop, CropSource
from wsinuc.datasets.sampling.patches import Prefetcher
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.devices import on_device
from wsinuc.models.networks.by_name import build_network
from wsinuc.models.networks.dense import DenseNetwork, DenseOutput
from wsinuc.models.pixels import to_network
from wsinuc.models.training.loop import FitConfig, fit
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.network import NetworkConfig, network_checkpoint
from wsinuc.segmenters.normalisation import ColourNormalisation, recoloured
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.workflows.distill.config import DistillConfig
from wsinuc.workflows.train.network_loss import Targets, make_targets, unet_loss
from wsinuc.workflows.train.soft_crops import SoftCrop, SoftCropSource, inconsistency, soft_loss

MPP = 0.25
CROP = 256
SEED = 5
SOFT = 6
"""Unlabelled crops per step, in pairs."""
HARD = 4
"""Annotated crops per step."""
LABEL_WEIGHT = 0.7
CONSISTENCY = 20.0
SIZES = (0.7, 1.0, 1.4)
"""In which the former student sees the tissue; each counts a third of the diffusion model."""
ZOOMS = (1.0, 0.65, 1.5)
"""In which the new one sees what they said."""
AUGMENTATION = Augmentation(zoom=1.8, stain=0.4, dyes=0.1, blur=0.3, noise=5.0, light=0.2, jpeg=0.3, compact=0.3)
FIT = FitConfig(steps=2400, lr=8e-4, warmup=50, cosine=True, weight_decay=0.01, ema=0.995, bf16=False, save_every=500)
SEEN = "TNBC (CC BY 4.0) without patients 09-11, DSB 2018 histology (CC0), pixels of NuCLS and of OpenSlide's images"
KEPT = 0.5
"""Share of the former student's weights in the new one's: the mean does better than either on tissue that neither saw.
"""
WEIGHTS = {"tnbc": 1.0, "H&E": 0.5, "hematoxylin_only": 0.08, "counterstained": 0.1}
"""How often an image of each kind is drawn."""
FIELDS = 6
"""Parts of the example slide that are enlarged to 0.25 um per px."""


def colours(data: Path) -> ColourNormalisation:
    """Those of the annotated H&E."""
    names = [row["name"] for row in rows(data / "tnbc") if row["patient"] not in HELD_OUT]
    return ColourNormalisation.towards([np.asarray(Image.open(data / "tnbc" / "images" / f"{n}.png")) for n in names])


def tissue(data: Path) -> list[NDArray[np.uint8]]:
    """Every image that may be learnt from at 0.25 um per px, of the slide a few fields."""
    *images, slide = unlabelled(data, MPP)
    side = 512
    corners = [(y, x) for y in range(0, slide.shape[0] - side, side) for x in range(0, slide.shape[1] - side, side)]
    fields = [slide[y : y + side, x : x + side] for y, x in corners]
    fields = [field for field in fields if field.mean() < 225]
    np.random.default_rng(0).shuffle(fields)
    return images + [_resized(field, 2.0) for field in fields[:FIELDS]]


def _resized(plane: NDArray[np.uint8], factor: float, least: int = 1) -> NDArray[np.uint8]:
    height, width = (max(least, round(side * factor)) for side in plane.shape[:2])
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))


def scores_of(segmenter: TiledSegmenter, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scores ``(channels, h, w)`` of an image as one tile, mirrored around, the model fitted to it."""
    height, width = pixels.shape[:2]
    side = 256
    margin = segmenter.margin
    large = np.pad(pixels, [(0, max(0, side - height)), (0, max(0, side - width)), (0, 0)], mode="symmetric")
    places = [np.linspace(0, extent - side, 3 if extent > side else 1).astype(int) for extent in large.shape[:2]]
    samples = np.stack([large[y : y + side, x : x + side] for y in places[0] for x in places[1]][:8])
    core = -(-max(height, width) // 64) * 64
    fitted = cast(Any, segmenter).calibrate(samples).with_core(core)
    tile = np.pad(pixels, [(margin, core - height + margin), (margin, core - width + margin), (0, 0)], mode="symmetric")
    found: NDArray[np.uint8] = fitted.predict(tile[None])[0][:, :height, :width]
    return found


def in_size(segmenter: TiledSegmenter, pixels: NDArray[np.uint8], size: float) -> NDArray[np.uint8]:
    """Scores of the image shown larger or smaller, at its own pixels."""
    height, width = pixels.shape[:2]
    if size == 1:
        return scores_of(segmenter, pixels)
    planes = scores_of(segmenter, _resized(pixels, size))
    return np.stack([np.asarray(Image.fromarray(p).resize((width, height), Image.Resampling.BILINEAR)) for p in planes])


def teach(images: list[NDArray[np.uint8]], models: list[Path], target: ColourNormalisation, folder: Path) -> None:
    """Write RGB and mean scores of every image as ``(3 + channels, h, w)``."""
    folder.mkdir(parents=True, exist_ok=True)
    diffusion, former = (cast(TiledSegmenter, load_segmenter(str(model), device="cpu")) for model in models)
    for number, image in enumerate(images):
        path = folder / f"{number:04d}.npy"
        if path.exists():
            continue
        seen = recoloured(image, target.table(image))
        total = len(SIZES) * scores_of(diffusion, seen).astype(np.float32)
        for size in SIZES:
            total += in_size(former, seen, size)
        scores = np.rint(total / (2 * len(SIZES))).astype(np.uint8)
        np.save(path, np.concatenate([np.moveaxis(image, 2, 0), scores]))
        print(f"taught {number + 1} of {len(images)}", flush=True)


def patches(folder: Path) -> list[NDArray[np.uint8]]:
    """What was taught, in `ZOOMS`."""
    return at_zooms([np.load(path) for path in sorted(folder.glob("*.npy"))], ZOOMS, CROP)


def at_zooms(images: list[NDArray[np.uint8]], zooms: tuple[float, ...], crop: int) -> list[NDArray[np.uint8]]:
    """Every image ``(planes, h, w)`` in each size; small ones are continued by mirroring, so that crops fit in."""
    found = []
    least = crop + 34
    for planes in images:
        for zoom in zooms:
            sized = planes if zoom == 1 else np.stack([_resized(plane, zoom, 32) for plane in planes])
            missing = [(0, max(0, least - side)) for side in sized.shape[1:]]
            found.append(np.pad(sized, [(0, 0), *missing], mode="symmetric"))
    return found


def soft_source(folder: Path) -> SoftCropSource:
    """Pairs of crops of the taught images, large images a little oftener."""
    return pairs_of(patches(folder), CROP, SEED, replace(AUGMENTATION, zoom=1.0, compact=0.0))


def pairs_of(
    kept: list[NDArray[np.uint8]],
    crop: int,
    seed: int,
    augmentation: Augmentation,
    weights: NDArray[np.float64] | None = None,
) -> SoftCropSource:
    """Pairs of crops of patches that models have scored, of large patches a little oftener, or as weights say."""
    shares = np.sqrt([min(p.shape[1], 1024) * min(p.shape[2], 1024) for p in kept])
    if weights is not None:
        shares = shares * weights
    drawn = np.random.default_rng(seed).choice(len(kept), 20_000, p=shares / shares.sum())
    return SoftCropSource(
        read=lambda number: kept[number],
        numbers=[int(i) for i in drawn],
        classes=1,
        separation="distance",
        mpp=MPP,
        step=1.0,
        size=crop,
        seed=seed,
        augmentation=augmentation,
    )


def hard_source(data: Path) -> CropSource:
    """Annotated images; those of haematoxylin alone twice more, with the eosin of H&E."""
    stains = {row["name"]: row["stain"] for row in csv.DictReader((data / "dsb2018_histology/manifest.csv").open())}
    found, _ = annotated(data)
    kind = [stains.get(image.name.split("/")[-1], "tnbc") for image in found]
    rng = np.random.default_rng(7)
    donors = [image.image for image, what in zip(found, kind, strict=True) if what == "tnbc"]
    images: list[LabelledImage] = list(found)
    for image, what in zip(found, list(kind), strict=True):
        if what == "hematoxylin_only":
            for _ in range(2):
                donor = donors[int(rng.integers(len(donors)))]
                images.append(replace(image, image=counterstained(image.image, image.labels, donor, rng)))
                kind.append("counterstained")
    weights = [WEIGHTS[what] for what in kind]
    return CropSource(images=images, mpp=MPP, size=CROP, seed=SEED, weights=weights, augmentation=AUGMENTATION)


def batches(soft: SoftCropSource, hard: CropSource) -> Callable[[int], tuple[list[SoftCrop], list[Crop], Targets]]:
    """What step k learns from."""

    def batch(step: int) -> tuple[list[SoftCrop], list[Crop], Targets]:
        crops = hard.batch(step, HARD)
        return soft.batch(step, SOFT), crops, make_targets(crops, "distance", 0, mpp=MPP)

    return batch


def earlier_student(path: Path) -> tuple[Checkpoint, NetworkConfig, DenseNetwork]:
    """A student to go on from: its file, what the file says of it, and the network, ready to be trained."""
    checkpoint = load_checkpoint(path, "segmenter")
    described = from_header(NetworkConfig, checkpoint.config)
    network = build_network(described.method, described.network)
    network.load_state_dict({name: value.float() for name, value in checkpoint.tensors.items()})
    return checkpoint, described, on_device(network, "cpu").train()


def student_loss(
    network: DenseNetwork, batch: Callable[[int], tuple[list[SoftCrop], list[Crop], Targets]], label_weight: float
) -> Callable[[int], torch.Tensor]:
    """The loss of step k: of crops that models have scored, and of annotated ones."""
    settings = DistillConfig()

    def loss(step: int) -> torch.Tensor:
        soft, hard, wanted = batch(step)
        pixels = to_network(np.stack([*(crop.image for crop in soft), *(crop.image for crop in hard)]))
        raw = network(pixels.to(memory_format=torch.channels_last)).float()
        said = DenseOutput(raw.classes[: len(soft)], raw.maps[: len(soft)])
        drawn = DenseOutput(raw.classes[len(soft) :], raw.maps[len(soft) :])
        learnt = soft_loss(said, [crop.target for crop in soft], settings.map_weight)
        learnt = learnt + CONSISTENCY * inconsistency(said, soft)
        return learnt + label_weight * unet_loss(drawn, wanted, settings)

    return loss


def train(data: Path, taught: Path, former: Path, out: Path) -> None:
    """Go on with the training of ``former``, and write the mean of both (Wortsman et al. 2022)."""
    torch.manual_seed(SEED)
    start, described, network = earlier_student(former)
    with closing(Prefetcher(batches(soft_source(taught), hard_source(data)), threads=1)) as ahead:
        loss = student_loss(network, ahead, LABEL_WEIGHT)
        tuned = fit(network, loss, FIT, state=out.with_suffix(".state"), on_progress=report, images=SOFT + HARD)
    origin = {
        "data": SEEN,
        "licence": "Apache-2.0",
        "steps": FIT.steps,
        "seed": SEED,
        "start": start.sha256,
    }
    before = {name: start.tensors[name].to(value) for name, value in tuned.items()}
    mean = {
        name: value.lerp(before[name], KEPT) if value.is_floating_point() else value for name, value in tuned.items()
    }
    save_checkpoint(network_checkpoint(described, mean, origin), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("diffusion", type=Path)
    parser.add_argument("former", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    taught = arguments.out / "teacher"
    teach(tissue(arguments.data), [arguments.diffusion, arguments.former], colours(arguments.data), taught)
    train(arguments.data, taught, arguments.former, arguments.out / "student.safetensors")


if __name__ == "__main__":
    main()
