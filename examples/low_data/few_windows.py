"""One, four and sixteen annotated windows: method A, an adapted model, the model as it is, and a U-Net from nothing.

    python examples/low_data/few_windows.py DATA OUT --denoiser general=denoiser --denoiser tuned=diffusion [--sets ...]

DATA holds `monuseg2018_train`, `tnbc` and `nuinsseg`. Windows are squares of 256 px of training
images, drawn by a seed, and whole images are tested that no window is of: 8 of MoNuSeg and TNBC's
patients 09 to 11 (the split files beside this script), and of two organs of NuInsSeg that no
shipped model has seen (the first two of `held_organs` by name) every other image. Every method
gets the same windows through the command line, as a user has it. A run is one file, OUT/SET-METHOD-COUNT-SEED.json,
and the same command goes on where it stopped; a run of another version of a model is done again.
`few_windows_table.py OUT` prints the table and draws the figure.

`unet` is generous to it: the weights that do best on four windows that the others do not have.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset
from wsinuc.datasets.sampling.split import Split, few_patches
from wsinuc.grid import ceil_div
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.segmenters import load_segmenter, model_path
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.workflows.evaluate.run import evaluate, predict_labels

HERE = Path(__file__).parent
ORGANS = HERE.parent / "nuinsseg_split.json"
FOLDERS = {"monuseg": "monuseg2018_train", "tnbc": "tnbc", "bladder": "nuinsseg", "cerebellum": "nuinsseg"}
MPP = {"monuseg": 0.25, "tnbc": 0.25, "bladder": 0.16, "cerebellum": 0.16}
HELD_OUT = 4
"""Windows more, by which the U-Net from nothing is chosen."""
METRICS = ("aji", "dice", "pq")


@dataclass(frozen=True, slots=True)
class Run:
    """One training and its test."""

    data: str
    method: str
    """``untouched``, ``adapt``, ``unet``, or ``a-NAME`` for pixel classifiers on the denoiser of that name."""
    count: int
    """Windows; 0 for the model as it is."""
    seed: int

    @property
    def file(self) -> str:
        """Name of its record."""
        return f"{self.data}-{self.method}-{self.count}-{self.seed}.json"


@dataclass(frozen=True, slots=True)
class Models:
    """What the methods begin with."""

    model: str
    """Adapted, and measured as it is."""
    denoisers: dict[str, str]
    """By the name in the figure: what `wsinuc train --denoiser` takes."""
    unet_steps: int

    def start(self, method: str) -> str | None:
        """SHA-256 of the file that a method begins with; None for one that begins with nothing."""
        if method == "unet":
            return None
        name = self.denoisers[method.removeprefix("a-")] if method.startswith("a-") else self.model
        return file_sha256(model_path(name))


def parts_of(data: str, folder: Path) -> tuple[Dataset, Dataset]:
    """The images that windows are drawn from, and those that are tested."""
    dataset = open_dataset(folder / FOLDERS[data], mpp=MPP[data])
    if FOLDERS[data] != "nuinsseg":
        split = Split.load(HERE / f"{data}_split.json")
        return split.of(dataset, "train"), split.of(dataset, "test")
    held = Split.load(ORGANS).of(dataset, "held_organs")
    names = sorted(held.where({"organ": frozenset({f"human {data}"})}).names)
    return dataset.patches([(n, None) for n in names[::2]]), dataset.patches([(n, None) for n in names[1::2]])


def windows_of(run: Run, training: Dataset) -> Split:
    """The windows of a run, and some more that only the U-Net is chosen by."""
    # With one seed the first of more windows are the same windows.
    places = few_patches(training, run.count + HELD_OUT, size_px=256, seed=run.seed).parts["train"]
    parts = {"train": places[: run.count], "validation": places[run.count :]}
    return Split(parts=parts, dataset=training.layout.name, seed=run.seed)


def training_command(run: Run, models: Models, source: Path, split: Path, out: Path) -> list[str]:
    """What a user would type."""
    data = [str(source), "--mpp", str(MPP[run.data]), "--split", str(split), "--device", "cpu", "-o", str(out)]
    seed = ["--seed", str(run.seed)]
    if run.method == "adapt":
        # One window cannot be held out, so nothing says whether the model is better.
        anyway = ["--anyway"] if run.count == 1 else []
        return ["adapt", models.model, *data, *seed, *anyway]
    if run.method == "unet":
        steps = ["--steps", str(models.unet_steps)]
        return ["train", *data, *seed, "--method", "unet", "--validation", "validation", *steps]
    return ["train", *data, *seed, "--denoiser", models.denoisers[run.method.removeprefix("a-")]]


def trained(run: Run, models: Models, folder: Path, training: Dataset, work: Path) -> tuple[str, dict[str, Any]]:
    """The model of a run and what is known of its training."""
    if run.method == "untouched":
        return models.model, {}
    split = work / "windows.json"
    windows_of(run, training).save(split)
    out = work / "model.safetensors"
    words = training_command(run, models, folder / FOLDERS[run.data], split, out)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "wsinuc_cli.main", *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts: dict[str, Any] = {
        "train_cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)
    }
    if not out.exists():
        # `adapt` was not better on held-out windows: what a user has then is the model as it was.
        return models.model, facts | {"written": False}
    origin = load_checkpoint(out, "segmenter").provenance
    known = {name: origin[name] for name in ("share", "refit", "held_out_aji") if name in origin}
    if known.get("held_out_aji"):
        known["held_out_aji"] = {name: [round(each, 4) for each in v] for name, v in known["held_out_aji"].items()}
    return str(out), facts | {"written": True} | known


def tested(model: str, test: Dataset) -> dict[str, Any]:
    """What every test image scores."""
    segmenter = load_segmenter(model, device="cpu")
    assert isinstance(segmenter, TiledSegmenter)
    # Test images are small: tiles made for slides would be half empty.
    side = max(max(image.labels.shape) * image.mpp / segmenter.mpp for image in test)
    core = min(segmenter.tile - 2 * segmenter.margin, ceil_div(round(side), 64) * 64)
    evaluation = evaluate(test, partial(predict_labels, segmenter=segmenter.with_core(core)))
    scores = [image.scores for image in evaluation.images if image.scores]
    return {
        "means": {name: round(fmean(getattr(each, name) for each in scores), 4) for name in METRICS},
        "aji": {image.name: round(image.scores.aji, 4) for image in evaluation.images if image.scores},
    }


def is_done(path: Path, start: str | None) -> bool:
    """Whether a record is there, of a run that began with this file."""
    return path.is_file() and json.loads(path.read_text()).get("start") == start


def grid(options: argparse.Namespace, models: Models) -> Iterator[Run]:
    """All runs, few windows and first seeds first; the model as it is once for each set."""
    sets = options.sets.split(",")
    methods = (
        options.methods.split(",") if options.methods else ["adapt", *(f"a-{n}" for n in models.denoisers), "unet"]
    )
    yield from (Run(data, "untouched", 0, 0) for data in sets)
    counts = [int(each) for each in options.counts.split(",")]
    seeds = [int(each) for each in options.seeds.split(",")]
    for count, seed, data, method in product(counts, seeds, sets, methods):
        yield Run(data, method, count, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--denoiser", action="append", default=[], metavar="NAME=MODEL", help="repeatable")
    parser.add_argument("--sets", default=",".join(FOLDERS))
    parser.add_argument("--counts", default="4,1,16")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--methods", help="some of adapt, a-NAME and unet; all by default")
    parser.add_argument("--unet-steps", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    denoisers = dict(each.split("=", 1) for each in options.denoiser)
    models = Models(options.model, denoisers, options.unet_steps)
    options.out.mkdir(parents=True, exist_ok=True)
    for run in grid(options, models):
        path = options.out / run.file
        start = models.start(run.method)
        if is_done(path, start):
            continue
        training, test = parts_of(run.data, options.data)
        with tempfile.TemporaryDirectory() as work:
            model, facts = trained(run, models, options.data, training, Path(work))
            record = asdict(run) | {"start": start} | facts | tested(model, test)
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(run, record["means"], facts.get("written", ""), flush=True)


if __name__ == "__main__":
    main()
