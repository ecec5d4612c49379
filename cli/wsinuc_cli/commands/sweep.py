"""``wsinuc sweep``: which features to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc.progress_line import ProgressLine
from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import device_option, dry_run_option, seed_option
from wsinuc_cli.options.images import FILE, regions_option
from wsinuc_cli.options.overlay import given_options, overlaid
from wsinuc_cli.progress.training import Tell, log_option, telling
from wsinuc_cli.terminal import echo
from wsinuc_cli.texts.next_command import after_sweep
from wsinuc_cli.texts.training_cost import echo_cost

if TYPE_CHECKING:
    from wsinuc.datasets.base import Dataset
    from wsinuc.workflows.train.sweep_report import SweepScore

FIELDS = {
    "timesteps": "timesteps",
    "blocks": "blocks",
    "finalists": "finalists",
    "pixels": "sampling.pixels",
    "visits": "sampling.visits",
    "seed": "seed",
}
"""Option -> the field of `SweepConfig` that it sets."""
Sets = tuple[tuple[int, ...], ...]


if TYPE_CHECKING:
    SetsType = click.ParamType[Sets]
else:
    SetsType = click.ParamType  # which older versions of click cannot subscript


class NumberSets(SetsType):
    """Sets of whole numbers, with semicolons between them.

    Parameters
    ----------
    each
        Whether one set alone stands for its members one by one, and then all of them.
    """

    name = "N,N;N,..."

    def __init__(self, *, each: bool = False) -> None:
        self.each = each

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Sets:
        """The sets, their members ascending."""
        if isinstance(value, tuple):
            return value
        try:
            sets = tuple(tuple(sorted({int(number) for number in part.split(",")})) for part in value.split(";"))
        except ValueError:
            self.fail(f"expected sets of whole numbers like 4,5;6,8,10, got {value!r}", param, ctx)
        if self.each and len(sets) == 1 and len(sets[0]) > 1:
            return (*((number,) for number in sets[0]), sets[0])
        return sets


@click.command(cls=SectionedCommand)
@click.argument("data", metavar="DATA")
@click.option(
    "--denoiser",
    "denoisers",
    multiple=True,
    required=True,
    metavar="NAME|FILE",
    help="A shipped denoiser, or a checkpoint made by wsinuc pretrain; may be repeated.",
)
@click.option("-o", "--output", required=True, type=FILE, metavar="DIR", help="Folder for tables and heat maps.")
@click.option("--mpp", type=float, metavar="UM", help="um per pixel of images that do not record it.")
@regions_option
@click.option("--split", type=FILE, help="Split file; else use --where.")
@click.option("--part", default="train", show_default=True, help="Part of the split to learn from.")
@click.option("--validation", default="validation", show_default=True, help="Part of the split to score on.")
@click.option(
    "--where",
    "held_out",
    multiple=True,
    metavar="COLUMN=VALUE,...",
    help="Without a split: score on these.",
)
@click.option(
    "--timesteps",
    type=NumberSets(each=True),
    help="5,50,150: each alone, and all together; 50;50,150: these sets.",
)
@click.option(
    "--blocks",
    type=NumberSets(),
    help="Sets of decoder blocks: 4,5;6,8,10,12. Without: one, as deep in each denoiser as the published one is.",
)
@click.option("--finalists", type=int, help="Try so many of the best as segmenters, for AJI.")
@click.option("--pixels", type=int, help="Pixels to learn from, per image and view.")
@click.option("--visits", type=int, help="Augmented views of every image.")
@seed_option
@log_option
@device_option
@dry_run_option("tried")
@click.pass_context
def sweep(
    context: click.Context, /, data: str, denoisers: tuple[str, ...], output: Path, device: str, **options: Any
) -> None:
    """Find the timesteps, decoder blocks and denoiser whose features segment best.

    Features are computed once per image and denoiser; every choice is fitted and scored from them.

    \b
    wsinuc sweep tnbc --where patient=06 --denoiser a.safetensors --blocks "3,4;4,5,6" -o sweep
    """
    from wsinuc.datasets import open_dataset
    from wsinuc.segmenters import denoiser_path
    from wsinuc.workflows.data.training_set import NUCLEUS, label_notes
    from wsinuc.workflows.train.sweep import SweepConfig
    from wsinuc.workflows.train.sweep import sweep as task

    config = overlaid(SweepConfig(), FIELDS, given_options(context))
    paths = [denoiser_path(name) for name in denoisers]
    whole = open_dataset(data, mpp=options["mpp"], regions=options["regions"])
    training, scored = _parts(whole, options["split"], options["part"], options["validation"], options["held_out"])
    images = list(training)
    for note in label_notes(whole, images):
        echo(f"Note: {note}")
    classes = whole.classes or (NUCLEUS,)
    if options["dry_run"]:
        from wsinuc.workflows.train.cost import sweep_cost

        echo(f"sweep: learns from {len(images)} images, scores on {len(scored)}")
        echo_cost(sweep_cost(images, scored, classes, paths, config))
        return
    aji = "     AJI" if config.finalists else ""
    echo(f"{'denoiser':16}  {'timesteps':16}  {'blocks':20}  features  mean IoU    Dice{aji}")
    with telling(options["log"]) as tell:
        choices = len(paths) * len(config.timesteps) * len(config.blocks or ("published",))
        count = _Counted(tell, choices, config.finalists)
        best, *_ = task(images, scored, classes, paths, output, config, device=device, on_score=count)
    chosen = f"{best.denoiser}, timesteps {_text(best.timesteps)}, blocks {_text(best.blocks)}"
    echo(f"Best: {chosen}. Written to {output}: sweep.csv, best.json, heat maps")
    echo(f"Next: {after_sweep(data, output, options)}")


def _parts(
    whole: Dataset, split: Path | None, part: str, validation: str, held_out: tuple[str, ...]
) -> tuple[Dataset, Dataset]:
    """What to learn from and what to score on: parts of a split file, or everything but the images held out."""
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.datasets.sampling.split import Split, parted

    if (split is None) == (not held_out):
        raise click.UsageError("say what to score on: --split FILE with --validation PART, or --where COLUMN=VALUE")
    if split is not None:
        if part == validation:
            raise click.UsageError(f"--part and --validation are both {part!r}: score on what was not learned from")
        loaded = Split.load(split)
        return loaded.of(whole, part), loaded.of(whole, validation)
    scored, learned = parted(whole, parse_conditions(held_out))
    return learned, scored


def _text(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


class _Counted:
    """Tells a row per choice, and how many of them are scored."""

    def __init__(self, tell: Tell, choices: int, finalists: int) -> None:
        self._tell = tell
        self._total = choices + min(choices, finalists)
        self._done = 0

    def __call__(self, score: SweepScore) -> None:
        """Tell a score."""
        self._done += 1
        self._tell(_row(score))
        # The row is a result, so it is printed as it is; the empty line beside it moves the bar alone.
        self._tell(ProgressLine("", stage="sweep", unit="choices", done=self._done, total=self._total))


def _row(score: SweepScore) -> str:
    aji = f"{score.aji:8.3f}" if score.aji == score.aji else ""
    choice = f"{score.denoiser[:16]:16}  {_text(score.timesteps):16}  {_text(score.blocks):20}"
    return f"{choice}  {score.width:8d}  {score.mean_iou:8.3f}{score.dice:8.3f}{aji}"
