"""Train the supervised teacher: a wide U-Net on 31 organs of NuInsSeg, TNBC and the Data Science Bowl's histology.

    python examples/train_teacher.py DATA OUT [--base 48] [--seed 21] [--steps 40000] [--minutes 120]

DATA holds the folders `nuinsseg`, `tnbc` and `dsb2018_histology` (images, 16-bit labels, manifest),
and `oral` and `nct_crc` for the places without nuclei of `negatives.json`.
Never trained on: the parts `held_organs` and `held_images` of `nuinsseg_split.json`, and TNBC
patients 09, 10 and 11. Interrupt it at will: the same command goes on where it stopped. OUT then
holds `teacher.safetensors` (the averaged weights, written anew every `MEASURE` steps and usable at
any time), `teacher.state` (to go on from) and `teacher.jsonl` (steps, loss, rate, and the loss on
fixed crops of `held_organs`, which chooses nothing).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from finish_model import HELD_OUT
from negatives import negatives
from nuinsseg_split import SPLIT
from torch import Tensor
from train_accurate import mpp_by_nuclei, report

from wsinuc.datasets import open_dataset
from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import Crop, CropSource
from wsinuc.datasets.sampling.split import Split
from wsinuc.models.checkpoints.checkpoint import save_checkpoint
from wsinuc.models.devices import on_device
from wsinuc.models.networks.by_name import build_network
from wsinuc.models.networks.dense import DenseNetwork
from wsinuc.models.pixels import to_network
from wsinuc.models.training.loop import FitConfig, Inspection, Progress, fit
from wsinuc.segmenters.network import NetworkConfig, network_checkpoint
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.distill.config import DistillConfig
from wsinuc.workflows.train.network_loss import make_targets, unet_loss

MPP = 0.25
CROP = 224
BATCH = 6
NUINSSEG_MPP = 0.16
"""um per pixel; docs/reference/test-data.md says how it was measured."""
NETWORK = {"classes": 2, "maps": 1, "levels": 4, "fold": 2, "smooth": True}
AUGMENTATION = Augmentation(
    zoom=1.8, stain=0.4, dyes=0.1, blur=0.3, noise=5.0, light=0.2, jpeg=0.3, compact=0.3, artefacts=0.15
)
SHARES = {"nuinsseg": 0.57, "tnbc": 0.28, "dsb2018_histology": 0.1, "negatives": 0.05}
"""Of the crops; most images of the Data Science Bowl show haematoxylin alone."""
NEVER = 10**9
"""A step that no training reaches."""
MEASURE = 1000
"""Steps between measurements of the held-out loss."""
MEASURED = 48
"""Crops on which it is measured."""
SEEN = (
    "NuInsSeg (CC BY 4.0) without its held parts, TNBC (CC BY 4.0) without patients 09-11, DSB 2018 histology (CC0), "
    "places without nuclei of oral mucosa (Mendeley ftmp4cvtmb, CC BY 4.0) and NCT-CRC-HE (CC BY 4.0)"
)


def learnt_from(data: Path, seed: int, shares: Mapping[str, float] = SHARES) -> CropSource:
    """Annotated images that the teacher sees, and how often."""
    tnbc = open_dataset(data / "tnbc", mpp=0.25).where(unwanted={"patient": frozenset(HELD_OUT)})
    dsb = open_dataset(data / "dsb2018_histology", mpp=0.25)
    sets = {
        "nuinsseg": part_of_nuinsseg(data, "train"),
        "tnbc": list(tnbc),
        "dsb2018_histology": [replace(image, mpp=mpp_by_nuclei(image.labels)) for image in dsb],
        "negatives": negatives(data),
    }
    images = [image for found in sets.values() for image in found]
    weights = [shares[name] / len(found) for name, found in sets.items() for _ in found]
    return CropSource(images=images, mpp=MPP, size=CROP, seed=seed, weights=weights, augmentation=AUGMENTATION)


def part_of_nuinsseg(data: Path, part: str) -> list[LabelledImage]:
    """The images of one part of the split."""
    return list(Split.load(SPLIT).of(open_dataset(data / "nuinsseg", mpp=NUINSSEG_MPP), part))


def held_out_crops(data: Path, source: CropSource) -> list[Crop]:
    """The same `MEASURED` crops of organs that are not learnt from, as they are."""
    plain = Augmentation(zoom=1.0, stain=0.0)
    held = replace(source, images=part_of_nuinsseg(data, "held_organs"), weights=None, augmentation=plain)
    return [held.crop(index) for index in range(MEASURED)]


def loss_on(network: DenseNetwork, crops: list[Crop]) -> Tensor:
    """Mean loss of a batch."""
    pixels = to_network(np.stack([crop.image for crop in crops])).to(memory_format=torch.channels_last)
    raw = network(pixels).float()
    return unet_loss(raw, make_targets(crops, "distance", 0, mpp=MPP), DistillConfig())


def train(data: Path, out: Path, base: int, seed: int, steps: int, *, minutes: float, until: int = NEVER) -> None:
    """Train, or go on, for so many steps in all, up to one of them, or for minutes from now."""
    torch.manual_seed(seed)
    shape = NETWORK | {"base": base}
    described = NetworkConfig.describe("unet", shape, mpp=MPP, separation="distance", classes=(NUCLEUS,))
    network = on_device(build_network("unet", shape), "cpu").train()
    source = learnt_from(data, seed)
    fixed = held_out_crops(data, source)
    file = out / "teacher.safetensors"
    end = time.monotonic() + 60 * minutes
    done = 0

    def tell(progress: Progress) -> None:
        nonlocal done
        done = progress.step
        report(progress)

    def write(weights: dict[str, Tensor], done: int) -> None:
        origin = {"data": SEEN, "licence": "Apache-2.0", "steps": done, "seed": seed}
        save_checkpoint(network_checkpoint(described, weights, origin), file)

    def measure(done: int) -> float:
        """Held-out loss of the averaged weights, which are in the network now and are written."""
        write(network.state_dict(), done)
        with torch.no_grad():
            parts = [float(loss_on(network, fixed[i : i + BATCH])) for i in range(0, MEASURED, BATCH)]
        return sum(parts) / len(parts)

    config = FitConfig(
        steps=steps, lr=1e-3, warmup=200, cosine=True, weight_decay=0.01, ema=0.999, save_every=250, log_every=50
    )
    fit(
        network,
        lambda step: loss_on(network, source.batch(step, BATCH)),
        config,
        state=out / "teacher.state",
        on_progress=tell,
        should_stop=lambda: done >= until or time.monotonic() > end,
        images=BATCH,
        settings={"seed": seed, "network": shape, "crop": CROP, "batch": BATCH, "nuinsseg_mpp": NUINSSEG_MPP},
        inspections=[Inspection(every=MEASURE, run=measure)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", type=int, default=48, help="channels of the finest level")
    parser.add_argument("--seed", type=int, default=21, help="of the weights, the crops and their order")
    parser.add_argument("--steps", type=int, default=40_000, help="in all; the rate falls along a cosine until then")
    parser.add_argument("--until", type=int, default=NEVER, help="stop cleanly after this step")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop cleanly after this long")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(
        arguments.data,
        arguments.out,
        arguments.base,
        arguments.seed,
        arguments.steps,
        minutes=arguments.minutes,
        until=arguments.until,
    )


if __name__ == "__main__":
    main()
