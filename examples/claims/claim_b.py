"""Claim B (Yu et al. 2023): synthetic pairs help a segmenter that has a tenth of the labels, by 4.4 points of AJI.

    python examples/claims/claim_b.py DATA WORK OUT [--sets tnbc] [--seeds 0,1] [--minutes 60] [--price] [--tiny]

First the gate: 30 real windows have to beat four by more than two standard deviations over five
seeds, or labels are not what is short, and no pair could help. Only for sets that pass, generators
are trained, one pair of them for each seed, on that seed's four windows alone: the image network
begins with a denoiser of unlabelled tissue. Then a U-Net of base 16 is trained to convergence on
four windows, on four and the pairs, on four with strong augmentation, and on 30.

`--windows 4,8,15,30` gives the paper's further rows, with pairs and without; `--shares 0.25,0.5`
how often a crop comes from a pair; `--judge hovernet` the confirmation. WORK keeps generators and
pairs, OUT gets a file a run. The same command goes on where it stopped. `--tiny` runs all of it in a
few minutes, whatever the gate says, in folders `tiny` of WORK and OUT, to see that it works here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
from labelled_sets import FOLDERS, SETS, require_folders, windows
from pair_grid import JUDGES, TINY_JUDGE, Judge, PairRun, do_runs, gate, one_thread
from PIL import Image
from records import Price, after_minutes, experiment_parser, numbers, print_prices, read_records
from stages import Stage, machine_speed, run_stages, stage_prices

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.workflows.denoiser.report import estimate as estimate_denoiser
from wsinuc.workflows.denoiser.run import PRESETS
from wsinuc.workflows.generators.config import IMAGE_PRESETS, STRUCTURE_PRESETS
from wsinuc.workflows.generators.cost import estimate_generator

FEW = 4
MANY = 30
SEEDS = (0, 1, 2, 3, 4)
PAIRS = 120
STEPS = {"denoiser": 8000, "structure": 3000, "image": 4000}
GUIDANCE = "0.2"
PIXELS = ("sbu_tcga", "camelyon", "oral", "bcss")
"""Folders in DATA of the tissue that the denoiser is trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked for."""

    data: Path
    work: Path
    out: Path
    sets: Sequence[str]
    seeds: Sequence[int] = SEEDS
    counts: Sequence[int] = (FEW, MANY)
    shares: Sequence[float] = (0.5,)
    judge: str = "unet"
    tiny: bool = False

    @property
    def steps(self) -> dict[str, int]:
        """Of each training."""
        return dict.fromkeys(STEPS, 2) if self.tiny else STEPS

    @property
    def pairs(self) -> int:
        """Images that are made for each seed."""
        return 4 if self.tiny else PAIRS

    @property
    def small(self) -> tuple[str, ...]:
        """What makes generators quick in the tiny form."""
        return ("--patch", "32", "--batch", "2") if self.tiny else ()

    @property
    def trained_judge(self) -> Judge:
        """The network that judges."""
        return TINY_JUDGE if self.tiny else JUDGES[self.judge]


def tiny(options: Options) -> Options:
    """The same in its tiny form."""
    return replace(options, work=options.work / "tiny", out=options.out / "tiny", seeds=options.seeds[:1], tiny=True)


def gate_runs(name: str, options: Options) -> list[PairRun]:
    """Few and many real windows."""
    return [run_of(name, options, count, seed) for seed in options.seeds for count in (FEW, MANY)]


def pair_runs(name: str, options: Options) -> list[PairRun]:
    """What is judged once the gate is passed."""
    runs = []
    for seed in options.seeds:
        runs.append(replace(run_of(name, options, FEW, seed), augmentation="strong"))
        for count, share in product(options.counts, options.shares):
            runs.append(run_of(name, options, count, seed))
            runs.append(replace(run_of(name, options, count, seed), pairs="nudiff", share=share))
    return list(dict.fromkeys(runs))


def run_of(name: str, options: Options, count: int, seed: int) -> PairRun:
    """A run without pairs."""
    return PairRun(
        data=name, judge=options.judge, count=count, pairs="none", augmentation="plain", share=0.0, seed=seed
    )


def generator_stages(name: str, seed: int, options: Options) -> list[Stage]:
    """Commands from four windows to pairs; the denoiser is the same for all."""
    own = options.work / f"{name}-{seed}"
    denoiser = options.work / "denoiser.safetensors"
    pixels = [str(options.data / folder) for folder in PIXELS]
    few = (str(own / "windows"), "--mpp", "0.25", "--seed", str(seed), "--device", "cpu", *options.small)
    structure = own / "structure.safetensors"
    image = own / "image.safetensors"

    def training(
        part: str, output: Path, *words: str, last: tuple[str, ...] = (), reads: tuple[Path, ...] = ()
    ) -> Stage:
        return Stage(
            words=("pretrain", *words, *steps_of(part, options), *last, "-o", str(output)),
            output=output,
            reads=reads,
            flops=step_flops()[part] * options.steps[part],
        )

    return [
        training("denoiser", denoiser, *pixels, "--mpp", "0.25", last=("--device", "cpu")),
        training("structure", structure, *few, "--method", "nudiff-structure"),
        training("image", image, *few, "--method", "nudiff-image", last=("--init", str(denoiser)), reads=(denoiser,)),
        pairs_stage(structure, image, own / "pairs", options),
    ]


def pairs_stage(structure: Path, image: Path, pairs: Path, options: Options) -> Stage:
    """From both generators to pairs of images and labels."""
    return Stage(
        words=(
            *("synthesize", "--method", "nudiff", "--structure-model", str(structure)),
            *("--image-model", str(image), "--guidance", GUIDANCE, "--restart", "150"),
            *("-n", str(options.pairs), "--device", "cpu", "--workers", "1", "-o", str(pairs)),
            *(("--steps", "4") if options.tiny else ()),
        ),
        output=pairs,
        reads=(structure, image),
        # A walk of 20 steps and a restart of 9, for the structure and for the image; a step's forward pass is a third
        # of a training step's and of one image instead of four.
        flops=options.pairs * 29 * (step_flops()["structure"] + step_flops()["image"]) / 12,
    )


@cache
def step_flops() -> dict[str, float]:
    """Of a training step of each network."""
    costs = {
        "denoiser": estimate_denoiser(PRESETS["cpu"]),
        "structure": estimate_generator(STRUCTURE_PRESETS["cpu"]),
        "image": estimate_generator(IMAGE_PRESETS["cpu"]),
    }
    return {name: cost.flops_per_step for name, cost in costs.items()}


def steps_of(part: str, options: Options) -> tuple[str, str]:
    """The option that says how long a network is trained."""
    return "--steps", str(options.steps[part])


def write_windows(folder: Path, chosen: Sequence[LabelledImage]) -> None:
    """Windows as a data set that `wsinuc pretrain` reads."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for square in chosen:
        Image.fromarray(square.image).save(folder / "images" / f"{square.name}.png")
        Image.fromarray(square.labels.astype(np.uint16)).save(folder / "labels" / f"{square.name}.png")
    lines = ["name,tissue,mpp", *(f"{square.name},{tissue_of(square)},{square.mpp}" for square in chosen)]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def tissue_of(square: LabelledImage) -> str:
    """The organ where the set names it; the sets that name none are of breast."""
    return square.attributes.get("organ") or "breast"


def pairs_of(run: PairRun, options: Options) -> tuple[list[LabelledImage], dict[str, object] | None]:
    """The pairs of a run's seed, and what they were made with."""
    if run.pairs == "none":
        return [], None
    made = generator_stages(run.data, run.seed, options)[-1]
    return list(open_dataset(made.output)), made.inputs


def passes(name: str, options: Options) -> bool:
    """The gate's verdict on a set, from the records."""
    records = [each for each in read_records(options.out) if each["data"] == name and each["judge"] == options.judge]
    plain = [each for each in records if each["pairs"] == "none" and each["augmentation"] == "plain"]
    few, many = ([each["aji"] for each in plain if each["count"] == count] for count in (FEW, MANY))
    return gate(few, many)


def run_set(name: str, options: Options, stop: Callable[[], bool]) -> None:
    """The gate; then, where it is passed, generators, pairs and what they are worth."""
    data = SETS[name](options.data, options.work / "silver")
    judge = options.trained_judge
    made = partial(pairs_of, options=options)
    if not do_runs(gate_runs(name, options), data, options.out, judge, made, stop):
        return
    if not options.tiny and not passes(name, options):
        print(
            f"{name}: {MANY} windows are not better than {FEW} by two standard deviations: no pair is judged",
            flush=True,
        )
        return
    for seed in options.seeds:
        write_windows(options.work / f"{name}-{seed}" / "windows", windows(data.pool, FEW, seed))
        if not run_stages(generator_stages(name, seed, options), stop):
            return
    do_runs(pair_runs(name, options), data, options.out, judge, made, stop)


def prices(options: Options) -> list[Price]:
    """What is left of the gate, of the generators, and of what is judged after it."""
    speed = machine_speed()
    parts = []
    for name in options.sets:
        gates = gate_runs(name, options)
        # Those without pairs are the gate's own.
        more = [run for run in pair_runs(name, options) if run not in gates]
        for what, runs in (("gate", gates), ("pairs and augmentation", more)):
            left = sum(not (options.out / run.file).exists() for run in runs)
            parts.append(options.trained_judge.price(f"{name}, {what}", left))
    stages = {
        stage.output: stage
        for name in options.sets
        for seed in options.seeds
        for stage in generator_stages(name, seed, options)
    }
    return [*parts, *stage_prices(list(stages.values()), speed)]


def main() -> None:
    parser = experiment_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", default="tnbc,nuinsseg")
    parser.add_argument("--seeds", type=numbers, default=list(SEEDS))
    parser.add_argument("--windows", type=numbers, default=[FEW, MANY])
    parser.add_argument("--shares", default="0.5")
    parser.add_argument("--judge", choices=JUDGES, default="unet")
    parser.add_argument("--tiny", action="store_true", help="a few steps of small networks: does it work here?")
    asked = parser.parse_args()
    one_thread()
    options = Options(
        data=asked.data,
        work=asked.work,
        out=asked.out,
        sets=asked.sets.split(","),
        seeds=asked.seeds,
        counts=asked.windows,
        shares=[float(each) for each in asked.shares.split(",")],
        judge=asked.judge,
    )
    if asked.tiny:
        options = tiny(options)
    require_folders(options.data, [*PIXELS, *(FOLDERS[name] for name in options.sets)])
    print_prices(prices(options))
    if asked.price:
        return
    stop = after_minutes(asked.minutes)
    for name in options.sets:
        run_set(name, options, stop)


if __name__ == "__main__":
    main()
