"""What does each sampler cost, and what is it worth?

    PYTHONPATH=. python tests/benchmarks/samplers.py nudiff IMAGE_MODEL --real DATA [--structure-model FILE] [--mpp UM]
    PYTHONPATH=. python tests/benchmarks/samplers.py cosyn MODEL --real DATA [--mpp UM]

Makes the same samples (numbers 0, 1, ...) with every sampler at several numbers of steps, by the
path of `wsinuc synthesize`, one process, one thread per core. Nudiff draws for the structures of
the real images, unless a structure model is given; CoSyn for the layouts of the real images. Writes
a table (CSV) and a plot:

- samples per hour, and FLOPs per sample;
- kernel distance (KID, Binkowski et al. 2018; unbiased, so that it means something for few images)
  of the shipped denoiser's features, of quarters of the samples from quarters of as many real
  fields, and what real fields have from other real fields.

With `--restart T` every walk is restarted from timestep T (`wsinuc synthesize --restart`); these are rows of their own.
Rows that the CSV already holds are kept: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset
from wsinuc.datasets.sampling.split import Split
from wsinuc.exports.pictures.plots import draw_curves
from wsinuc.metrics.distributions import kernel_distance
from wsinuc.models.devices import pick_device
from wsinuc.models.diffusion.samplers import SamplerConfig
from wsinuc.models.features.image_vectors import FeatureNetwork, load_feature_network
from wsinuc.segmenters import FEATURES
from wsinuc.workflows.synthesize.config import SynthesisConfig, real_field
from wsinuc.workflows.synthesize.cosyn import CoSynRecipe
from wsinuc.workflows.synthesize.nudiff import NudiffRecipe

HEAD = ("sampler", "steps", "samples per hour", "GFLOP per sample", "kernel distance")


@dataclass(frozen=True, slots=True)
class Reference:
    """Real fields, and the network that compares with them."""

    network: FeatureNetwork
    vectors: NDArray[np.float64]

    def distance(self, pixels: NDArray[np.uint8]) -> float:
        """Kernel distance of images (n, size, size, 3)."""
        return float(kernel_distance(self.vectors, features(self.network, pixels)))


def features(network: FeatureNetwork, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A vector per quarter of each image."""
    half = pixels.shape[1] // 2
    quarters = [pixels[:, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    return np.asarray(network(np.concatenate(quarters)).vectors, np.float64)


def fields(real: Dataset, count: int, mpp: float, size: int, seed: int) -> NDArray[np.uint8]:
    """Random fields of the real images."""
    rng = np.random.default_rng(seed)
    chosen = [real[int(rng.integers(len(real)))] for _ in range(count)]
    return np.stack([real_field(image, rng, mpp=mpp, size=size).pixels for image in chosen])


def recipe(args: argparse.Namespace, real: Dataset, sampler: SamplerConfig) -> NudiffRecipe | CoSynRecipe:
    """What `wsinuc synthesize` would make with these models."""
    config = SynthesisConfig(sampler=sampler, guidance=args.guidance)
    if args.method == "cosyn":
        return CoSynRecipe(
            model=args.model, layouts=real, layout_name=real.path.name, config=config, device=args.device
        )
    return NudiffRecipe(
        structure_model=args.structure_model,
        image_model=args.model,
        structures=None if args.structure_model else real,
        config=config,
        device=args.device,
    )


def measure(args: argparse.Namespace, real: Dataset, reference: Reference, sampler: SamplerConfig) -> list[float]:
    """Samples per hour, GFLOP per sample, kernel distance."""
    maker = recipe(args, real, sampler).open()
    begin = time.perf_counter()
    made = [sample for k in range(args.count) for sample in maker(range(k, k + 1))]
    seconds = time.perf_counter() - begin
    distance = reference.distance(np.stack([sample.image for sample in made]))
    return [3600 * args.count / seconds, maker.flops() / 1e9, distance]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=["nudiff", "cosyn"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--structure-model", type=Path)
    parser.add_argument("--real", required=True, help="data set of real images")
    parser.add_argument("--mpp", type=float, help="um per pixel of the real images, if they do not record it")
    parser.add_argument("--split", type=Path, help="split file of them; its part train is taken")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--guidance", type=float)
    parser.add_argument(
        "--samplers", nargs="+", default=["dpm++:5,10,20,50", "ddim:10,20,50,100", "ddpm:20,50,100,1000"]
    )
    parser.add_argument("--restart", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path("samplers"))
    args = parser.parse_args()
    real = open_dataset(args.real, mpp=args.mpp)
    real = Split.load(args.split).of(real, "train") if args.split else real
    maker = recipe(args, real, SamplerConfig("dpm++", 2)).open()
    network = load_feature_network(FEATURES, device=pick_device(args.device))
    drawn = [fields(real, count, maker.mpp, maker.size, seed) for count, seed in ((4 * args.count, 1), (args.count, 2))]
    reference = Reference(network, features(network, drawn[0]))
    print(f"real against other real fields: kernel distance {reference.distance(drawn[1]):.4f}")
    args.output.mkdir(parents=True, exist_ok=True)
    table = args.output / "samplers.csv"
    rows = list(csv.reader(table.open()))[1:] if table.exists() else []
    for sampler in (
        SamplerConfig(name, int(n), args.restart)
        for name, _, text in (s.partition(":") for s in args.samplers)
        for n in text.split(",")
    ):
        name, steps = sampler.name + (f", restarted from {args.restart}" if args.restart else ""), sampler.steps
        if [name, str(steps)] in [row[:2] for row in rows]:
            continue
        found = measure(args, real, reference, sampler)
        rows.append([name, str(steps), *(f"{value:.6g}" for value in found)])
        print(
            f"{name:6} {steps:5} steps {found[0]:8.1f} per hour {found[1]:10.1f} GFLOP  KID {found[2]:.4f}", flush=True
        )
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([HEAD, *rows])
    names = dict.fromkeys(row[0] for row in rows)
    curves = {n: tuple(zip(*sorted((int(r[1]), float(r[4])) for r in rows if r[0] == n), strict=True)) for n in names}
    draw_curves(curves, args.output / "quality.png", x="steps of the walk", y="kernel distance", log_x=True)


if __name__ == "__main__":
    main()
