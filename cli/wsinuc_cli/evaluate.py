"""``wsinuc evaluate``: how well a model, or label images, agree with annotation."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsinuc_cli.options import DEFAULTS, device_option

if TYPE_CHECKING:
    from wsinuc.datasets.base import Dataset
    from wsinuc.tasks.evaluate import Evaluation, ImageScores, Predict

FOLDER = click.Path(path_type=Path)
COLUMNS = ("dice", "aji", "aji_plus", "dq", "sq", "pq")


@click.command()
@click.option("--data", type=FOLDER, metavar="DIR", help="Data set: images/, labels/ and manifest.csv.")
@click.option(
    "--mpp", type=float, metavar="UM", help="Resolution of its images, um per pixel, unless the manifest has it."
)
@click.option("--where", "wanted", multiple=True, metavar="COLUMN=VALUE,...", help="Only images with these attributes.")
@click.option("--where-not", "unwanted", multiple=True, metavar="COLUMN=VALUE,...", help="Leave these images out.")
@click.option("--model", default=DEFAULTS["model"], show_default=True, help="Shipped model or checkpoint to measure.")
@device_option
@click.option(
    "--batch-size", type=int, metavar="N", help="Tiles per step of the network [default: 1 on a CPU, else 8]."
)
@click.option("--pred", type=FOLDER, metavar="DIR", help="Measure these label images (NAME.png) instead of a model.")
@click.option("--truth", type=FOLDER, metavar="DIR", help="With --pred: annotated label images, instead of a data set.")
@click.option("-o", "--output", type=FOLDER, metavar="DIR", help="Folder for tables, predictions and pictures.")
@click.option("--overwrite", is_flag=True, help="Write into a folder that is not empty.")
def evaluate(
    data: Path | None,
    mpp: float | None,
    wanted: tuple[str, ...],
    unwanted: tuple[str, ...],
    model: str,
    device: str,
    batch_size: int | None,
    pred: Path | None,
    truth: Path | None,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Compare a model's nuclei, or label images, with annotated ones.

    \b
    wsinuc evaluate --data tnbc --mpp 0.25 --where patient=09,10,11 -o evaluation
    wsinuc evaluate --data tnbc --pred other_tool/labels
    wsinuc evaluate --truth tnbc/labels --pred other_tool/labels
    """
    from wsinuc.tasks import evaluate as task

    if pred is not None and truth is not None and data is None:
        evaluation = task.evaluate_folders(pred, truth, out=output, overwrite=overwrite, on_image=_show_image)
    elif data is not None and truth is None:
        dataset = _open_dataset(data, mpp, wanted, unwanted)
        predict = _predictor(model, device, batch_size) if pred is None else partial(task.read_prediction, folder=pred)
        evaluation = task.evaluate(dataset, predict, out=output, overwrite=overwrite, on_image=_show_image)
    else:
        raise click.UsageError("give --data (with --model or --pred), or --truth with --pred")
    _show_means(evaluation, output)


def _open_dataset(path: Path, mpp: float | None, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> Dataset:
    from wsinuc.datasets import open_dataset
    from wsinuc.datasets.base import parse_conditions

    return open_dataset(path, mpp=mpp).where(parse_conditions(wanted), parse_conditions(unwanted))


def _predictor(model: str, device: str, batch_size: int | None) -> Predict:
    from wsinuc.segmenters import load_segmenter
    from wsinuc.tasks.evaluate import predict_labels

    return partial(predict_labels, segmenter=load_segmenter(model, device=device), batch_size=batch_size)


def _show_image(image: ImageScores) -> None:
    s = image.scores
    values = "  ".join(f"{getattr(s, column):8.3f}" for column in COLUMNS)
    click.echo(f"{image.name[:32]:32}  {values}  {s.true_nuclei:9d}  {s.predicted_nuclei:9d}")


def _show_means(evaluation: Evaluation, output: Path | None) -> None:
    """The means under their names; the names stand at the foot, where the reader is when all is done."""
    means, totals = evaluation.means, evaluation.totals
    values = "  ".join(f"{means[column]:8.3f}" for column in COLUMNS)
    names = "  ".join(f"{column.replace('_plus', '+'):>8}" for column in COLUMNS)
    count = f"mean of {len(evaluation.images)} images"
    click.echo(f"{count:32}  {values}  {totals['true_nuclei']:9d}  {totals['predicted_nuclei']:9d}")
    click.echo(f"{'':32}  {names}  annotated  predicted")
    if output is not None:
        click.echo(f"Written to {output}: scores.csv, summary.json and, where there are images, comparison.png")
