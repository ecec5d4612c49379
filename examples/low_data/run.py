"""How few labels suffice: methods A and D against a plain U-Net and HoVer-Net, each trained on 4, 8, 16 ... patches.

    python examples/low_data/run.py DATA OUT --denoiser denoiser.safetensors [--share 0/2]

DATA holds `monuseg2018_train` and `tnbc`. MoNuSeg is split by image, TNBC by patient (the split
files beside this script). The labelled patches (256 px at 0.25 um per px) are drawn from the
training part by a seed, stratified; every method gets the same patches and is measured by the
product's own path on the same test images. Each run appends a line to OUT/runs-K.jsonl, and the
same command goes on where it stopped. Start it with --share 0/2 and 1/2 to use two cores. `plot.py
OUT` draws the figure and prints the table.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean

import methods
import torch

from wsinuc.datasets import open_dataset
from wsinuc.datasets.sampling.split import Split, few_patches
from wsinuc.segmenters import load_segmenter
from wsinuc.workflows.evaluate.run import evaluate, predict_labels

HERE = Path(__file__).parent
FOLDERS = {"monuseg": "monuseg2018_train", "tnbc": "tnbc"}
CORE = 256
METRICS = ("dice", "aji", "aji_plus", "pq")


@dataclass(frozen=True, slots=True)
class Run:
    """One training and its test."""

    seed: int
    count: int
    data: str
    method: str


def scores(run: Run, data: Path, denoiser: Path, out: Path) -> dict[str, float]:
    """Train, measure, and say how long each took."""
    split = Split.load(HERE / f"{run.data}_split.json")
    dataset = open_dataset(data / FOLDERS[run.data], mpp=0.25)
    few = few_patches(split.of(dataset, "train"), run.count, size_px=256, seed=run.seed)
    (out / "splits").mkdir(parents=True, exist_ok=True)
    few.save(out / "splits" / f"{run.data}-{run.count}-{run.seed}.json")
    checkpoint = out / f"{run.data}-{run.method}-{run.count}-{run.seed}.safetensors"
    started = time.process_time()
    methods.METHODS[run.method](list(few.of(dataset, "train")), denoiser, checkpoint, run.seed)
    trained = time.process_time()
    segmenter = load_segmenter(str(checkpoint), device="cpu")
    # Test images are small: tiles made for slides would be half empty.
    segmenter.config = replace(segmenter.config, tile=CORE + 2 * segmenter.margin)
    evaluation = evaluate(split.of(dataset, "test"), partial(predict_labels, segmenter=segmenter))
    means = evaluation.means
    for path in out.glob(f"{checkpoint.stem}.*"):
        path.unlink()
    return {
        **{name: means[name] for name in METRICS},
        "iou": mean(image.scores.dice / (2 - image.scores.dice) for image in evaluation.images),
        "threshold": segmenter.config.watershed.foreground_threshold,
        "train_cpu_s": trained - started,
        "test_cpu_s": time.process_time() - trained,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--denoiser", type=Path, required=True)
    parser.add_argument("--sets", default="monuseg,tnbc")
    parser.add_argument("--methods", default=",".join(methods.METHODS))
    parser.add_argument("--counts", default="4,8,16,32")
    parser.add_argument(
        "--fewer", default="finetune-scratch,hovernet", help="methods tried with every other count only"
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--share", default="0/1", help="which part of the runs, of how many")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    part, parts = map(int, options.share.split("/"))
    log = options.out / f"runs-{part}.jsonl"
    done = {line["run"] for path in options.out.glob("runs-*.jsonl") for line in map(json.loads, path.open())}
    seeds, counts = (list(map(int, text.split(","))) for text in (options.seeds, options.counts))
    grid = [Run(*p) for p in product(seeds, counts, options.sets.split(","), options.methods.split(","))]
    grid = [run for run in grid if run.method not in options.fewer.split(",") or run.count in counts[::2]]
    for run in grid[part::parts]:
        if str(run) not in done:
            result = scores(run, options.data, options.denoiser, options.out)
            line = {"run": str(run), "data": run.data, "method": run.method, "count": run.count, "seed": run.seed}
            with log.open("a") as stream:
                stream.write(json.dumps(line | result) + "\n")
            print(run, {name: round(value, 3) for name, value in result.items()}, flush=True)


if __name__ == "__main__":
    main()
