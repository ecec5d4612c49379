"""Claim D (Purma et al. 2025): pre-training by denoising helps the same network to segment from few windows.

    python examples/claims/claim_d.py DATA NETWORKS OUT [--sets tnbc] [--minutes 60] [--price] [--tiny]

The method's own attention U-Net, its quadratic schedule, P2-weighted denoising for 15,000 steps,
then all weights are tuned by structural-similarity and focal loss; against the same network from
random weights, with 4, 1 and 16 windows and five seeds. Its metrics: IoU of pixels, F1,
sensitivity, precision and the Hausdorff distance of the foregrounds.

`--width 32` makes the network half as wide as published, `--steps 5000` pre-trains less; records
say both, and those of other widths and steps lie beside each other. `--windows 4 --seeds 0,1,2`
are fewer runs.

Patches have 128 px where the paper has 256, and batches 4 of them where it has 8. NETWORKS gets the
pre-trained weights first; then OUT gets a file a run. The same command goes on where it stopped.
`--tiny` runs all of it in minutes, in folders `tiny` of NETWORKS and OUT, to see that it works here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch
from labelled_sets import FOLDERS, SETS, TISSUE, LabelledSet, require_folders, windows
from network_rows import VALIDATION, NetworkRow, network_step_seconds, trained
from pixel_scores import outline_scores, predictions, scores_of
from pretraining import Pretraining, prices, run_from_data
from records import Price, after_minutes, cpu_clock, experiment_parser, is_done, numbers, print_prices, write_record

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.models.networks.attention_unet import AttentionUNetConfig
from wsinuc.workflows.denoiser.config import PRESETS, PretrainConfig

COUNTS = (4, 1, 16)
SEEDS = (0, 1, 2, 3, 4)
WIDTH = AttentionUNetConfig().dim
"""As published."""
STEPS = 15_000
VERSION = 2
PLAN = Pretraining("genselfdiff", "tissue", "denoise")
PRETRAIN = replace(
    PRESETS["genselfdiff"],
    patch=128,
    batch=4,
    fit=replace(PRESETS["genselfdiff"].fit, steps=STEPS, warmup=100, ema=0.999, save_every=100),
    held_out=0.0,
    validate_every=0,
    seed=25,
)
ROW = NetworkRow(
    method="finetune",
    steps=800,
    every=100,
    patience=3,
    batch=4,
    lr=1e-4,
    betas=(0.5, 0.999),
    augmentation=Augmentation(zoom=1.2, stain=0.2, blur=0.3, light=0.3),
)


@dataclass(frozen=True, slots=True)
class Start:
    """Where the network begins."""

    row: NetworkRow
    steps: int
    """Of its pre-training; 0 begins at random."""

    @property
    def width(self) -> int:
        """Channels of the network's finest level."""
        return self.row.shape.dim

    @property
    def name(self) -> str:
        """``pretrained`` or ``random``."""
        return "pretrained" if self.steps else "random"


@dataclass(frozen=True, slots=True)
class Run:
    """One tuning and its test."""

    data: str
    start: Start
    count: int
    seed: int

    @property
    def file(self) -> str:
        """Name of its record."""
        parts = (self.data, self.start.name, self.start.width, self.start.steps, self.count, self.seed)
        return "-".join(map(str, parts)) + ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How long is pre-trained and tuned, on how many windows, how often."""

    config: PretrainConfig = PRETRAIN
    row: NetworkRow = ROW
    counts: Sequence[int] = COUNTS
    seeds: Sequence[int] = SEEDS

    @property
    def marks(self) -> tuple[int, ...]:
        """The pre-training is kept at its end alone."""
        return (self.config.fit.steps,)

    def starts(self, weights: Path) -> tuple[Start, Start]:
        """Both starts of the same network."""
        return Start(replace(self.row, denoiser=weights), self.config.fit.steps), Start(self.row, 0)


def grid_of(width: int, steps: int, counts: Sequence[int], seeds: Sequence[int]) -> Grid:
    """A network of a width, pre-trained for so many steps."""
    shape = AttentionUNetConfig(dim=width)
    config = replace(PRETRAIN, unet=shape).lasting(steps)
    return Grid(config=config, row=replace(ROW, shape=shape), counts=counts, seeds=seeds)


TINY = Grid(
    config=replace(PRETRAIN, patch=32, batch=2).lasting(1),
    row=replace(ROW, steps=2, every=1, crop=32, batch=2),
    counts=(1,),
    seeds=(0,),
)
"""A run that is to show that everything works."""


def tune(grid: Grid, weights: Path, data: LabelledSet, out: Path, stop: Callable[[], bool]) -> None:
    """All runs on one set that are not there yet, both starts of a pair after each other."""
    starts = grid.starts(weights)
    for run in [Run(data.name, start, n, seed) for n in grid.counts for seed in grid.seeds for start in starts]:
        start = run.start
        begun = None if start.row.denoiser is None else file_sha256(start.row.denoiser)
        inputs = {"version": VERSION, "set": data.fingerprint, "weights": begun}
        if is_done(out / run.file, inputs):
            continue
        if stop():
            return
        with cpu_clock() as training:
            learned = windows(data.pool, run.count + VALIDATION, run.seed)
            model = trained(start.row, learned, len(data.classes), run.seed)
        maps = predictions(data.test, lambda _, square: model.predict(square))  # noqa: B023
        record = {
            "data": run.data,
            "row": start.name,
            "width": start.width,
            "pretraining_steps": start.steps,
            "count": run.count,
            "seed": run.seed,
            **scores_of(data.test, maps, data.classes),
            **outline_scores(data.test, maps),
            **model.facts,
            "train_cpu_s": training.seconds,
            "inputs": inputs,
        }
        write_record(out / run.file, record)
        print(run.file, record["mean_iou"], f"{training.seconds:.0f} CPU s", flush=True)


def tuning_price(sets: Sequence[str], out: Path, grid: Grid) -> Price:
    """What is left, if every run took all of its steps."""
    starts = grid.starts(Path("weights"))
    files = [Run(*of, n, seed).file for of in product(sets, starts) for n in grid.counts for seed in grid.seeds]
    left = sum(not (out / file).exists() for file in files)
    step = network_step_seconds(grid.row, classes=1)
    return Price(what=f"runs of at most {grid.row.steps} steps", runs=left, seconds=grid.row.steps * step)


def main() -> None:
    parser = experiment_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("networks", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", default="tnbc,nuinsseg")
    parser.add_argument("--width", type=int, default=WIDTH, help="channels of the finest level, as published 64")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the pre-training")
    parser.add_argument("--windows", type=numbers, default=COUNTS)
    parser.add_argument("--seeds", type=numbers, default=SEEDS)
    parser.add_argument("--tiny", action="store_true", help="a few steps: does it work here?")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = options.sets.split(",")
    require_folders(options.data, [*TISSUE, *(FOLDERS[name] for name in sets)])
    grid = grid_of(options.width, options.steps, options.windows, options.seeds)
    networks = options.networks / f"width-{options.width}"
    out = options.out
    if options.tiny:
        grid = TINY
        networks = options.networks / "tiny"
        out = options.out / "tiny"
    print_prices([*prices((PLAN,), grid.marks, networks, grid.config), tuning_price(sets, out, grid)])
    if options.price:
        return
    stop = after_minutes(options.minutes)
    networks.mkdir(parents=True, exist_ok=True)
    if not run_from_data((PLAN,), grid.marks, options.data, networks, grid.config, options.minutes):
        return
    weights = networks / f"{PLAN.name}-{grid.marks[-1]}.safetensors"
    for name in sets:
        tune(grid, weights, SETS[name](options.data, Path("silver")), out, stop)


if __name__ == "__main__":
    main()
