"""A judge of synthetic pairs: a network trained on real windows, with pairs beside them or without, and its AJI.

The judge trains until four more real windows, which none of the rows has, are segmented no better;
the weights that did best there count. So it has converged, or the record says that it had not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from labelled_sets import LabelledSet, windows
from network_rows import VALIDATION, blank_step
from records import Price, cpu_clock, cpu_seconds, is_done, write_record

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage, cut
from wsinuc.grid import Box
from wsinuc.metrics.segmentation import score
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.networks.by_name import build_network
from wsinuc.models.training.loop import FitConfig
from wsinuc.segmenters import load_segmenter
from wsinuc.workflows.data.training_set import NUCLEUS, shared_out
from wsinuc.workflows.evaluate.run import predict_labels
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc.workflows.train.networks import describe_network, train_network

PLAIN = Augmentation(zoom=1.3, stain=0.4)
STRONG = Augmentation(zoom=1.6, stain=0.8, blur=0.3, noise=5.0, light=0.3, jpeg=0.3)
VERSION = 1
"""Of the settings: raise it when they change, and all runs are done again."""
STILL_GAINING = 0.85
"""Share of the steps beyond which best weights mean that the training was too short."""


SQUARE = 128
"""Pixels of a test square at the judge's resolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """The network and how it is trained."""

    method: str = "unet"
    base: int = 16
    width: float = 0.25
    """HoVer-Net's channels relative to the published ones."""
    crop: int = 128
    batch: int = 8
    steps: int = 3000
    every: int = 300

    def config(self, seed: int, augmentation: Augmentation) -> NetworkTrainConfig:
        """Settings of one training, at 0.5 um per px as the generators'."""
        fit = FitConfig(steps=self.steps, lr=1e-3, warmup=50, cosine=True, weight_decay=0.01, ema=0.99)
        return NetworkTrainConfig(
            method=self.method,
            mpp=0.5,
            crop=self.crop,
            batch=self.batch,
            base=self.base,
            width=self.width,
            fit=fit,
            augmentation=augmentation,
            validate_every=self.every,
            seed=seed,
        )

    def step_seconds(self) -> float:
        """CPU seconds of a training step, without the cutting of crops."""
        described = describe_network(self.config(0, PLAIN), (NUCLEUS,), None)
        network = build_network(self.method, described.network)
        return cpu_seconds(blank_step(network, self.batch, self.crop))

    def price(self, what: str, runs: int) -> Price:
        """So many trainings, by a step that is measured; what is measured and tested meanwhile comes on top."""
        return Price(
            what=f"{what}: trainings of {self.steps} steps", runs=runs, seconds=self.steps * self.step_seconds()
        )


JUDGES = {"unet": Judge(), "hovernet": Judge(method="hovernet", crop=256, batch=2)}
"""The second confirms: a quarter as wide as published, but with crops of 256 px, so that it sees its own output."""
TINY_JUDGE = Judge(base=4, crop=32, batch=2, steps=4, every=2)
"""Of a run that is to show that everything works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRun:
    """One training of a judge and its test."""

    data: str
    judge: str
    count: int
    """Real windows."""
    pairs: str
    """Name of the synthetic pairs; ``none``."""
    augmentation: str
    """``plain`` or ``strong``."""
    share: float
    """Of the crops, that are cut from pairs."""
    seed: int

    @property
    def file(self) -> str:
        """Name of its record."""
        parts = (self.data, self.judge, self.count, self.pairs, self.augmentation, f"{self.share:g}", self.seed)
        return "-".join(map(str, parts)) + ".json"

    @property
    def record(self) -> dict[str, Any]:
        """What identifies it."""
        return asdict(self)


PairsOf = Callable[[PairRun], tuple[Sequence[LabelledImage], dict[str, Any] | None]]
"""The pairs of a run, and what they were made with, which a record keeps."""


def do_runs(
    runs: Sequence[PairRun],
    data: LabelledSet,
    out: Path,
    judge: Judge,
    pairs_of: PairsOf,
    stop: Callable[[], bool],
) -> bool:
    """Runs that are not there yet; whether all are there."""
    for run in runs:
        pairs, made = pairs_of(run)
        inputs = {"version": VERSION, "set": data.fingerprint, "pairs": made}
        if is_done(out / run.file, inputs):
            continue
        if stop():
            return False
        record = judged(run, data, pairs, judge) | {"inputs": inputs}
        write_record(out / run.file, record)
        print(run.file, record["aji"], f"{record['train_cpu_s']:.0f} CPU s", flush=True)
    return True


def without_margin(pairs: Sequence[LabelledImage], margin: int) -> list[LabelledImage]:
    """The inner part of synthetic images, whose outermost pixels are often noise."""
    if not margin:
        return list(pairs)
    return [
        cut(pair, Box(margin, margin, pair.labels.shape[0] - margin, pair.labels.shape[1] - margin)) for pair in pairs
    ]


def judged(run: PairRun, data: LabelledSet, pairs: Sequence[LabelledImage], judge: Judge) -> dict[str, Any]:
    """Train, test, and say what came out."""
    chosen = windows(data.pool, run.count + VALIDATION, run.seed)
    real = chosen[: run.count]
    weights = None
    if pairs:
        weights = shared_out([*real, *pairs], len(real), run.share)
    augmentation = {"plain": PLAIN, "strong": STRONG}[run.augmentation]
    with tempfile.TemporaryDirectory() as folder, cpu_clock() as training:
        out = Path(folder) / "judge.safetensors"
        train_network(
            [*real, *pairs],
            (NUCLEUS,),
            out,
            judge.config(run.seed, augmentation),
            weights=weights,
            validation=chosen[run.count :],
            device="cpu",
        )
        best = load_checkpoint(out, "segmenter").provenance["validation"]
        segmenter = load_segmenter(str(out), device="cpu")
    measured = tested(segmenter, data.test)
    facts = {
        "best_step": best["step"],
        "steps": judge.steps,
        "gained_to_the_end": best["step"] > STILL_GAINING * judge.steps,
    }
    return {**run.record, **measured, **facts, "train_cpu_s": training.seconds}


def tested(segmenter: Any, test: Sequence[LabelledImage]) -> dict[str, float]:
    """Mean AJI and Dice over the test squares."""
    # Tiles made for slides would be half empty.
    small = segmenter.with_core(min(segmenter.tile - 2 * segmenter.margin, SQUARE))
    predict = partial(predict_labels, segmenter=small)
    results = [score(square.labels, predict(square)) for square in test]
    return {
        "aji": round(fmean(each.aji for each in results), 4),
        "dice": round(fmean(each.dice for each in results), 4),
    }


def gate(few: Sequence[float], many: Sequence[float]) -> bool:
    """Whether labels are what is short: many windows beat few by more than two standard deviations.

    Examples
    --------
    >>> gate([0.50, 0.52], [0.60, 0.62]), gate([0.50, 0.52], [0.52, 0.54])
    (True, False)
    """
    if min(len(few), len(many)) < 2:
        return False
    return fmean(many) - fmean(few) > 2 * max(stdev(few), stdev(many))


def one_thread() -> None:
    """As every experiment here runs."""
    torch.set_num_threads(1)
