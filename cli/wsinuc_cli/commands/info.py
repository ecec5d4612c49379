"""``wsinuc info``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from wsinuc.errors import ConfigError
from wsinuc_cli.options.common import PLACE, reader_options
from wsinuc_cli.terminal import as_text, echo, echo_json, echo_text

if TYPE_CHECKING:
    from wsinuc.segmenters.shipped import ShippedModel
    from wsinuc.urls import Place
    from wsinuc.workflows.doctor.info import SlideDescription
    from wsinuc.workflows.doctor.model_info import ModelDescription
    from wsinuc.workflows.doctor.result_info import ResultDescription

RESULT = "summary.json"
"""File by which the folder of a result is told from a slide."""
FINISHED = ".wsinuc"
"""How the name of a result ends."""
CHECKPOINT = ".safetensors"
"""Suffix by which a model is told from a slide."""
Description: TypeAlias = "SlideDescription | ResultDescription | ModelDescription"


def show_models(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    """Print the table of shipped models and end the program."""
    if not wanted or context.resilient_parsing:
        return
    from wsinuc.segmenters.shipped import DENOISERS, MODELS

    echo(f"{'name':<10}{'file':>9}{'parameters':>12}{'um per px':>11}{'channels':>10}  description")
    for model in (*MODELS, *DENOISERS):
        echo(f"{model.name:<10}{_size(model)}  {model.text}")
    echo("File and parameters are those of a model with all members that it names; channels are scores of each pixel.")
    context.exit()


def _size(model: ShippedModel) -> str:
    """The figures of a model, in columns."""
    from wsinuc.segmenters.sizes import model_size

    if not model.path.is_file():
        return f"{'not here':>9}{'':33}"
    size = model_size(model.path)
    return f"{size.bytes / 1e6:>6.1f} MB{size.parameters / 1e6:>10.2f} M{size.mpp:>11.3g}{size.channels or '-':>10}"


@click.command()
@click.argument("slide", type=PLACE)
@click.option(
    "--models",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_models,
    help="List the shipped models and their sizes.",
)
@reader_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def info(slide: Place, reader: str, mpp: float | None, as_json: bool) -> None:
    """Show what wsinuc sees in SLIDE: levels, resolution, tissue, and what each reader makes of it.

    \b
    wsinuc info slide.svs
    wsinuc info slide.wsinuc
    wsinuc info mine.safetensors
    wsinuc info --models

    SLIDE may also be a finished result (slide.wsinuc): its model, nuclei, and label images with their classes; or a
    model, by its file or name: what it is, what it has learned from, and how it was measured.
    With --models, and without SLIDE, list the shipped models.
    """
    description, text = _described(slide, reader, mpp)
    if as_json:
        echo_json(dataclasses.asdict(description))
    else:
        echo_text(text)


def _described(place: Place, reader: str, mpp: float | None) -> tuple[Description, str]:
    """What there is to say of a slide, a result or a model, and the same as text."""
    # Asked here, because looking at a slide does without what reads results.
    if isinstance(place, Path) and (place / RESULT).is_file():
        from wsinuc.workflows.doctor.result_info import describe_result

        result = describe_result(place)
        return result, describe_finished(result)
    if not isinstance(place, Path) and str(place).rstrip("/").endswith(FINISHED):
        raise ConfigError(
            f"{place} is the URL of a result, and info looks at results in folders: copy it to this computer, or open "
            "it from Python with wsinuc.read; wsinuc verify says whether it is whole"
        )
    checkpoint = _checkpoint(place)
    if checkpoint is not None:
        from wsinuc.workflows.doctor.model_info import describe_model

        model = describe_model(checkpoint)
        return model, describe_checkpoint(model)
    from wsinuc.workflows.doctor.info import describe_slide

    slide = describe_slide(place, reader=reader, mpp=mpp)
    return slide, describe(slide)


def _checkpoint(place: Place) -> Path | None:
    """The file of a model, given by its path or, where no file has that name, by the name of a shipped one."""
    if not isinstance(place, Path):
        return None
    if place.suffix == CHECKPOINT:
        return place
    if place.exists():
        return None
    from wsinuc.segmenters.shipped import shipped_path

    return shipped_path(str(place))


def describe_checkpoint(model: ModelDescription) -> str:
    """The facts of a model, a line each."""
    kind = model.kind if model.method is None else f"{model.kind}, {model.method}"
    rows = [("kind", kind)]
    if model.mpp is not None:
        rows.append(("resolution", f"works at {model.mpp:.4g} um per pixel"))
    if model.classes:
        rows.append(("classes", ", ".join(model.classes)))
    if model.threshold is not None:
        rows.append(("threshold", f"{model.threshold:g}, nuclei from {model.min_area_um2:g} um2 on"))
    if model.base is not None:
        rows.append(("nuclei of", model.base))
    if model.parameters is not None:
        rows.append(("parameters", _in_millions(model.parameters)))
    rows.append(("size", _in_megabytes(model.bytes)))
    rows += [("learned from", source) for source in model.data]
    if model.licence is not None:
        rows.append(("licence", model.licence))
    if model.measured:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in model.measured.items())
        rows.append(("cross-validated", figures))
    rows.append(("sha256", model.sha256))
    return as_text([model.model, *(f"  {name:<17}{value}" for name, value in rows)])


def _in_millions(count: int) -> str:
    """What a few regressions have learned is less than a rounded million."""
    if count < 10_000:
        return f"{count:,}"
    return f"{count / 1e6:.2f} million"


def _in_megabytes(size: int) -> str:
    if size < 100_000:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB"


def describe_finished(result: ResultDescription) -> str:
    """The facts of a result, a line each."""
    height, width = result.shape
    rows = [
        ("slide", result.slide),
        ("model", result.model),
        ("pixels", f"{width} x {height} of {result.mpp:.4g} um"),
        ("tissue", f"{result.tissue_mm2:.3g} mm2"),
        ("nuclei", f"{result.nuclei:,}"),
        *((f"  {name}", f"{count:,}") for name, count in result.counts.items()),
        ("label images", "value by value, from 1"),
        *((f"  {name}", ", ".join(classes) or "ids of the nuclei") for name, classes in result.label_images.items()),
    ]
    if result.semantic_mm2 is not None:
        rows.append(("area by pixel", "before nuclei are separated"))
        rows += [(f"  {name}", f"{area:.3g} mm2") for name, area in result.semantic_mm2.items()]
    rows.append(("files", ", ".join(result.outputs)))
    return as_text([result.result, *(f"  {name:<16}{value}" for name, value in rows)])


def describe(slide: SlideDescription) -> str:
    """The facts, a line each."""
    rows = [
        ("format", f"{slide.vendor}, read with {slide.reader}"),
        ("resolution", slide.mpp_problem or f"{slide.mpp:.4g} um per pixel (from {slide.mpp_source})"),
    ]
    if slide.objective_power:
        rows.append(("objective", f"{slide.objective_power:g}x"))
    for number, level in enumerate(slide.levels):
        height, width = level.shape
        mpp = ""
        if level.mpp is not None:
            mpp = f", {level.mpp:.4g} um per pixel"
        rows.append((f"level {number}", f"{width} x {height} pixels{mpp}"))
    if slide.bounds:
        box = slide.bounds
        rows.append(("bounds", f"{box.shape[1]} x {box.shape[0]} pixels at x {box.x0}, y {box.y0}: QuPath's image"))
    if slide.tissue_mm2 is not None:
        rows.append(("tissue", f"{slide.tissue_mm2:.3g} mm2, {slide.tissue_share:.0%} of the slide"))
    if slide.associated:
        rows.append(("extras", ", ".join(slide.associated)))
    rows += [("note", note) for note in slide.notes]
    if slide.readers:
        rows.append(("readers", "what each of them sees; segment --reader chooses one"))
    rows += [(f"  {name}", opinion) for name, opinion in slide.readers.items()]
    return as_text([str(slide.path), *(f"  {name:<12}{value}" for name, value in rows)])
