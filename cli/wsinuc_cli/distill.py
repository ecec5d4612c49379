"""``wsinuc distill``: a small, fast segmenter from a large one and unlabelled tissue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli.options import device_option
from wsinuc_cli.sections import SectionedCommand
from wsinuc_cli.terminal import echo
from wsinuc_cli.training_progress import log_option, telling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsinuc.workflows.distill.config import DistillConfig
    from wsinuc.workflows.distill.sources import Tissue
    from wsinuc.workflows.distill.teacher import Scales, Teacher

FILE = click.Path(path_type=Path)


@click.command(cls=SectionedCommand)
@click.argument("teacher")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output", required=True, type=FILE, help="Checkpoint to write (.safetensors).")
@click.option("--also", multiple=True, metavar="MODEL", help="Another teacher; scores are averaged. Repeatable.")
@click.option("--start", type=FILE, metavar="STUDENT", help="An earlier student to go on from.")
@click.option("--mpp", "file_mpp", type=float, metavar="UM", help="um per pixel of sources that do not say it.")
@click.option(
    "--model-mpp", "mpp", type=float, metavar="UM", help="um per pixel of the student [default: the teacher's]."
)
@click.option("--base", type=int, help="Width of the student's finest level [default: 16].")
@click.option("--fold", type=int, help="Squares of so many pixels a side are one pixel of that level [default: 1].")
@click.option("--patches", type=int, metavar="N", help="Patches that the teacher scores, once each [default: 1000].")
@click.option("--patch", type=int, help="Side of a patch in pixels of the student [default: 256].")
@click.option("--steps", type=int, help="Training steps of the student [default: 4000].")
@click.option("--batch", type=int, help="Crops per step, two of each place [default: 10].")
@click.option("--crop", type=int, help="Side of a crop in pixels, cut from the patches [default: 128].")
@click.option("--lr", type=float, help="Highest learning rate; it falls along a cosine [default: 0.001].")
@click.option("--labels", multiple=True, metavar="DATA", help="Annotated data set to learn from besides; repeatable.")
@click.option("--label-weight", type=float, help="Weight of their loss [default: 1].")
@click.option("--where", "wanted", multiple=True, metavar="COLUMN=VALUE,...", help="Of data sets only these images.")
@click.option(
    "--where-not", "unwanted", multiple=True, metavar="COLUMN=VALUE,...", help="Of data sets not these images."
)
@click.option(
    "--mix",
    type=click.Choice(["area", "sources"]),
    default="area",
    show_default=True,
    help="Draw patches by area of tissue, or from every SOURCE equally often.",
)
@click.option("--held-out", type=float, metavar="SHARE", help="Patches that only measure the agreement [default: 0.1].")
@click.option("--cache", type=FILE, metavar="DIR", help="Keep the teacher's patches here [default: OUTPUT.patches].")
@click.option("--memory", default=4.0, show_default=True, metavar="GIB", help="Memory for pixels of the sources.")
@click.option("--seed", type=int, help="[default: 0]")
@log_option
@device_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
def distill(
    teacher: str,
    sources: tuple[str, ...],
    output: Path,
    also: tuple[str, ...],
    file_mpp: float | None,
    labels: tuple[str, ...],
    wanted: tuple[str, ...],
    unwanted: tuple[str, ...],
    mix: str,
    start: Path | None,
    cache: Path | None,
    memory: float,
    device: str,
    dry_run: bool,
    log: Path | None,
    **options: Any,
) -> None:
    """Teach a small U-Net to do in one pass what TEACHER does.

    TEACHER is a shipped model (accurate, fast, default) or a segmenter checkpoint. SOURCE is a
    slide, an image, a folder of images, or a data set (FOLDER, or NAME=FOLDER) whose annotation is
    ignored. Conditions hold for the data sets that have the column. Interrupted, the same command
    goes on; the teacher's scores are computed once and kept.

    \b
    wsinuc distill accurate slides/*.svs -o student.safetensors
    wsinuc distill accurate slides/*.svs --also mine.safetensors -o student.safetensors
    wsinuc distill mine.safetensors tnbc --mpp 0.25 --labels tnbc --where-not patient=09,10,11 -o student.safetensors
    """
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.workflows.data.sources import Choice
    from wsinuc.workflows.distill.patches import scales_of
    from wsinuc.workflows.distill.run import distill as run
    from wsinuc.workflows.distill.sources import gather_labels, gather_tissue
    from wsinuc.workflows.distill.teacher import check_teachers, load_teacher

    config = configured(**options)
    teachers = [load_teacher(model, device=device) for model in (teacher, *also)]
    check_teachers(teachers)
    scales = scales_of(teachers, config)
    choice = Choice(parse_conditions(wanted), parse_conditions(unwanted))
    tissue = gather_tissue(
        sources, scales, file_mpp=file_mpp, choice=choice, memory=round(memory * 2**30), even=mix == "sources"
    )
    labelled, origin = gather_labels(labels, teachers[0].segmenter.classes, mpp=file_mpp, choice=choice)
    choice.check()
    _describe(teachers, tissue, len(labelled), scales, config)
    if dry_run:
        return
    with telling(log) as tell:
        agreement = run(
            teachers,
            tissue.images,
            output,
            config,
            device=device,
            weights=tissue.weights,
            labelled=labelled,
            cache=cache,
            start=start,
            provenance={"sources": [Path(source).name for source in sources], "mix": mix, "data": origin},
            on_event=tell,
        )
    echo(
        f"Written to {output}: on held-out patches Dice {agreement.dice:.3f} with the teacher's nuclei. "
        f"Next: wsinuc segment slide.svs --model {output}, or wsinuc evaluate DATA --model {output}"
    )


def configured(*, steps: int | None = None, lr: float | None = None, **options: Any) -> DistillConfig:
    """The settings with the options that were given; raises ConfigError."""
    from wsinuc.workflows.distill.config import DistillConfig

    given = {name: value for name, value in options.items() if value is not None}
    schedule: dict[str, Any] = {name: value for name, value in (("steps", steps), ("lr", lr)) if value is not None}
    return DistillConfig(fit=replace(DistillConfig().fit, **schedule), **given)


def _describe(
    teachers: Sequence[Teacher], tissue: Tissue, labelled: int, scales: Scales, config: DistillConfig
) -> None:
    """What learns from what."""
    from wsinuc.datasets.sampling.patches import area

    pixels = sum(area(image) for image in tissue.images)
    beside = f", and {labelled} annotated images" if labelled else ""
    size = (3 + teachers[0].segmenter.channels) * scales.side**2 * config.patches
    for each in teachers:
        echo(f"teacher {each.name} ({each.sha256[:12]}) at {each.segmenter.mpp:g} um/px")
    echo(f"{len(tissue.images)} images and slides, {pixels / 1e6:.1f} Mpx at {scales.source:g} um/px{beside}")
    echo(f"{config.patches} patches of {config.patch} px, {size / 1e6:.0f} MB, scored once")
    echo(
        f"student: U-Net of base {config.base} at {scales.student:g} um/px, {config.fit.steps} steps of "
        f"{config.batch} crops"
    )
