"""``wsinuc classify``: classes of segmented nuclei from a few points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from wsinuc_cli.images import FILE, condition_options
from wsinuc_cli.next_command import evaluate_command
from wsinuc_cli.options import device_option
from wsinuc_cli.overlay import given_options, overlaid
from wsinuc_cli.sections import SectionedCommand
from wsinuc_cli.terminal import as_text, echo, echo_text
from wsinuc_cli.training_progress import log_option, telling
from wsinuc_cli.training_report import echo_cost

FIELDS = {name: name for name in ("folds", "permutations", "seed")}
"""Option -> the field of `PointTrainConfig` that it sets."""


@click.command(cls=SectionedCommand)
@click.argument("data", metavar="DATA")
@click.option("-o", "--output", required=True, type=FILE, help="Checkpoint to write (.safetensors).")
@click.option(
    "--model",
    default="default",
    show_default=True,
    metavar="BASE",
    help="Shipped model or checkpoint that finds the nuclei.",
)
@condition_options
@click.option("--folds", type=int, metavar="N", help="Folds of the cross-validation, whole images each; 0 for none.")
@click.option(
    "--permutations",
    type=int,
    metavar="N",
    help="Trainings on shuffled classes, to see what chance would reach.",
)
@click.option(
    "--network",
    is_flag=True,
    help="Also learn a small network that sees what lies around each nucleus: for thousands of points, in minutes.",
)
@click.option("--seed", type=int, help="Seed of everything that is drawn at random.")
@log_option
@click.option(
    "--dry-run", is_flag=True, help="Check every file, say what would be learned and what it takes; then stop."
)
@device_option
@click.pass_context
def classify(context: click.Context, /, data: str, output: Path, model: str, device: str, **options: Any) -> None:
    """Teach a model the classes of the nuclei that it finds.

    DATA is a data set of points with classes, such as NuCLS, or of outlines with classes, such as slides annotated in
    QuPath. The checkpoint holds BASE and a classifier of
    whole nuclei. How well it tells the classes apart on images that it has not seen is printed, and
    written beside the checkpoint.

    \b
    wsinuc classify NuCLS --model default -o breast.safetensors
    """
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.regular import require_parent
    from wsinuc.workflows.classify.learn_maps import MapsConfig
    from wsinuc.workflows.classify.run import PointTrainConfig, gather_points, train_points

    config = overlaid(PointTrainConfig(), FIELDS, given_options(context))
    if options["network"]:
        # The maps of an image in another stain would have to be made anew, and the network knows other stains already.
        config = replace(config, network=MapsConfig(seed=config.seed), views=0)
    require_parent(output)
    points = gather_points(
        data,
        mpp=options["mpp"],
        wanted=parse_conditions(options["wanted"]),
        unwanted=parse_conditions(options["unwanted"]),
        regions=options["regions"],
    )
    count = sum(len(image.points) for image in points.images if image.points is not None)
    names = ", ".join(c.name for c in points.classes)
    echo(f"points: {len(points.images)} images, {count:,} points; classes: {names}; segmented by {model}")
    for note in points.notes:
        echo(f"Note: {note}")
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
        echo_text(_table(scores))
    after = evaluate_command(data, options["mpp"], output, regions=options["regions"])
    echo(f"Written to {output}. Next: {after}")


def _table(scores: Any) -> str:
    """The confusion of the cross-validation and its figures, for the terminal."""
    width = max(9, *map(len, scores.names)) + 2
    cells = [["annotated", *scores.names, "F1"]]
    for name, row in zip(scores.names, scores.confusion.tolist(), strict=True):
        cells.append([name, *map(str, row), f"{scores.f1[name]:.3f}"])
    lines = ["".join(f"{cell:>{width}}" for cell in row) for row in cells]
    return as_text(
        [
            "Images that the classifier has not seen (rows annotated, columns predicted):",
            *lines,
            f"accuracy {scores.accuracy:.3f} (always the most frequent class: {scores.majority:.3f}), "
            f"balanced accuracy {scores.balanced_accuracy:.3f} (chance: {1 / len(scores.names):.3f})",
        ]
    )
