"""Claim C (Min, Oh, Jeong 2024): images made for points and texts are nearer to real ones, and help a segmenter.

    python examples/claims/claim_c.py DATA WORK OUT [--set tnbc] [--minutes 60] [--price]

The preset of the joint generator in full, 20,000 steps, on the thirty windows of seed 0; again
without points, without texts and without augmentation, where this version's `wsinuc pretrain` has
the option `--without`. Each makes 120 images for the layouts of these windows, whose outer margin
is cut off, and `wsinuc compare` measures their Frechet distance, inception score and FSD against
the windows. Ten images of one layout say how diverse they are. Then the grid of claim B: a U-Net of
base 16 on four windows and on thirty, with the pairs and without.

The separation of nuclei by four methods has a script of its own, `examples/separation.py`. WORK
keeps generators and images, OUT gets a file a run. The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from claim_b import FEW, MANY, SEEDS, write_windows
from labelled_sets import SETS, LabelledSet, windows
from pair_grid import JUDGES, PairRun, do_runs, one_thread, without_margin
from records import Price, after_minutes, print_prices, write_record
from stages import Stage, machine_speed, run_stages, stage_prices

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.generators.cost import estimate_joint
from wsinuc.workflows.generators.cosyn_config import PRESETS
from wsinuc.workflows.training.cost import NetworkCost
from wsinuc_cli.commands.pretrain.command import pretrain

STEPS = 20_000
IMAGES = 120
OF_ONE_LAYOUT = 10
MARGIN = 16
"""Pixels of the 128 that are cut off on every side."""
LEFT_OUT = ("points", "text", "augmentation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked for."""

    data: Path
    work: Path
    out: Path
    name: str
    steps: int = STEPS
    seeds: Sequence[int] = SEEDS


def variants() -> list[str]:
    """The generator as it is, and what may be left out of it in this version."""
    known = {word for parameter in pretrain.params for word in parameter.opts}
    return ["full", *LEFT_OUT] if "--without" in known else ["full"]


def generator_stages(variant: str, options: Options) -> list[Stage]:
    """Commands from windows to images and to their comparison with the windows."""
    own = options.work / f"{options.name}-{variant}"
    real = options.work / f"{options.name}-real"
    weights = own / "cosyn.safetensors"
    without = () if variant == "full" else ("--without", variant)
    laid_out = ("--layout", str(real), "--mpp", "0.25", "--guidance", "0", "--restart", "150")
    run_here = ("--device", "cpu", "--workers", "1")
    flops = joint_cost().flops_per_step * options.steps
    # 20 steps of the walk and 9 of the restart; a step of training is three passes of four images.
    image_flops = 29 * flops / options.steps / 12
    images = own / "images"
    return [
        Stage(
            words=(
                *("pretrain", str(real), "--mpp", "0.25", "--method", "cosyn", "--steps", str(options.steps)),
                *(*without, "--device", "cpu", "-o", str(weights)),
            ),
            output=weights,
            flops=flops,
        ),
        Stage(
            words=(
                *("synthesize", "--method", "cosyn", "--model", str(weights), *laid_out),
                *("-n", str(IMAGES), *run_here, "-o", str(images)),
            ),
            output=images,
            reads=(weights,),
            flops=IMAGES * image_flops,
        ),
        Stage(
            words=(
                *("compare", str(real), str(images), "--mpp", "0.25", "--model", "fast", "--device", "cpu"),
                *("-o", str(own / "comparison"), "--overwrite"),
            ),
            output=own / "comparison",
            reads=(weights,),
        ),
        Stage(
            words=(
                *("synthesize", "--method", "cosyn", "--model", str(weights), "--layout", str(real / "one")),
                *("--mpp", "0.25", "--guidance", "0", "--restart", "150", "-n", str(OF_ONE_LAYOUT)),
                *(*run_here, "-o", str(own / "one")),
            ),
            output=own / "one",
            reads=(weights,),
            flops=OF_ONE_LAYOUT * image_flops,
        ),
    ]


@cache
def joint_cost() -> NetworkCost:
    """Of a step of the joint generator, from one empty window."""
    pixels = np.zeros((256, 256, 3), np.uint8)
    blank = LabelledImage(
        name="blank", image=pixels, labels=np.zeros((256, 256), np.int32), attributes={"tissue": "breast"}, mpp=0.25
    )
    return estimate_joint(PRESETS["cpu"], [blank], (NUCLEUS,))


def diversity(images: Sequence[LabelledImage]) -> float:
    """Mean absolute difference of grey levels between images of one layout, 0 to 255."""
    return fmean(float(np.abs(a.image.astype(int) - b.image.astype(int)).mean()) for a, b in pairwise(images))


def likeness_record(variant: str, options: Options) -> dict[str, Any]:
    """What `wsinuc compare` measured, and how diverse images of one layout are."""
    own = options.work / f"{options.name}-{variant}"
    comparison = json.loads((own / "comparison" / "comparison.json").read_text(encoding="utf-8"))
    return {
        "data": options.name,
        "variant": variant,
        "steps": options.steps,
        "diversity": round(diversity(list(open_dataset(own / "one"))), 3),
        "comparison": comparison,
        "inputs": generator_stages(variant, options)[1].inputs,
    }


def grid_runs(options: Options) -> list[PairRun]:
    """Four windows and thirty, with pairs and without."""
    runs = []
    for seed in options.seeds:
        for count in (FEW, MANY):
            plain = PairRun(
                data=options.name, judge="unet", count=count, pairs="none", augmentation="plain", share=0.0, seed=seed
            )
            runs += [plain, replace(plain, pairs="cosyn", share=0.5)]
    return runs


def pairs_of(run: PairRun, options: Options) -> tuple[list[LabelledImage], dict[str, Any] | None]:
    """The images of the whole generator without their margin, and what they were made with."""
    if run.pairs == "none":
        return [], None
    made = generator_stages("full", options)[1]
    return without_margin(list(open_dataset(made.output)), MARGIN), made.inputs | {"margin": MARGIN}


def write_real(data: LabelledSet, options: Options) -> None:
    """The thirty windows, and one of them by itself."""
    chosen = windows(data.pool, MANY, 0)
    real = options.work / f"{options.name}-real"
    write_windows(real, chosen)
    write_windows(real / "one", chosen[:1])


def prices(options: Options) -> list[Price]:
    """What is left of the generators and of the grid."""
    stages = [stage for variant in variants() for stage in generator_stages(variant, options)]
    left = sum(not (options.out / run.file).exists() for run in grid_runs(options))
    return [*stage_prices(stages, machine_speed()), JUDGES["unet"].price("grid", left)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", default="tnbc", choices=[name for name in SETS if name != "brca"])
    parser.add_argument("--minutes", type=float, default=1e9, help="stop cleanly after this long")
    parser.add_argument("--price", action="store_true", help="say what it costs, and stop")
    asked = parser.parse_args()
    one_thread()
    options = Options(data=asked.data, work=asked.work, out=asked.out, name=asked.set)
    print_prices(prices(options))
    if asked.price:
        return
    stop = after_minutes(asked.minutes)
    data = SETS[options.name](options.data, options.work / "silver")
    write_real(data, options)
    for variant in variants():
        if not run_stages(generator_stages(variant, options), stop):
            return
        write_record(options.out / f"{options.name}-likeness-{variant}.json", likeness_record(variant, options))
    do_runs(grid_runs(options), data, options.out, JUDGES["unet"], partial(pairs_of, options=options), stop)


if __name__ == "__main__":
    main()
