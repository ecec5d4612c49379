"""``wsinuc classify``: classes of nuclei from a few labels, on finished results or as a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli.commands.classify.results import FIELDS as RESULT_FIELDS
from wsinuc_cli.commands.classify.results import check_options, classify_results, scores_table
from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import device_option, seed_option
from wsinuc_cli.options.images import FILE, condition_options
from wsinuc_cli.options.overlay import given_options, overlaid
from wsinuc_cli.progress.training import log_option, telling
from wsinuc_cli.terminal import echo, echo_text
from wsinuc_cli.texts.next_command import measuring_command
from wsinuc_cli.texts.training_cost import echo_cost

if TYPE_CHECKING:
    from wsinuc.workflows.classify.run import PointSet, PointTrainConfig

FIELDS = {name: name for name in ("folds", "permutations", "seed")}
"""Option -> the field of `PointTrainConfig` that it sets."""


@click.command(cls=SectionedCommand)
@click.argument("sources", metavar="RESULT...|DATA", nargs=-1, required=True)
@click.option(
    "--labels",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="With RESULT: a few nuclei with a class, as GeoJSON of QuPath (detections, points, annotations around nuclei) "
    "or a table (uuid,class or x,y,class). Give it several times for several files.",
)
@click.option("--slide", type=FILE, help="With one RESULT: its slide, for preview and report, when it has moved.")
@click.option(
    "-o",
    "--output",
    type=FILE,
    help="With RESULT: folder of the new results; that of slide.wsinuc is DIR/slide.wsinuc. With DATA: the checkpoint "
    "to write (.safetensors).",
)
@click.option("--overwrite", is_flag=True, help="With RESULT: replace results that are in that folder.")
@click.option("--report/--no-report", default=True, help="With RESULT: write report.html again, or leave it out.")
@click.option(
    "--export",
    type=FILE,
    metavar="FILE",
    help="With RESULT: write a model (.safetensors) that segments as the results were and gives these classes.",
)
@click.option(
    "--ask",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="With RESULT: write the N nuclei that it would help most to label next as slide.ask.geojson, for QuPath.",
)
@click.option(
    "--model",
    default="default",
    show_default=True,
    metavar="BASE",
    help="With DATA: shipped model or checkpoint that finds the nuclei. With --export: the model of the results, when "
    "its file has moved.",
)
@condition_options
@click.option(
    "--folds",
    type=int,
    metavar="N",
    help="Folds of the cross-validation, whole slides, regions or images each; 0 for none.",
)
@click.option(
    "--permutations",
    type=int,
    metavar="N",
    help="Trainings on shuffled classes, to see what chance would reach; with RESULT 20 unless given.",
)
@click.option(
    "--network",
    is_flag=True,
    help="Also learn a small network that sees what lies around each nucleus: for thousands of points, in minutes.",
)
@seed_option
@log_option
@click.option(
    "--dry-run", is_flag=True, help="With DATA: check every file, say what would be learned and what it takes; stop."
)
@device_option
@click.pass_context
def classify(context: click.Context, /, sources: tuple[str, ...], **options: Any) -> None:
    """Teach classes of nuclei from a few labels.

    With --labels, on results of wsinuc segment: RESULT is slide.wsinuc, and a few of its nuclei that somebody has
    given a class teach a classifier on the measurements of the table. How well it tells the classes apart in slides or
    regions that it has not seen is printed. -o writes the results with their new classes, --export a model.

    \b
    wsinuc classify slide.wsinuc --labels labels.geojson -o classified

    Without --labels, on annotated images: DATA is a data set of points with classes, such as NuCLS, or of outlines with
    classes, such as slides annotated in QuPath. Its images are segmented by BASE, and the checkpoint holds BASE and a
    classifier of whole nuclei.

    \b
    wsinuc classify NuCLS --model default -o breast.safetensors
    """
    given = given_options(context)
    has_labels = bool(options["labels"])
    _check_sources(sources, has_labels=has_labels)
    check_options(given, has_labels=has_labels)
    if has_labels:
        from wsinuc.workflows.reclassify.learn import LearnConfig

        model = options["model"] if "model" in given else None
        config = overlaid(LearnConfig(), RESULT_FIELDS, given)
        classify_results(sources, config, {**options, "model": model})
        return
    if options["output"] is None:
        raise click.UsageError("give the checkpoint to write with -o FILE")
    _classify_data(context, sources[0], options)


def _check_sources(sources: tuple[str, ...], *, has_labels: bool) -> None:
    """Raise UsageError where the arguments are of the other kind."""
    if has_labels:
        return
    results = [source for source in sources if (Path(source) / "summary.json").is_file()]
    if results:
        raise click.UsageError(
            f"{results[0]} is a result of wsinuc segment: say which class a few of its nuclei have with --labels FILE"
        )
    if len(sources) > 1:
        raise click.UsageError("give one data set of points, or results with --labels FILE")


def _classify_data(context: click.Context, data: str, options: dict[str, Any]) -> None:
    """Points to a checkpoint."""
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.own_files import check_place
    from wsinuc.workflows.classify.run import gather_points, train_points

    config = _train_config(given_options(context), network=options["network"])
    output = options["output"]
    model = options["model"]
    device = options["device"]
    check_place(output)
    points = gather_points(
        data,
        mpp=options["mpp"],
        wanted=parse_conditions(options["wanted"]),
        unwanted=parse_conditions(options["unwanted"]),
        regions=options["regions"],
    )
    _describe(points, model)
    if options["dry_run"]:
        from wsinuc.workflows.classify.cost import classify_cost

        echo_cost(classify_cost(points.images, points.classes, model, config, device=device))
        return
    with telling(options["log"]) as tell:
        scores = train_points(
            points.images,
            points.classes,
            model,
            output,
            config,
            device=device,
            provenance={"data": [points.origin]},
            on_event=tell,
        )
    if scores is not None:
        echo_text(scores_table(scores, "Images that the classifier has not seen"))
    after = measuring_command(data, options, output)
    echo(f"Written to {output}. Next: {after}")


def _train_config(given: dict[str, Any], *, network: bool) -> PointTrainConfig:
    """The settings of a training on points, with what was given."""
    from wsinuc.workflows.classify.learn_maps import MapsConfig
    from wsinuc.workflows.classify.run import PointTrainConfig

    config = overlaid(PointTrainConfig(), FIELDS, given)
    if network:
        # The maps of an image in another stain would have to be made anew, and the network knows other stains already.
        config = replace(config, network=MapsConfig(seed=config.seed), views=0)
    return config


def _describe(points: PointSet, model: str) -> None:
    """What teaches, and what segments it."""
    count = sum(len(image.points) for image in points.images if image.points is not None)
    names = ", ".join(each.name for each in points.classes)
    echo(f"points: {len(points.images)} images, {count:,} points; classes: {names}; segmented by {model}")
    for note in points.notes:
        echo(f"Note: {note}")
