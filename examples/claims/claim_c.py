"""Claim C (Min, Oh, Jeong 2024): images made for points and texts are nearer to real ones, and help a segmenter.

    python examples/claims/claim_c.py DATA WORK OUT [--set tnbc] [--minutes 60] [--price] [--tiny]

The preset of the joint generator in full, 20,000 steps, on the thirty windows of seed 0; again
without points, without texts and without augmentation (`wsinuc pretrain --without`). Each makes 120
images for the layouts of these windows, the one without points for none. Their outer margin is cut
off, and `wsinuc compare` measures their Frechet distance and FSD against the windows, and how well
images and labels agree. With `--features FILE`, the Inception weights of FID, the distance is FID
and the inception score is measured too; without them it is that of a denoiser's features. Ten
images of one layout say how diverse they are. Then the grid of claim B: a U-Net of base 16 on four
windows and on thirty, with the pairs and without.

The separation of nuclei has a script of its own, `examples/separation.py`. WORK keeps generators
and images, OUT gets a file a run. The same command goes on where it stopped. `--tiny` runs all of
it in a few minutes, with a few steps of small networks, in folders `tiny` of WORK and OUT: its
figures mean nothing, but show that everything works here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from claim_b import FEW, MANY, SEEDS, write_windows
from labelled_sets import FOLDERS, SETS, LabelledSet, require_folders, windows
from pair_grid import JUDGES, TINY_JUDGE, Judge, PairRun, do_runs, one_thread, without_margin
from PIL import Image
from records import Price, after_minutes, experiment_parser, print_prices, write_record
from stages import Stage, machine_speed, run_stages, stage_prices

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.synthesis.tissues import tissue_of
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.generators.cost import estimate_joint
from wsinuc.workflows.generators.cosyn_config import PRESETS
from wsinuc.workflows.generators.cosyn_data import layouts_by_tissue
from wsinuc.workflows.training.cost import NetworkCost

INNER = "inner"
"""Folder of a variant's images without their margin."""
STEPS = 20_000
IMAGES = 120
OF_ONE_LAYOUT = 10
MARGIN = 16
"""Pixels of the 128 that are cut off on every side."""
COMPARED = 96
"""Side of the patches that are compared, at 0.25 um per px: four of an image without its margin, four of a window."""
VARIANTS = ("full", "points", "text", "augmentation")
"""The generator as it is, and what may be left out of it."""
PAIRS_SHOWN = 200
"""Pairs of images, at most, whose mean difference is a set's diversity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked for."""

    data: Path
    work: Path
    out: Path
    name: str
    steps: int = STEPS
    seeds: Sequence[int] = SEEDS
    variants: Sequence[str] = VARIANTS
    features: Path | None = None
    """Inception weights of FID; None takes the shipped denoiser."""
    tiny: bool = False

    @property
    def images(self) -> int:
        """That each variant makes."""
        return 4 if self.tiny else IMAGES

    @property
    def margin(self) -> int:
        """Pixels that are cut off them on every side."""
        return 4 if self.tiny else MARGIN

    @property
    def of_one_layout(self) -> int:
        """Images of one layout."""
        return 2 if self.tiny else OF_ONE_LAYOUT

    @property
    def judge(self) -> Judge:
        """Of the pairs."""
        return TINY_JUDGE if self.tiny else JUDGES["unet"]


def tiny(options: Options) -> Options:
    """The same in its tiny form."""
    return replace(
        options, work=options.work / "tiny", out=options.out / "tiny", steps=2, seeds=options.seeds[:1], tiny=True
    )


def generator_stages(variant: str, options: Options) -> list[Stage]:
    """Commands from windows to images and to their comparison with the windows."""
    # A generator without points takes no layout.
    laid_out = () if variant == "points" else ("--layout", str(real_of(options)), "--mpp", "0.25")
    stages = [
        training_stage(variant, options),
        drawing_stage(variant, options, "images", laid_out, options.images),
        comparison_stage(variant, options),
    ]
    if variant != "points":
        one = ("--layout", str(points_of(options)))
        stages.append(drawing_stage(variant, options, "one", one, options.of_one_layout))
    return stages


def training_stage(variant: str, options: Options) -> Stage:
    """From the windows to a generator."""
    weights = weights_of(variant, options)
    without = () if variant == "full" else ("--without", variant)
    small = ("--patch", "32", "--batch", "2") if options.tiny else ()
    return Stage(
        words=(
            *("pretrain", str(real_of(options)), "--mpp", "0.25", "--method", "cosyn", "--steps", str(options.steps)),
            *(*without, *small, "--device", "cpu", "-o", str(weights)),
        ),
        output=weights,
        flops=joint_cost().flops_per_step * options.steps,
    )


def drawing_stage(variant: str, options: Options, name: str, laid_out: tuple[str, ...], count: int) -> Stage:
    """From a generator to so many images of layouts, in a folder of this name."""
    weights = weights_of(variant, options)
    folder = weights.with_name(name)
    walk = ("--guidance", "0", "--restart", "150", *(("--steps", "4") if options.tiny else ()))
    return Stage(
        words=(
            *("synthesize", "--method", "cosyn", "--model", str(weights), *laid_out, *walk),
            *("-n", str(count), "--device", "cpu", "--workers", "1", "-o", str(folder)),
        ),
        output=folder,
        reads=(weights,),
        # 20 steps of the walk and 9 of the restart; a step of training is three passes of four images.
        flops=count * 29 * joint_cost().flops_per_step / 12,
    )


def comparison_stage(variant: str, options: Options) -> Stage:
    """The images, without their margin, against the windows."""
    weights = weights_of(variant, options)
    out = weights.with_name("comparison")
    side, model = ("32", "none") if options.tiny else (str(COMPARED), "fast")
    features = () if options.features is None else ("--features", str(options.features))
    return Stage(
        words=(
            *("compare", str(real_of(options)), str(weights.with_name(INNER)), "--mpp", "0.25"),
            *("--patch", side, "--patch-mpp", "0.25", "--model", model, *features, "--device", "cpu"),
            *("-o", str(out), "--overwrite"),
        ),
        output=out,
        reads=(weights,),
    )


def weights_of(variant: str, options: Options) -> Path:
    """The generator, in a folder of its own."""
    return options.work / f"{options.name}-{variant}" / "cosyn.safetensors"


def real_of(options: Options) -> Path:
    """The folder of the windows."""
    return options.work / f"{options.name}-real"


def points_of(options: Options) -> Path:
    """The one layout that is filled again and again."""
    return options.work / f"{options.name}-layout.csv"


@cache
def joint_cost() -> NetworkCost:
    """Of a step of the joint generator, from one empty window."""
    pixels = np.zeros((256, 256, 3), np.uint8)
    blank = LabelledImage(
        name="blank", image=pixels, labels=np.zeros((256, 256), np.int32), attributes={"tissue": "breast"}, mpp=0.25
    )
    return estimate_joint(PRESETS["cpu"], [blank], (NUCLEUS,))


def diversity(images: Sequence[LabelledImage], margin: int = 0) -> float:
    """Mean absolute difference of grey levels between pairs of images of one size, 0 to 255."""
    inner = [each.image.astype(int) for each in without_margin(images, margin)]
    pairs = list(combinations(inner, 2))
    # Evenly spread: neighbours in the list may be of one image.
    shown = pairs[:: max(1, len(pairs) // PAIRS_SHOWN)]
    return fmean(float(np.abs(a - b).mean()) for a, b in shown)


def likeness_record(variant: str, options: Options) -> dict[str, Any]:
    """What `wsinuc compare` measured, and how diverse images of one layout and of all layouts are."""
    own = weights_of(variant, options).parent
    comparison = json.loads((own / "comparison" / "comparison.json").read_text(encoding="utf-8"))
    real = list(open_dataset(real_of(options)))
    diverse = {
        "real": round(diversity([shrunk(window) for window in real]), 3),
        "images": round(diversity(list(open_dataset(own / "images")), options.margin), 3),
    }
    if variant != "points":
        diverse["one_layout"] = round(diversity(list(open_dataset(own / "one")), options.margin), 3)
    return {
        "data": options.name,
        "variant": variant,
        "steps": options.steps,
        "diversity": diverse,
        "comparison": comparison,
        "inputs": likeness_inputs(variant, options),
    }


def shrunk(window: LabelledImage) -> LabelledImage:
    """A window at the generator's resolution: finer pixels would differ more."""
    height, width = (round(length * window.mpp / PRESETS["cpu"].mpp) for length in window.labels.shape)
    small = Image.fromarray(window.image).resize((width, height), Image.Resampling.BOX)
    return replace(window, image=np.asarray(small), labels=np.zeros((height, width), np.int32), classes=None)


def likeness_inputs(variant: str, options: Options) -> dict[str, Any]:
    """What the images were made with, and how they were compared."""
    made, compared = generator_stages(variant, options)[1:3]
    return {"made": made.inputs, "compared": list(compared.words)}


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
    inner = without_margin(list(open_dataset(made.output)), options.margin)
    return inner, made.inputs | {"margin": options.margin}


def write_real(data: LabelledSet, options: Options) -> None:
    """The thirty windows, and where the nuclei of one of them lie, in pixels of the generator's images."""
    chosen = windows(data.pool, MANY, 0)
    write_windows(real_of(options), chosen)
    side = PRESETS["cpu"].patch
    if options.tiny:
        side = 32
    layout = layouts_by_tissue(chosen[:1], PRESETS["cpu"])[tissue_of(chosen[0].attributes)][0]
    inside = [f"{x:.2f},{y:.2f},{NUCLEUS.name}" for y, x in layout.points if max(x, y) < side]
    points_of(options).write_text("\n".join(["x,y,class", *inside]) + "\n", encoding="utf-8")


def run_variant(variant: str, options: Options, stop: Callable[[], bool]) -> bool:
    """Train, draw, cut off the margin, compare; whether all is done and its record written."""
    trained, drawn, *others = generator_stages(variant, options)
    if not run_stages([trained, drawn], stop):
        return False
    inner = drawn.output.with_name(INNER)
    write_windows(inner, without_margin(list(open_dataset(drawn.output)), options.margin))
    if not run_stages(others, stop):
        return False
    write_record(options.out / f"{options.name}-likeness-{variant}.json", likeness_record(variant, options))
    return True


def prices(options: Options) -> list[Price]:
    """What is left of the generators and of the grid."""
    stages = [stage for variant in options.variants for stage in generator_stages(variant, options)]
    left = sum(not (options.out / run.file).exists() for run in grid_runs(options))
    return [*stage_prices(stages, machine_speed()), options.judge.price("grid", left)]


def main() -> None:
    parser = experiment_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", default="tnbc", choices=[name for name in SETS if name != "brca"])
    parser.add_argument("--variants", default=",".join(VARIANTS), help="generators to train, of: %(default)s")
    parser.add_argument("--features", type=Path, help="Inception weights of FID")
    parser.add_argument("--tiny", action="store_true", help="a few steps of small networks: does it work here?")
    asked = parser.parse_args()
    one_thread()
    options = Options(
        data=asked.data,
        work=asked.work,
        out=asked.out,
        name=asked.set,
        variants=asked.variants.split(","),
        features=asked.features,
    )
    if asked.tiny:
        options = tiny(options)
    require_folders(options.data, [FOLDERS[options.name]])
    print_prices(prices(options))
    if asked.price:
        return
    stop = after_minutes(asked.minutes)
    data = SETS[options.name](options.data, options.work / "silver")
    write_real(data, options)
    for variant in options.variants:
        if not run_variant(variant, options, stop):
            return
    do_runs(grid_runs(options), data, options.out, options.judge, partial(pairs_of, options=options), stop)


if __name__ == "__main__":
    main()
