"""Claim D (Purma et al. 2025): pre-training by denoising helps the same network to segment from few windows.

    python examples/claims/claim_d.py DATA NETWORKS OUT [--sets tnbc] [--minutes 60] [--price] [--tiny]

The method's own attention U-Net at its full width, its quadratic schedule, P2-weighted denoising
for 15,000 steps, then all weights are tuned by structural-similarity and focal loss; against the
same network from random weights, with 1, 4 and 16 windows and five seeds. Its metrics: IoU of
pixels, F1, sensitivity, precision and the Hausdorff distance of the foregrounds.

Patches have 128 px where the paper has 256, and batches 4 of them where it has 8. NETWORKS gets the
pre-trained weights first; then OUT gets a file a run. The same command goes on where it stopped.
`--tiny` runs all of it in minutes, in folders `tiny` of NETWORKS and OUT, to see that it works here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from labelled_sets import FOLDERS, SETS, TISSUE, LabelledSet, require_folders, windows
from network_rows import VALIDATION, NetworkRow, network_step_seconds, trained
from pixel_scores import outline_scores, predictions, scores_of
from pretraining import Pretraining, prices, run_from_data
from records import Price, after_minutes, cpu_clock, experiment_parser, is_done, print_prices, write_record

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.workflows.denoiser.config import PRESETS, PretrainConfig

COUNTS = (1, 4, 16)
SEEDS = (0, 1, 2, 3, 4)
VERSION = 1
PLAN = Pretraining("genselfdiff", "tissue", "denoise")
MARKS = (5000, 15_000)
PRETRAIN = replace(
    PRESETS["genselfdiff"],
    patch=128,
    batch=4,
    fit=replace(PRESETS["genselfdiff"].fit, steps=MARKS[-1], warmup=100, ema=0.999, save_every=100),
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
class Run:
    """One tuning and its test."""

    data: str
    start: str
    """``pretrained`` or ``random``."""
    count: int
    seed: int

    @property
    def file(self) -> str:
        """Name of its record."""
        return f"{self.data}-{self.start}-{self.count}-{self.seed}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How long is pre-trained and tuned, on how many windows, how often."""

    config: PretrainConfig = PRETRAIN
    marks: tuple[int, ...] = MARKS
    row: NetworkRow = ROW
    counts: Sequence[int] = COUNTS
    seeds: Sequence[int] = SEEDS


TINY = Grid(
    config=replace(PRETRAIN, patch=32, batch=2),
    marks=(1,),
    row=replace(ROW, steps=2, every=1, crop=32, batch=2),
    counts=(1,),
    seeds=(0,),
)
"""A run that is to show that everything works."""


def rows(weights: Path, row: NetworkRow = ROW) -> dict[str, NetworkRow]:
    """Both starts of the same network."""
    return {"pretrained": replace(row, denoiser=weights), "random": row}


def tune(
    starts: dict[str, NetworkRow],
    data: LabelledSet,
    out: Path,
    stop: Callable[[], bool],
    counts: Sequence[int] = COUNTS,
    seeds: Sequence[int] = SEEDS,
) -> None:
    """All runs on one set that are not there yet, both starts of a pair after each other."""
    for run in [Run(data.name, start, n, seed) for n in counts for seed in seeds for start in starts]:
        row = starts[run.start]
        weights = None if row.denoiser is None else file_sha256(row.denoiser)
        inputs = {"version": VERSION, "set": data.fingerprint, "weights": weights}
        if is_done(out / run.file, inputs):
            continue
        if stop():
            return
        with cpu_clock() as training:
            learned = windows(data.pool, run.count + VALIDATION, run.seed)
            model = trained(row, learned, len(data.classes), run.seed)
        maps = predictions(data.test, lambda _, square: model.predict(square))  # noqa: B023
        record = {
            "data": run.data,
            "row": run.start,
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
    left = len(sets) * len(grid.counts) * len(grid.seeds) * 2 - len(list(out.glob("*.json")))
    step = network_step_seconds(grid.row, classes=1)
    return Price(what=f"runs of at most {grid.row.steps} steps", runs=max(0, left), seconds=grid.row.steps * step)


def main() -> None:
    parser = experiment_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("networks", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", default="tnbc,nuinsseg")
    parser.add_argument("--tiny", action="store_true", help="a few steps: does it work here?")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = options.sets.split(",")
    require_folders(options.data, [*TISSUE, *(FOLDERS[name] for name in sets)])
    grid = Grid()
    networks = options.networks
    out = options.out
    if options.tiny:
        grid = TINY
        networks /= "tiny"
        out /= "tiny"
    print_prices([*prices((PLAN,), grid.marks, networks, grid.config), tuning_price(sets, out, grid)])
    if options.price:
        return
    stop = after_minutes(options.minutes)
    networks.mkdir(parents=True, exist_ok=True)
    if not run_from_data((PLAN,), grid.marks, options.data, networks, grid.config, options.minutes):
        return
    starts = rows(networks / f"{PLAN.name}-{grid.marks[-1]}.safetensors", grid.row)
    for name in sets:
        tune(starts, SETS[name](options.data, Path("silver")), out, stop, grid.counts, grid.seeds)


if __name__ == "__main__":
    main()
