"""Speed of synthesis against quality: what each way back from noise costs, and what its images are worth.

    python examples/claims/speed.py OUT NAME --real DATA [--mpp UM] --model JOINT [--price]
    python examples/claims/speed.py OUT NAME --real DATA [--mpp UM] --image-model IMAGE [--structure-model STRUCTURE]

NAME is what the table calls the generator; any of method C (`--model`) or method B. The same samples
(numbers 0, 1, ...) are made with every sampler at several numbers of steps, by the path of `wsinuc
synthesize`, on one thread. Method B draws for the structures of the real images unless a structure
model is given, method C for their layouts.

Measured are CPU seconds and operations of an image, and the kernel distance (KID, Binkowski et al.
2018, which is unbiased and so means something for few images) between quarters of the samples and
quarters of four times as many real fields, in features of the shipped denoiser. Beside it stands
what as many other real fields have, the floor. OUT gets a file a run; the same command goes on where
it stopped. `tables.py` rebuilds the table and the figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pair_grid import one_thread
from records import Price, after_minutes, cpu_clock, experiment_parser, is_done, print_prices, write_record
from stages import machine_speed

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset
from wsinuc.datasets.sampling.split import Split
from wsinuc.metrics.distributions import kernel_distance
from wsinuc.models.devices import pick_device
from wsinuc.models.diffusion.samplers import SamplerConfig
from wsinuc.models.features.image_vectors import load_feature_network
from wsinuc.segmenters import FEATURES
from wsinuc.workflows.synthesize.config import SynthesisConfig, real_field
from wsinuc.workflows.synthesize.cosyn import CoSynRecipe
from wsinuc.workflows.synthesize.nudiff import NudiffRecipe

VERSION = 1
"""Of the settings: raise it when they change, and all runs are done again."""
COUNT = 24
SAMPLERS = ("dpm++:5,10,20,50", "ddim:10,20,50,100", "ddpm:20,50,100,1000")
RESTARTS = (0, 150)
RESTARTED = "dpm++"
"""Sampler that is also restarted: the others need more steps as it is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A generator, and the real images that it is held against."""

    name: str
    real: Dataset
    model: Path | None = None
    image_model: Path | None = None
    structure_model: Path | None = None
    tissues: tuple[str, ...] = ()
    """Of method C's images, where the real ones name none."""
    guidance: float | None = None
    count: int = COUNT

    def recipe(self, sampler: SamplerConfig) -> NudiffRecipe | CoSynRecipe:
        """What `wsinuc synthesize` would make with these models."""
        config = SynthesisConfig(sampler=sampler, guidance=self.guidance, batch=1)
        if self.model is not None:
            # One that was trained without points takes no layouts.
            layouts = None if "points" in without_of(self.model) else self.real
            return CoSynRecipe(
                model=self.model,
                layouts=layouts,
                layout_name=self.real.path.name,
                tissues=self.tissues,
                config=config,
                device="cpu",
            )
        assert self.image_model is not None
        return NudiffRecipe(
            structure_model=self.structure_model,
            image_model=self.image_model,
            structures=None if self.structure_model else self.real,
            config=config,
            device="cpu",
        )

    @cached_property
    def reference(self) -> Reference:
        """Real fields as large as the images."""
        maker = self.recipe(SamplerConfig("dpm++", 2)).open()
        return Reference(self.real, self.count, maker.mpp, maker.size)


def without_of(model: Path) -> tuple[str, ...]:
    """What a joint generator was trained without."""
    from wsinuc.models.checkpoints.file_header import require_header

    return tuple(require_header(model, "cosyn").config.get("without", ()))


class Reference:
    """Features of real fields, and the distance that as many other real fields have from them."""

    def __init__(self, real: Dataset, count: int, mpp: float, size: int) -> None:
        self.network = load_feature_network(FEATURES, device=pick_device("cpu"))
        self.vectors = self.features(fields(real, 4 * count, mpp, size, seed=1))
        self.floor = self.distance(fields(real, count, mpp, size, seed=2))

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """A vector per quarter of each image (n, size, size, 3)."""
        half = pixels.shape[1] // 2
        quarters = [pixels[:, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
        return np.asarray(self.network(np.concatenate(quarters)).vectors, np.float64)

    def distance(self, pixels: NDArray[np.uint8]) -> float:
        """Kernel distance of images from the real fields."""
        return float(kernel_distance(self.vectors, self.features(pixels)))


def fields(real: Dataset, count: int, mpp: float, size: int, seed: int) -> NDArray[np.uint8]:
    """Random fields of the real images."""
    rng = np.random.default_rng(seed)
    chosen = [real[int(rng.integers(len(real)))] for _ in range(count)]
    return np.stack([real_field(image, rng, mpp=mpp, size=size).pixels for image in chosen])


def samplers(words: list[str], restarts: list[int]) -> Iterator[SamplerConfig]:
    """The samplers of words such as ``ddim:10,20``; those that are restarted are `RESTARTED`."""
    for restart in restarts:
        for word in words:
            name, _, counts = word.partition(":")
            if restart and name != RESTARTED:
                continue
            for steps in counts.split(","):
                yield SamplerConfig(name, int(steps), restart)


def file_of(subject: Subject, sampler: SamplerConfig) -> str:
    """Name of a run's record."""
    return f"{subject.name}-{sampler.name.replace('+', 'p')}-{sampler.steps}-{sampler.restart}.json"


def inputs_of(subject: Subject, sampler: SamplerConfig) -> dict[str, Any]:
    """What a run begins with: checkpoints, guidance, real images, their number."""
    maker = subject.recipe(sampler).open()
    return {
        "version": VERSION,
        **maker.identity(),
        "guidance": maker.guidance,
        "real": [subject.real.path.name, len(subject.real)],
        "count": subject.count,
    }


def measured(subject: Subject, sampler: SamplerConfig) -> dict[str, Any]:
    """One run."""
    maker = subject.recipe(sampler).open()
    inputs = inputs_of(subject, sampler)
    # The first call compiles and allocates.
    maker(range(1))
    with cpu_clock() as clock:
        made = [sample for k in range(subject.count) for sample in maker(range(k, k + 1))]
    return {
        "generator": subject.name,
        "sampler": sampler.name,
        "steps": sampler.steps,
        "restart": sampler.restart,
        "cpu_s_per_image": round(clock.seconds / subject.count, 3),
        "kernel": round(subject.reference.distance(np.stack([sample.image for sample in made])), 5),
        "floor": round(subject.reference.floor, 5),
        # Last, because counting gives the weights away.
        "gflop_per_image": round(maker.flops() / 1e9, 2),
        "inputs": inputs,
    }


def prices(subject: Subject, chosen: list[SamplerConfig], out: Path) -> list[Price]:
    """What is left, by operations and this machine's speed."""
    speed = machine_speed()
    left = [sampler for sampler in chosen if not is_done(out / file_of(subject, sampler), inputs_of(subject, sampler))]
    return [
        Price(
            what=f"{sampler.name}, {sampler.steps} steps, restart {sampler.restart}: images",
            runs=subject.count + 1,
            seconds=subject.recipe(sampler).open().flops() / speed,
        )
        for sampler in left
    ]


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = experiment_parser(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("name", help="of the generator in the table")
    parser.add_argument("--model", type=Path, help="joint generator, of method C")
    parser.add_argument("--image-model", type=Path, help="of method B")
    parser.add_argument("--structure-model", type=Path, help="of method B")
    parser.add_argument("--real", required=True, help="data set of real images")
    parser.add_argument("--mpp", type=float, help="um per pixel of the real images, if they do not record it")
    parser.add_argument("--split", type=Path, help="split file of them; its part train is taken")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--tissue", nargs="+", default=[], help="of method C's images, where the real ones name none")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS))
    parser.add_argument("--restarts", nargs="+", type=int, default=list(RESTARTS))
    asked = parser.parse_args()
    if (asked.model is None) == (asked.image_model is None):
        parser.error("give --model, of method C, or --image-model, of method B")
    return asked


def subject_of(asked: argparse.Namespace) -> Subject:
    """The generator and the real images that are asked for."""
    real = open_dataset(asked.real, mpp=asked.mpp)
    if asked.split is not None:
        real = Split.load(asked.split).of(real, "train")
    return Subject(
        name=asked.name,
        real=real,
        model=asked.model,
        image_model=asked.image_model,
        structure_model=asked.structure_model,
        tissues=tuple(asked.tissue),
        guidance=asked.guidance,
        count=asked.count,
    )


def main() -> None:
    asked = arguments()
    one_thread()
    subject = subject_of(asked)
    chosen = list(samplers(asked.samplers, asked.restarts))
    print_prices(prices(subject, chosen, asked.out))
    if asked.price:
        return
    stop = after_minutes(asked.minutes)
    for sampler in chosen:
        path = asked.out / file_of(subject, sampler)
        if is_done(path, inputs_of(subject, sampler)):
            continue
        if stop():
            return
        record = measured(subject, sampler)
        write_record(path, record)
        print(path.name, record["kernel"], f"{record['cpu_s_per_image']:.2f} CPU s", flush=True)


if __name__ == "__main__":
    main()
