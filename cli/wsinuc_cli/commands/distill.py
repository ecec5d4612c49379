"""``wsinuc distill``: a small, fast segmenter from a large one and unlabelled tissue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import checkpoint_option, device_option, dry_run_option, seed_option
from wsinuc_cli.options.images import FILE, condition_options
from wsinuc_cli.options.overlay import given_options, overlaid
from wsinuc_cli.progress.training import log_option, telling
from wsinuc_cli.terminal import echo
from wsinuc_cli.texts.next_command import after_distilling
from wsinuc_cli.texts.training_cost import echo_cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wsinuc.datasets.base import LabelledImage
    from wsinuc.workflows.distill.config import DistillConfig
    from wsinuc.workflows.distill.sources import TissueSources
    from wsinuc.workflows.distill.teacher import Scales, Teacher

FIELDS = {
    "model_mpp": "mpp",
    "base": "base",
    "fold": "fold",
    "patches": "patches",
    "patch": "patch",
    "steps": "fit.steps",
    "batch": "batch",
    "crop": "crop",
    "lr": "fit.lr",
    "label_weight": "label_weight",
    "held_out": "held_out",
    "seed": "seed",
}
"""Option -> the field of `DistillConfig` that it sets."""


@click.command(cls=SectionedCommand)
@click.argument("teacher")
@click.argument("sources", nargs=-1, required=True, metavar="DATA...")
@checkpoint_option
@click.option(
    "--also",
    multiple=True,
    metavar="MODEL",
    help="Another teacher; scores are averaged. Repeatable.",
)
@click.option("--start", type=FILE, metavar="STUDENT", help="An earlier student to go on from.")
@condition_options
@click.option(
    "--labels",
    multiple=True,
    metavar="DATA",
    help="Annotated data set to learn from besides; repeatable.",
)
@click.option(
    "--mix",
    type=click.Choice(["area", "sources"]),
    default="area",
    show_default=True,
    help="Draw patches by area of tissue, or from every DATA equally often.",
)
@click.option("--patches", type=int, metavar="N", help="Patches that the teacher scores, once each.")
@click.option("--patch", type=int, help="Side of a patch in pixels of the student.")
@click.option("--steps", type=int, help="Training steps of the student.")
@click.option("--batch", type=int, help="Crops per step, two of each place.")
@click.option("--crop", type=int, help="Side of a crop in pixels, cut from the patches.")
@click.option("--lr", type=float, help="Highest learning rate; it falls along a cosine.")
@click.option("--label-weight", type=float, help="Weight of the loss of --labels.")
@click.option("--model-mpp", type=float, metavar="UM", help="um per pixel of the student, else the teacher's.")
@click.option("--base", type=int, help="Width of the student's finest level.")
@click.option("--fold", type=int, help="Squares of so many pixels a side are one pixel of that level.")
@click.option("--held-out", type=float, metavar="SHARE", help="Patches that only measure the agreement.")
@seed_option
@log_option
@click.option("--cache", type=FILE, metavar="DIR", help="Keep the teacher's patches here, not in OUTPUT.patches.")
@click.option("--memory", default=4.0, show_default=True, metavar="GIB", help="Memory for pixels of the sources.")
@device_option
@dry_run_option("done")
@click.pass_context
def distill(
    context: click.Context, /, teacher: str, sources: tuple[str, ...], output: Path, device: str, **options: Any
) -> None:
    """Teach a small U-Net to do in one pass what TEACHER does.

    TEACHER is a shipped model (accurate, fast, default) or a segmenter checkpoint. DATA is a
    slide, an image, a folder of images, or a data set (FOLDER, or NAME=FOLDER) whose annotation is
    ignored. Conditions hold for the data sets that have the column. Interrupted, the same command
    goes on; the teacher's scores are computed once and kept.

    \b
    wsinuc distill accurate slides/*.svs -o student.safetensors
    wsinuc distill accurate slides/*.svs --also mine.safetensors -o student.safetensors
    wsinuc distill mine.safetensors tnbc --mpp 0.25 --labels tnbc --where-not patient=09,10,11 -o student.safetensors
    """
    from wsinuc.own_files import check_place
    from wsinuc.workflows.distill.config import DistillConfig
    from wsinuc.workflows.distill.patches import scales_of
    from wsinuc.workflows.distill.run import distill as run
    from wsinuc.workflows.distill.teacher import check_teachers, load_teacher

    config = overlaid(DistillConfig(), FIELDS, given_options(context))
    # Before the teacher scores anything.
    check_place(output)
    teachers = [load_teacher(model, device=device) for model in (teacher, *options["also"])]
    check_teachers(teachers)
    scales = scales_of(teachers, config)
    tissue, labelled, origin = _gather(sources, teachers, scales, options)
    _describe(teachers, tissue, len(labelled), scales, config)
    if options["dry_run"]:
        from wsinuc.workflows.distill.cost import distill_cost

        echo_cost(distill_cost(teachers, tissue.images, config, start=options["start"], labelled=bool(labelled)))
        return
    provenance = {"sources": [Path(source).name for source in sources], "mix": options["mix"], "data": origin}
    with telling(options["log"]) as tell:
        agreement = run(
            teachers,
            tissue.images,
            output,
            config,
            device=device,
            weights=tissue.weights,
            labelled=labelled,
            cache=options["cache"],
            start=options["start"],
            provenance=provenance,
            on_event=tell,
        )
    echo(
        f"Written to {output}: on held-out patches Dice {agreement.dice:.3f} with the teacher's nuclei. "
        f"Next: {after_distilling(sources, options['labels'], options['mpp'], output)}"
    )


def _gather(
    sources: Sequence[str], teachers: Sequence[Teacher], scales: Scales, options: Mapping[str, Any]
) -> tuple[TissueSources, tuple[LabelledImage, ...], list[dict[str, Any]]]:
    """Tissue without annotation, annotated images to learn from besides, and where these come from."""
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.workflows.data.sources import Choice
    from wsinuc.workflows.distill.sources import gather_labels, gather_tissue

    choice = Choice(parse_conditions(options["wanted"]), parse_conditions(options["unwanted"]))
    mpp = options["mpp"]
    regions = options["regions"]
    tissue = gather_tissue(
        sources,
        scales,
        file_mpp=mpp,
        choice=choice,
        memory=round(options["memory"] * 2**30),
        even=options["mix"] == "sources",
        regions=regions,
    )
    classes = teachers[0].segmenter.classes
    labelled, origin = gather_labels(options["labels"], classes, mpp=mpp, choice=choice, regions=regions)
    # Only now is it known whether a condition was met by any of the sources.
    choice.check()
    return tissue, labelled, origin


def _describe(
    teachers: Sequence[Teacher], tissue: TissueSources, labelled: int, scales: Scales, config: DistillConfig
) -> None:
    """What learns from what."""
    from wsinuc.datasets.sampling.patches import area

    pixels = sum(area(image) for image in tissue.images)
    beside = ""
    if labelled:
        beside = f", and {labelled} annotated images"
    # A byte for each colour and score of a kept pixel.
    size = (3 + teachers[0].segmenter.channels) * scales.side**2 * config.patches
    for each in teachers:
        echo(f"teacher {each.name} ({each.sha256[:12]}) at {each.segmenter.mpp:g} um/px")
    echo(f"{len(tissue.images)} images and slides, {pixels / 1e6:.1f} Mpx at {scales.source:g} um/px{beside}")
    echo(f"{config.patches} patches of {config.patch} px, {size / 1e6:.0f} MB, scored once")
    echo(
        f"student: U-Net of base {config.base} at {scales.student:g} um/px, {config.fit.steps} steps of "
        f"{config.batch} crops"
    )
