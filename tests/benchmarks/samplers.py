"""What does each sampler cost, and what is it worth?

    PYTHONPATH=. python tests/benchmarks/samplers.py denoiser CHECKPOINT [--real DATA --mpp UM]
    PYTHONPATH=. python tests/benchmarks/samplers.py nudiff IMAGE_MODEL --real DATA [--mpp UM]

Makes the same samples with every sampler at several numbers of steps, and writes a table (CSV) and two plots:

- samples per hour and FLOPs per sample;
- mean absolute difference in grey levels from DDIM with as many steps as the process has, from the same noise: what the
  deterministic samplers would all give with infinitely many steps. It says nothing of ``ddpm``, which has noise of its own;
- Frechet distance of the shipped denoiser's features from real patches, where real images are given.

``nudiff`` makes images for structures of the real images.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset
from wsinuc.exports.plots import draw_curves
from wsinuc.models.checkpoint import load_checkpoint
from wsinuc.models.denoisers import load_denoiser
from wsinuc.models.devices import pick_device
from wsinuc.models.diffusion import Denoiser, GaussianDiffusion
from wsinuc.models.samplers import SamplerConfig, sample
from wsinuc.tasks.synthesis_config import RealField, pixels_of, placed, real_field, seed_of

Conditioned = Callable[[range], Denoiser]
"""The denoiser of the samples of these numbers."""


def denoiser_model(args: argparse.Namespace) -> tuple[GaussianDiffusion, Conditioned, float, int]:
    """An unconditional denoiser: process, network, um per pixel, size."""
    checkpoint = load_checkpoint(args.checkpoint, "denoiser")
    network, process = load_denoiser(checkpoint)
    placed(network, pick_device(args.device))
    return process, lambda numbers: network, float(checkpoint.config["mpp"]), args.size or 128


def nudiff_model(args: argparse.Namespace) -> tuple[GaussianDiffusion, Conditioned, float, int]:
    """An image model of method B, for structures of real images."""
    from wsinuc.models.generators import load_image_model
    from wsinuc.models.guidance import guided
    from wsinuc.synthesis.structures import structure_map

    model, dataset = load_image_model(args.checkpoint), open_dataset(args.real, mpp=args.mpp)
    mpp, size, device = float(model.config["mpp"]), args.size or int(model.config["size"]), pick_device(args.device)
    placed(model.network, device)

    def conditioned(numbers: range) -> Denoiser:
        structures = [structure_map(field_of(dataset, k, mpp, size).labels) for k in numbers]
        return guided(model.network, torch.from_numpy(np.stack(structures)).to(device), args.guidance)

    return model.process, conditioned, mpp, size


def field_of(dataset: Dataset, k: int, mpp: float, size: int) -> RealField:
    """Field ``k`` of the real images."""
    rng = np.random.default_rng(seed_of(0, k, "layout"))
    return real_field(dataset[int(rng.integers(len(dataset)))], rng, mpp=mpp, size=size)


def make(
    process: GaussianDiffusion, model: Conditioned, size: int, sampler: SamplerConfig, args: argparse.Namespace
) -> tuple[Tensor, float]:
    """All samples, and the seconds that they took."""
    begin, parts, device = time.perf_counter(), [], pick_device(args.device)
    for at in range(0, args.count, args.batch):
        numbers = range(at, min(at + args.batch, args.count))
        seeds = [seed_of(0, k, "image") for k in numbers]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            found = sample(process, model(numbers), (3, size, size), seeds, sampler, device=device)
        parts.append(found.float().cpu())
    return torch.cat(parts), time.perf_counter() - begin


def flops_of_a_step(model: Conditioned, size: int, device: torch.device) -> float:
    """Of one evaluation for one sample, guidance included."""
    x, t = torch.zeros(1, 3, size, size, device=device), torch.zeros(1, dtype=torch.long, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(range(1))(x, t)
    return float(counter.get_total_flops())


def frechet(samples: Tensor, real: Dataset | None, mpp: float, size: int, args: argparse.Namespace) -> float:
    """Distance of the samples' features from those of real patches; NaN without real images."""
    if real is None:
        return float("nan")
    from wsinuc.metrics.distributions import frechet_distance
    from wsinuc.models.feature_networks import load_feature_network
    from wsinuc.segmenters import WEIGHTS

    network = load_feature_network(WEIGHTS / "default.safetensors", device=pick_device(args.device))
    rng = np.random.default_rng(1)
    fields = [real_field(real[int(rng.integers(len(real)))], rng, mpp=mpp, size=size) for _ in range(args.count)]
    ours, theirs = network(pixels_of(samples)), network(np.stack([field.pixels for field in fields]))
    return float(frechet_distance(ours.vectors, theirs.vectors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["denoiser", "nudiff"])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--real", help="data set of real images")
    parser.add_argument("--mpp", type=float, help="um per pixel of the real images, if they do not record it")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int)
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--steps", default="5,10,20,50,100,250")
    parser.add_argument("--samplers", default="ddpm,ddim,dpm++")
    parser.add_argument("--reference", type=int, help="steps of the reference [default: all of the process]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path("samplers"))
    args = parser.parse_args()
    process, model, mpp, size = {"denoiser": denoiser_model, "nudiff": nudiff_model}[args.model](args)
    real = open_dataset(args.real, mpp=args.mpp) if args.real else None
    flops = flops_of_a_step(model, size, pick_device(args.device))
    steps = [int(text) for text in args.steps.split(",")]
    reference, _ = make(process, model, size, SamplerConfig("ddim", args.reference or process.steps), args)
    rows = []
    for name in args.samplers.split(","):
        for count in [*steps, process.steps] if name == "ddpm" else steps:
            found, seconds = make(process, model, size, SamplerConfig(name, count), args)
            difference = float((found - reference).abs().mean()) * 127.5 if name != "ddpm" else float("nan")
            distance = frechet(found, real, mpp, size, args)
            rows.append((name, count, 3600 * args.count / seconds, flops * count / 1e9, difference, distance))
            print(f"{name:6} {count:5} steps {rows[-1][2]:10.1f} per hour {rows[-1][3]:10.1f} GFLOP", end="")
            print(f" {difference:8.3f} grey levels from the reference {distance:8.3f} Frechet", flush=True)
    args.output.mkdir(parents=True, exist_ok=True)
    with (args.output / "samplers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("sampler", "steps", "samples per hour", "GFLOP per sample", "grey levels", "Frechet distance"))
        writer.writerows(rows)
    for column, title in ((4, "grey levels from the reference"), (5, "Frechet distance")):
        curves = {}
        for name in args.samplers.split(","):
            known = [(row[1], row[column]) for row in rows if row[0] == name and np.isfinite(row[column])]
            if known:
                curves[name] = tuple(zip(*known, strict=True))
        if curves:
            path = args.output / f"{title.split()[0].lower()}.png"
            draw_curves(curves, path, x="steps of the sampler", y=title, log_x=True)


if __name__ == "__main__":
    main()
