"""``wsinuc evaluate``: how well a model, or label images, agree with annotation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli.commands.evaluate.series import COLUMNS, evaluate_at_resolutions, evaluate_at_thresholds
from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import DEFAULTS, device_option, min_area_option
from wsinuc_cli.options.images import condition_options
from wsinuc_cli.options.overlay import given_options
from wsinuc_cli.terminal import echo

if TYPE_CHECKING:
    from wsinuc.datasets.base import Dataset
    from wsinuc.metrics.detection import DetectionCounts
    from wsinuc.segmenters.base import Segmenter
    from wsinuc.workflows.evaluate.run import Evaluation, ImageScores, Predict

FOLDER = click.Path(path_type=Path)
POOLED = {
    "f_detection": "F_d",
    "type_accuracy": "type accuracy",
    "bpq_pannuke": "bPQ (PanNuke)",
    "mpq_pannuke": "mPQ (PanNuke)",
    "mpq_pooled_conic": "mPQ (pooled, CoNIC)",
    "miou_pooled_nuclei": "IoU of pixels, mean over classes of nuclei",
}
BY_CLASS = {
    "pq_pannuke": "PQ/image",
    "pq_pooled_conic": "PQ pooled",
    "f_classification": "F_c",
    "iou_pooled": "IoU",
    "dice_pooled": "Dice",
}
SEMANTIC_BY_CLASS = {
    "iou_pooled": "IoU",
    "iou_image_mean": "IoU/image",
    "dice_pooled": "Dice",
    "sensitivity_pooled": "sensitivity",
    "precision_pooled": "precision",
    "hausdorff_um_image_mean": "HD um",
    "hausdorff_95_um_image_mean": "HD95 um",
    "hausdorff_px_image_mean": "HD px",
    "hausdorff_95_px_image_mean": "HD95 px",
}


@click.command(cls=SectionedCommand)
@click.argument("data", required=False, metavar="[DATA]")
@condition_options
@click.option(
    "--split", type=FOLDER, metavar="FILE", help="Split of the data set, made by wsinuc data split or by a training."
)
@click.option("--part", metavar="NAME", help="Part of the split to measure on, such as test.")
@click.option(
    "--model",
    default=DEFAULTS["model"],
    show_default=True,
    help="Shipped model or checkpoint to measure.",
    metavar="NAME|FILE",
)
@click.option(
    "--threshold",
    metavar="P[,P...]",
    help="Foreground probability from which a pixel belongs to a nucleus. Of several, each is measured, and a table "
    "compares them.  [default: the model's own]",
)
@min_area_option
@click.option(
    "--pred",
    type=FOLDER,
    metavar="DIR",
    help="Label images (NAME.png) to measure instead of a model.",
)
@click.option(
    "--truth",
    type=FOLDER,
    metavar="DIR",
    help="With --pred: label images of the annotation, instead of DATA.",
)
@click.option(
    "--batch-size",
    type=int,
    metavar="N",
    help="Tiles that the network sees at once.  [default: 1 on a CPU, else 8]",
)
@click.option(
    "--at-mpp",
    metavar="UM,UM,...",
    help="Resample the images to each of these um per pixel, run the model on them, and score at that resolution.",
)
@click.option(
    "--classes/--no-classes",
    default=True,
    show_default=True,
    help="Score classes where both the annotation and the model have them.",
)
@click.option(
    "--semantic/--no-semantic",
    default=False,
    show_default=True,
    help="Score the class of every pixel before nuclei are separated, too: IoU, Dice, distances by class.",
)
@click.option(
    "--radius-px",
    type=float,
    metavar="PX",
    help="Largest distance between the centres of matched nuclei, for F_d.  [default: 3 um]",
)
@click.option(
    "--matching",
    type=click.Choice(["hovernet", "within"]),
    default="hovernet",
    show_default=True,
    help="How nuclei are paired for F_d: as HoVer-Net's code does it, or for the most pairs within the radius.",
)
@click.option("-o", "--output", type=FOLDER, metavar="DIR", help="Folder for tables, predictions and pictures.")
@click.option("--overwrite", is_flag=True, help="Write into a folder that is not empty.")
@click.option(
    "--worst",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="How many of the worst images the page worst.png shows.",
)
@device_option
@click.pass_context
def evaluate(context: click.Context, /, data: str | None, output: Path | None, **options: Any) -> None:
    """Compare a model's nuclei, or label images, with annotated ones.

    DATA is a data set as it was published, or a folder with images/ and labels/. NAME=DIR says which layout it has,
    where the files alone do not tell.

    \b
    wsinuc evaluate tnbc --mpp 0.25 --where patient=09,10,11 -o evaluation
    wsinuc evaluate pannuke=PanNuke --where fold=3 --model classes.safetensors -o evaluation
    wsinuc evaluate monuseg --split split.json --part test
    wsinuc evaluate pannuke=PanNuke --model mine.safetensors --semantic -o evaluation
    wsinuc evaluate tnbc --mpp 0.25 --at-mpp 0.25,0.5,1.0 -o resolutions
    wsinuc evaluate mine --threshold 0.4,0.5,0.6,0.7 -o thresholds
    wsinuc evaluate tnbc --pred other_tool/labels
    wsinuc evaluate --truth tnbc/labels --pred other_tool/labels --mpp 0.25
    """
    from wsinuc.workflows.evaluate import run as task

    pred = options["pred"]
    truth = options["truth"]
    if (options["split"] is None) != (options["part"] is None):
        raise click.UsageError("--split names the file and --part which of its parts: give both or none")
    if options["at_mpp"] is not None and (pred is not None or data is None):
        raise click.UsageError("--at-mpp shows a model other images: give DATA and no --pred")
    thresholds = _thresholds(options)
    if pred is not None and (thresholds or options["min_area_um2"] is not None):
        raise click.UsageError("--threshold and --min-area are for a model, and --pred has separated nuclei")
    if pred is not None:
        _check_unused(given_options(context), folders=truth is not None)
    scoring = task.Scoring(
        classes=options["classes"],
        rule=options["matching"],
        radius_px=options["radius_px"],
        semantic=options["semantic"],
    )
    files: dict[str, Any] = {"out": output, "overwrite": options["overwrite"]}
    files |= {"scoring": scoring, "on_image": _show_image}
    if pred is not None and truth is not None and data is None and options["split"] is None:
        _show(task.evaluate_folders(pred, truth, mpp=options["mpp"], **files), output)
        return
    if data is None or truth is not None:
        raise click.UsageError("give DATA (with --model or --pred), or --truth with --pred (and no --split)")
    dataset = _open_dataset(data, options)
    if pred is None:
        files["notes"] = _learned_from(options["model"], dataset)
        segmenter = _segmenter(options, thresholds)
        predict, files["predicted_classes"] = _predictor(segmenter, options)
    else:
        predict = task.PredictionFolder(pred)
    # Pages need images, which a comparison of two folders does not have.
    files["worst"] = options["worst"]
    if options["at_mpp"] is not None:
        evaluate_at_resolutions(dataset, predict, options["at_mpp"], files)
        return
    if len(thresholds) > 1:
        files |= {"batch_size": options["batch_size"], "semantic": options["semantic"]}
        evaluate_at_thresholds(dataset, segmenter, thresholds, files)
        return
    _show(task.evaluate(dataset, predict, **files), output)


def _check_unused(given: Mapping[str, Any], *, folders: bool) -> None:
    """Raise UsageError for options that have no say in label images, or in two folders of them."""
    unused = {"model": "--model"}
    if folders:
        unused |= {"wanted": "--where", "unwanted": "--where-not", "regions": "--regions"}
    for name, flag in unused.items():
        if name in given:
            raise click.UsageError(f"{flag} has no say in label images: leave it out, or --pred")


def _open_dataset(source: str, options: Mapping[str, Any]) -> Dataset:
    """The images of a data set that the options choose."""
    from wsinuc.datasets import open_dataset
    from wsinuc.datasets.base import parse_conditions

    dataset = open_dataset(source, mpp=options["mpp"], regions=options["regions"])
    if options["split"] is not None:
        from wsinuc.datasets.sampling.split import Split

        dataset = Split.load(options["split"]).of(dataset, options["part"])
    return dataset.where(parse_conditions(options["wanted"]), parse_conditions(options["unwanted"]))


def _learned_from(model: str, dataset: Dataset) -> tuple[str, ...]:
    """A warning where the model has seen the annotation that it is measured with."""
    from wsinuc.segmenters import model_path
    from wsinuc.workflows.evaluate.learned import learned_note

    note = learned_note(model_path(model), dataset)
    return () if note is None else (note,)


def _thresholds(options: Mapping[str, Any]) -> tuple[float, ...]:
    """The thresholds that are asked for; none takes the model's own."""
    from wsinuc.config import check_min_area, check_threshold
    from wsinuc.workflows.evaluate.thresholds import parse_thresholds

    check_min_area(options["min_area_um2"])
    if options["threshold"] is None:
        return ()
    thresholds = parse_thresholds(options["threshold"])
    # Before a model is loaded.
    for threshold in thresholds:
        check_threshold(threshold)
    if len(thresholds) > 1 and options["at_mpp"] is not None:
        raise click.UsageError("--at-mpp and several values of --threshold are two tables: give one threshold")
    return thresholds


def _segmenter(options: Mapping[str, Any], thresholds: tuple[float, ...]) -> Segmenter:
    """The model, with the least area and the threshold that are asked for; of several thresholds with none yet."""
    from wsinuc.segmenters import load_segmenter
    from wsinuc.segmenters.cutoffs import with_cutoffs

    threshold = None
    if len(thresholds) == 1:
        threshold = thresholds[0]
    segmenter = load_segmenter(options["model"], device=options["device"])
    return with_cutoffs(segmenter, threshold=threshold, min_area_um2=options["min_area_um2"])


def _predictor(segmenter: Segmenter, options: Mapping[str, Any]) -> tuple[Predict, tuple[str, ...]]:
    """What predicts, and the names of its classes."""
    from wsinuc.workflows.evaluate.run import predict_nuclei

    names = tuple(c.name for c in segmenter.classes)
    predict = partial(
        predict_nuclei, segmenter=segmenter, batch_size=options["batch_size"], semantic=options["semantic"]
    )
    return predict, names


def _show_image(image: ImageScores) -> None:
    scores = image.scores
    counts = image.detection
    if scores is not None:
        values = "  ".join(f"{getattr(scores, column):8.3f}" for column in COLUMNS)
        echo(f"{image.name[:32]:32}  {values}  {scores.true_nuclei:9d}  {scores.predicted_nuclei:9d}")
    elif counts is not None:  # points are annotated, so there are no outlines to compare
        echo(f"{image.name[:32]:32}  F_d {counts.f_detection:6.3f}  {_detected(counts)}")


def _detected(counts: DetectionCounts) -> str:
    """Nuclei of all classes together."""
    matched = int(counts.matched.sum())
    missed = int(counts.missed.sum())
    invented = int(counts.invented.sum())
    return f"matched {matched}, missed {missed}, invented {invented}"


def _show(evaluation: Evaluation, output: Path | None) -> None:
    """Means, pooled figures and the table of classes, below the images: the reader is there when all is done."""
    summary = evaluation.summary()
    if evaluation.means:
        _show_means(evaluation)
    counts = evaluation.detection
    if counts is not None:
        echo(f"all {len(evaluation.images)} images: {_detected(counts)}")
    figures = [f"{text} {_number(summary[name])}" for name, text in POOLED.items() if name in summary]
    echo("  ".join(figures))
    if evaluation.classes:
        _show_classes(evaluation, summary)
    if "semantic" in summary:
        _show_semantic(evaluation, summary["semantic"])
    if "calibration" in summary:
        _show_calibration(summary["calibration"])
    for note in evaluation.notes:
        echo(f"Note: {note}")
    if output is not None:
        echo(f"Written to {output}: {', '.join(_written(output))}")


def _show_means(evaluation: Evaluation) -> None:
    means = evaluation.means
    totals = evaluation.totals
    values = "  ".join(f"{means[column]:8.3f}" for column in COLUMNS)
    names = "  ".join(f"{column.replace('_plus', '+'):>8}" for column in COLUMNS)
    count = f"mean of {len(evaluation.images)} images"
    echo(f"{count:32}  {values}  {totals['true_nuclei']:9d}  {totals['predicted_nuclei']:9d}")
    echo(f"{'':32}  {names}  annotated  predicted")


def _show_classes(evaluation: Evaluation, summary: Mapping[str, Any]) -> None:
    shown = {text: summary[name] for name, text in BY_CLASS.items() if name in summary}
    echo(f"{'class':32}  " + "  ".join(f"{text:>9}" for text in shown))
    for name in evaluation.classes:
        echo(f"{name[:32]:32}  " + "  ".join(f"{_number(values[name]):>9}" for values in shown.values()))


def _show_semantic(evaluation: Evaluation, figures: Mapping[str, Any]) -> None:
    """Figures of pixels before nuclei are separated: means, then a line per class."""
    texts = {
        "miou_pooled_nuclei": "mean IoU of nuclei",
        "miou_image_mean_nuclei": "by image",
        "miou_pooled_with_background": "with background",
        "pixel_accuracy_pooled": "accuracy",
    }
    means = "  ".join(f"{text} {_number(figures[name])}" for name, text in texts.items())
    echo(f"pixels before separation: {means}")
    shown = {text: figures[name] for name, text in SEMANTIC_BY_CLASS.items() if name in figures}
    echo(f"{'pixels of':32}  " + "  ".join(f"{text:>11}" for text in shown))
    for name in evaluation.pixel_classes[1:]:
        echo(f"{name[:32]:32}  " + "  ".join(f"{_number(values[name]):>11}" for values in shown.values()))


def _show_calibration(calibration: Mapping[str, Any]) -> None:
    areas = {"disagreement": "auc_disagreement", "1 - probability": "auc_one_minus_probability"}
    doubts = ", ".join(f"{text} {_number(calibration[name])}" for text, name in areas.items() if name in calibration)
    echo(
        f"mean probability {_number(calibration['mean_probability'])}, "
        f"{calibration['right']} of {calibration['nuclei']} right, "
        f"calibration error {_number(calibration['expected_calibration_error'])}; area under the curve for wrong "
        f"nuclei: {doubts}"
    )


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}"


def _written(output: Path) -> list[str]:
    # Which of them exist depends on what was scored, so the folder is asked.
    known = ("scores.csv", "summary.json", "comparison.png", "worst.png", "overlays.png")
    drawn = ("reliability.png", "doubt.png", "confusion.png", "confusion_pixels.png")
    return [name for name in (*known, *drawn) if (output / name).exists()]
