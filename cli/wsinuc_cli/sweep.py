"""``wsinuc sweep``: which features to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsinuc.progress_line import ProgressLine
from wsinuc_cli.options import device_option
from wsinuc_cli.sections import SectionedCommand
from wsinuc_cli.terminal import echo
from wsinuc_cli.training_progress import Tell, log_option, telling

if TYPE_CHECKING:
    from wsinuc.datasets.base import Dataset
    from wsinuc.workflows.train.sweep import SweepScore

FILE = click.Path(path_type=Path)
Sets = tuple[tuple[int, ...], ...]


@click.command(cls=SectionedCommand)
@click.argument("data", metavar="DATA")
@click.option("--denoiser", "denoisers", multiple=True, required=True, type=FILE, help="Checkpoint; may be repeated.")
@click.option("-o", "--output", required=True, type=FILE, metavar="DIR", help="Folder for tables and heat maps.")
@click.option(
    "--timesteps", default="5,50,150,250", show_default=True, help="Each alone and all together; or sets: 50;50,150."
)
@click.option(
    "--blocks", help="Sets of decoder blocks: 4,5;6,8,10,12.  [default: as deep as the published 6,8,10,12 of 18]"
)
@click.option("--split", type=FILE, help="Split file; else use --where.")
@click.option("--part", default="train", show_default=True, help="Part of the split to learn from.")
@click.option("--validation", default="validation", show_default=True, help="Part of the split to score on.")
@click.option("--where", "held_out", multiple=True, metavar="COLUMN=VALUE,...", help="Without a split: score on these.")
@click.option("--mpp", type=float, metavar="UM", help="um per pixel of the images, unless the data set records it.")
@click.option("--finalists", default=0, show_default=True, help="Try so many of the best as segmenters, for AJI.")
@click.option("--pixels", default=1000, show_default=True, help="Pixels to learn from, per image and view.")
@click.option("--visits", default=2, show_default=True, help="Augmented views of every image.")
@click.option("--seed", default=0, show_default=True)
@log_option
@device_option
def sweep(
    data: str,
    denoisers: tuple[Path, ...],
    output: Path,
    timesteps: str,
    blocks: str | None,
    split: Path | None,
    part: str,
    validation: str,
    held_out: tuple[str, ...],
    mpp: float | None,
    finalists: int,
    pixels: int,
    visits: int,
    seed: int,
    device: str,
    log: Path | None,
) -> None:
    """Find the timesteps, decoder blocks and denoiser whose features segment best.

    Features are computed once per image and denoiser; every choice is fitted and scored from them.

    \b
    wsinuc sweep tnbc --where patient=06 --denoiser a.safetensors --blocks "3,4;4,5,6" -o sweep
    """
    from wsinuc.datasets import open_dataset
    from wsinuc.workflows.data.training_set import NUCLEUS, label_notes
    from wsinuc.workflows.train.pixel_table import SamplingConfig
    from wsinuc.workflows.train.sweep import SweepConfig
    from wsinuc.workflows.train.sweep import sweep as task

    whole = open_dataset(data, mpp=mpp)
    training, scored = _parts(whole, split, part, validation, held_out)
    config = SweepConfig(
        timesteps=_sets(timesteps, each=True),
        blocks=None if blocks is None else _sets(blocks),
        sampling=SamplingConfig(visits=visits, pixels=pixels),
        finalists=finalists,
        seed=seed,
    )
    images = list(training)
    for note in label_notes(whole, images):
        echo(f"Note: {note}")
    echo(f"{'denoiser':16}  {'timesteps':16}  {'blocks':20}  features  mean IoU    Dice     AJI")
    classes = whole.classes or (NUCLEUS,)
    with telling(log) as tell:
        count = _Counted(tell, len(denoisers) * len(config.timesteps) * len(config.blocks or ("published",)), finalists)
        best, *_ = task(images, scored, classes, denoisers, output, config, device=device, on_score=count)
    chosen = f"{best.denoiser}, timesteps {_text(best.timesteps)}, blocks {_text(best.blocks)}"
    echo(f"Best: {chosen}. Written to {output}: sweep.csv, best.json, heat maps")


def _parts(
    whole: Dataset, split: Path | None, part: str, validation: str, held_out: tuple[str, ...]
) -> tuple[Dataset, Dataset]:
    """What to learn from and what to score on: parts of a split file, or everything but the images held out."""
    from wsinuc.datasets.base import parse_conditions

    if (split is None) == (not held_out):
        raise click.UsageError("say what to score on: --split FILE with --validation PART, or --where COLUMN=VALUE")
    if split is not None:
        from wsinuc.datasets.sampling.split import Split

        loaded = Split.load(split)
        return loaded.of(whole, part), loaded.of(whole, validation)
    conditions = parse_conditions(held_out)
    return whole.where({}, conditions), whole.where(conditions)


def _sets(text: str, *, each: bool = False) -> Sets:
    """Sets between semicolons; with ``each``, one set alone stands for its members one by one, then all."""
    try:
        sets = tuple(tuple(sorted({int(number) for number in part.split(",")})) for part in text.split(";"))
    except ValueError:
        raise click.BadParameter(f"expected sets of whole numbers like 4,5;6,8,10, got {text!r}") from None
    if each and len(sets) == 1 and len(sets[0]) > 1:
        return (*((number,) for number in sets[0]), sets[0])
    return sets


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
