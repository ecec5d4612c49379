"""Do synthetic pairs help where few labels are? Table 1 of method B (Yu et al. 2023), at a size that a CPU can train.

    S="--mpp 0.25 --split tenth.json"
    wsinuc pretrain monuseg2018_train $S --method nudiff-structure -o structure.safetensors  # and so on
    wsinuc synthesize --method nudiff --structure-model structure.safetensors --image-model
    image.safetensors -n 120 -o nudiff python examples/synthetic_pairs/run.py DATA OUT --synthetic
    nudiff=nudiff cosyn=cosyn [--share 0/2]

`tenth.json` (`wsinuc data subset --fraction 0.1 --by nuclei`) holds a tenth of the nuclei of 22
images, in 30 windows. Each network is trained on the tenth of the labels in `tenth.json`, alone and
with all synthetic pairs of each folder, for the same number of steps, and measured by the product's
own path on the 8 images of `monuseg2018_train` that neither the generators nor it have seen
(`examples/low_data/monuseg_split.json`). Each run appends a line to OUT/runs-K.jsonl, the same
command goes on where it stopped, and prints the table at the end.

`--drawn 0.5` draws every second crop from the pairs instead of as many as their area says.
`--windows more=FILE` names a split file of more real windows, used like synthetic pairs: what could
pairs give at best?
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import torch

from wsinuc.datasets import open_dataset
from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.datasets.sampling.split import Split
from wsinuc.models.training.loop import FitConfig
from wsinuc.segmenters import load_segmenter
from wsinuc.workflows.data.training_set import NUCLEUS, shared_out
from wsinuc.workflows.evaluate.run import evaluate, predict_labels
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc.workflows.train.networks import train_network

HERE = Path(__file__).parent
METRICS = ("dice", "aji", "f_detection")
NETWORKS = {
    "hovernet": {"width": 0.25, "batch": 4},
    "unet": {"batch": 8},
}
"""HoVer-Net fast with a quarter of its channels, and the plain U-Net; both at 0.5 um per px, as the generators."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training and its test."""

    seed: int
    network: str
    pairs: str
    """Which synthetic pairs beside the real ones; ``none``, or the name of a folder."""


def config_of(run: Run, steps: int) -> NetworkTrainConfig:
    """The same whatever the images."""
    fit = FitConfig(steps=steps, lr=1e-3, warmup=20, cosine=True, weight_decay=0.01, ema=0.98, save_every=steps)
    augmentation = Augmentation(zoom=1.3, stain=0.4)
    return NetworkTrainConfig(
        method=run.network, crop=128, fit=fit, augmentation=augmentation, seed=run.seed, **NETWORKS[run.network]
    )


def scores(
    run: Run,
    images: Sequence[LabelledImage],
    weights: Sequence[float] | None,
    test: Dataset,
    steps: int,
    out: Path,
) -> dict[str, float]:
    """Train, measure, and say how long it took."""
    checkpoint = out / f"{run.network}-{run.pairs}-{run.seed}.safetensors"
    started = time.process_time()
    train_network(images, (NUCLEUS,), checkpoint, config_of(run, steps), device="cpu", weights=weights)
    trained = time.process_time()
    segmenter = load_segmenter(str(checkpoint), device="cpu")
    # Test images are small: tiles made for slides would be half empty.
    segmenter.config = replace(segmenter.config, tile=256 + 2 * segmenter.margin)
    evaluation = evaluate(test, partial(predict_labels, segmenter=segmenter))
    for path in out.glob(f"{checkpoint.stem}.*"):
        path.unlink()
    found = {**evaluation.means, "f_detection": evaluation.detection.f_detection}
    return {**{name: found[name] for name in METRICS}, "train_cpu_s": trained - started}


def table(out: Path) -> str:
    """Mean and standard deviation over seeds, as Markdown."""
    lines = [json.loads(line) for path in sorted(out.glob("runs-*.jsonl")) for line in path.open()]
    rows = ["| network | synthetic pairs | seeds | " + " | ".join(METRICS) + " |", "|---" * (3 + len(METRICS)) + "|"]
    for network, pairs in dict.fromkeys((line["network"], line["pairs"]) for line in lines):
        runs = [line for line in lines if (line["network"], line["pairs"]) == (network, pairs)]
        cells = [
            f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}"
            for values in ([run[name] for run in runs] for name in METRICS)
        ]
        rows.append(f"| {network} | {pairs} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--synthetic", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--windows", nargs="*", default=[], metavar="NAME=SPLIT")
    parser.add_argument("--drawn", type=float, help="share of the crops that come from the pairs")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--share", default="0/1", help="which part of the runs, of how many")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    dataset = open_dataset(options.data / "monuseg2018_train", mpp=0.25)
    real = list(Split.load(HERE / "tenth.json").of(dataset, "train"))
    test = Split.load(HERE.parent / "low_data" / "monuseg_split.json").of(dataset, "test")
    folders = dict(pair.split("=", 1) for pair in options.synthetic)
    extra = {"none": [], **{name: list(open_dataset(folder)) for name, folder in folders.items()}}
    for name, split in (pair.split("=", 1) for pair in options.windows):
        extra[name] = list(Split.load(Path(split)).of(dataset, "train"))
    part, parts = map(int, options.share.split("/"))
    done = {line["run"] for path in options.out.glob("runs-*.jsonl") for line in map(json.loads, path.open())}
    grid = [Run(*p) for p in product(map(int, options.seeds.split(",")), options.networks.split(","), extra)]
    for run in grid[part::parts]:
        if str(run) not in done:
            pairs = extra[run.pairs]
            weights = shared_out(real + pairs, len(real), options.drawn) if options.drawn and pairs else None
            result = scores(run, real + pairs, weights, test, options.steps, options.out)
            line = {"run": str(run), "seed": run.seed, "network": run.network, "pairs": run.pairs} | result
            with (options.out / f"runs-{part}.jsonl").open("a") as stream:
                stream.write(json.dumps(line) + "\n")
            print(run, {name: round(value, 3) for name, value in result.items()}, flush=True)
    print(table(options.out))


if __name__ == "__main__":
    main()
