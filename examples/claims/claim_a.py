"""Claim A (Alexis et al. 2024): features of a denoiser of tissue segment pixels from few annotated windows.

    python examples/claims/claim_a.py DATA NETWORKS OUT [--rows tissue,unet] [--minutes 60] [--price]

NETWORKS is the folder of `pretrain_a.py`. The claims: (a) a denoiser of tissue gives better
features than one of photographs and than random weights; (b) better ones than other
self-supervision at equal cost; (c) quality grows with the number of windows and, up to a point,
with pre-training. Rows, as in the paper: U-Net, Attention U-Net where this version has it, random
weights, out-of-domain, other self-supervised, A. `tissue-t50` is A at one noise level, which has as
many features as the rivals.

Every row gets the same 1, 2, 4 ... 32 windows, drawn by five seeds, and the same test squares. A
run is one file, OUT/SET-ROW-STEPS-WINDOWS-SEED.json. What NETWORKS does not hold yet is passed
over: the same command takes it up later. `tables.py` rebuilds tables and figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from feature_rows import CLEAN, DENOISED, FrozenNetwork, ReadingConfig
from labelled_sets import FOLDERS, SETS, LabelledSet, require_folders, windows
from network_rows import VALIDATION, NetworkRow, network_step_seconds, trained
from pixel_scores import predictions, scores_of
from records import Price, after_minutes, cpu_clock, experiment_parser, is_done, print_prices, write_record

from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.models.features.extractor import FeatureConfig

COUNTS = (1, 2, 4, 8, 16, 32)
SEEDS = (0, 1, 2, 3, 4)
VERSION = 1
"""Of the settings: raise it when they change, and all runs are done again."""
FEATURE_ROWS: dict[str, tuple[str, FeatureConfig]] = {
    "random": ("random", DENOISED),
    "photographs": ("photographs", DENOISED),
    "little-tissue": ("little-tissue", DENOISED),
    "masked": ("masked", CLEAN),
    "contrast": ("contrast", CLEAN),
    "tissue-t50": ("tissue", FeatureConfig(timesteps=(50,), blocks=DENOISED.blocks)),
    "tissue": ("tissue", DENOISED),
}
"""Row -> whose weights, and where they are read."""
NETWORK_ROWS: dict[str, NetworkRow] = {name: NetworkRow(method=name) for name in ("unet", "attention-unet")}
FEATURE_RUN_S = 40.0
"""CPU seconds of a run on frozen features, from three runs on TNBC that took 161 with all that goes before."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training and its test."""

    data: str
    row: str
    steps: int
    """Of the pre-training; 0 where there is none."""
    count: int
    seed: int

    @property
    def file(self) -> str:
        """Name of its record."""
        return f"{self.data}-{self.row}-{self.steps}-{self.count}-{self.seed}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is to be run."""

    counts: Sequence[int] = COUNTS
    seeds: Sequence[int] = SEEDS
    reading: ReadingConfig = field(default_factory=ReadingConfig)


def weights_of(row: str, folder: Path) -> list[tuple[int, Path]]:
    """(steps, file) of every mark of a row's pre-training that is there, the longest first."""
    name = FEATURE_ROWS[row][0]
    marks = [(int(path.stem.rsplit("-", 1)[1]), path) for path in folder.glob(f"{name}-[0-9]*.safetensors")]
    return sorted(marks, reverse=True)


def feature_runs(row: str, data: LabelledSet, networks: Path, out: Path, grid: Grid, stop: Callable[[], bool]) -> None:
    """All runs of a row of frozen features on one set that are not there yet."""
    for steps, path in weights_of(row, networks):
        inputs = inputs_of(data, file_sha256(path))
        runs = [Run(data.name, row, steps, count, seed) for seed in grid.seeds for count in grid.counts]
        missing = [run for run in runs if not is_done(out / run.file, inputs)]
        if missing and not stop():
            frozen = FrozenNetwork.load(path, FEATURE_ROWS[row][1], data.test, grid.reading)
            for record in feature_records(missing, frozen, data, grid, stop):
                finish(record | {"inputs": inputs}, out)


def feature_records(
    runs: Sequence[Run], frozen: FrozenNetwork, data: LabelledSet, grid: Grid, stop: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Records of runs of one network, seed by seed."""
    for seed in dict.fromkeys(run.seed for run in runs):
        table = frozen.table(windows(data.pool, max(grid.counts), seed), seed)
        for run in (each for each in runs if each.seed == seed):
            if stop():
                return
            with cpu_clock() as training:
                ensemble = frozen.fitted(table, run.count, len(data.classes), seed)
            maps = predictions(data.test, lambda number, _: frozen.predict(ensemble, number))  # noqa: B023
            measured = scores_of(data.test, maps, data.classes)
            yield record_of(run, data) | measured | {"train_cpu_s": training.seconds}


def network_runs(row: str, data: LabelledSet, out: Path, grid: Grid, stop: Callable[[], bool]) -> None:
    """All runs of a network that is trained as a whole."""
    inputs = inputs_of(data, None)
    for count in grid.counts:
        for seed in grid.seeds:
            run = Run(data.name, row, 0, count, seed)
            if is_done(out / run.file, inputs):
                continue
            if stop():
                return
            with cpu_clock() as training:
                learned = windows(data.pool, count + VALIDATION, seed)
                model = trained(NETWORK_ROWS[row], learned, len(data.classes), seed)
            maps = predictions(data.test, lambda _, square: model.predict(square))  # noqa: B023
            measured = scores_of(data.test, maps, data.classes)
            record = record_of(run, data) | measured | model.facts | {"train_cpu_s": training.seconds}
            finish(record | {"inputs": inputs}, out)


def inputs_of(data: LabelledSet, weights: str | None) -> dict[str, Any]:
    """What a run began with."""
    return {"version": VERSION, "set": data.fingerprint, "weights": weights}


def record_of(run: Run, data: LabelledSet) -> dict[str, Any]:
    """What identifies a run."""
    return {
        "data": run.data,
        "gold": data.gold,
        "row": run.row,
        "pretraining_steps": run.steps,
        "count": run.count,
        "seed": run.seed,
    }


def finish(record: dict[str, Any], out: Path) -> None:
    """Write a record and say so."""
    run = Run(record["data"], record["row"], record["pretraining_steps"], record["count"], record["seed"])
    write_record(out / run.file, record)
    print(run.file, record["mean_iou"], f"{record['train_cpu_s']:.0f} CPU s", flush=True)


def prices(rows: Sequence[str], sets: Sequence[str], networks: Path, out: Path, grid: Grid) -> list[Price]:
    """What is left; a U-Net's run by a step that is measured, as if it took all of its steps."""
    parts = []
    for row in rows:
        marks = 1
        if row in FEATURE_ROWS:
            marks = max(1, len(weights_of(row, networks)))
            what = f"runs of {row} on frozen features"
            seconds = FEATURE_RUN_S
        else:
            what = f"runs of {row}, at most {NETWORK_ROWS[row].steps} steps each"
            seconds = NETWORK_ROWS[row].steps * network_step_seconds(NETWORK_ROWS[row], classes=1)
        done = sum(len(list(out.glob(f"{name}-{row}-[0-9]*.json"))) for name in sets)
        left = len(sets) * marks * len(grid.counts) * len(grid.seeds) - done
        parts.append(Price(what=what, runs=max(0, left), seconds=seconds))
    return parts


def main() -> None:
    parser = experiment_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("networks", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("silver"), help="folder of the silver outlines")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--rows", default=",".join([*reversed(FEATURE_ROWS), *NETWORK_ROWS]))
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)))
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    grid = Grid(
        counts=[int(each) for each in options.counts.split(",")], seeds=[int(each) for each in options.seeds.split(",")]
    )
    rows = options.rows.split(",")
    sets = options.sets.split(",")
    require_folders(options.data, [FOLDERS[name] for name in sets])
    print_prices(prices(rows, sets, options.networks, options.out, grid))
    if options.price:
        return
    stop = after_minutes(options.minutes)
    for name in sets:
        data = SETS[name](options.data, options.cache)
        print(f"{name}: {len(data.pool)} squares to learn from, {len(data.test)} to test on", flush=True)
        for row in rows:
            if row in FEATURE_ROWS:
                feature_runs(row, data, options.networks, options.out, grid, stop)
            else:
                network_runs(row, data, options.out, grid, stop)


if __name__ == "__main__":
    main()
