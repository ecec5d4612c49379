"""``wsinuc synthesize``: labelled images from trained generators."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc.shown import shown
from wsinuc_cli.options import device_option, start_logging, verbosity_options
from wsinuc_cli.overlay import given_options, overlaid, refuse_foreign
from wsinuc_cli.sections import SectionedCommand, option
from wsinuc_cli.terminal import as_text, echo, echo_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsinuc.datasets.base import Dataset
    from wsinuc.synthesis.layouts import NucleusLayout
    from wsinuc.workflows.synthesize.config import SynthesisConfig
    from wsinuc.workflows.synthesize.cosyn import CoSynRecipe
    from wsinuc.workflows.synthesize.nudiff import NudiffRecipe
    from wsinuc.workflows.synthesize.run import SynthesisEvent, SynthesisPlan

FILE = click.Path(path_type=Path)
BELONGS = {
    **dict.fromkeys(("structure_model", "image_model", "structures_from", "condition"), ("nudiff",)),
    **dict.fromkeys(("model", "layout", "prompts", "tissues", "text_encoder"), ("cosyn",)),
}
"""Options that mean something to one method only."""
METHOD, GENERATOR, SHOWN, SAMPLING = "Method", "Generator", "What is shown", "Sampling"
FIELDS = {
    "steps": "sampler.steps",
    "restart": "sampler.restart",
    "guidance": "guidance",
    "size": "size",
    "batch_size": "batch",
    "workers": "workers",
    "seed": "seed",
}
"""Option -> the field of `SynthesisConfig` that it sets."""
EVERY_S = 5.0
"""Seconds between two plain lines."""


@click.command(cls=SectionedCommand)
@option("--method", section=METHOD, type=click.Choice(["nudiff", "cosyn"]), required=True, help="Which generator.")
@option("-n", "--count", section=METHOD, type=click.IntRange(1), required=True, help="Labelled images to make.")
@option("-o", "--output", section=METHOD, type=FILE, required=True, metavar="DIR", help="Folder for them, a data set.")
@option("--structure-model", section=GENERATOR, type=FILE, help="[nudiff] Checkpoint that makes structures of nuclei.")
@option("--image-model", section=GENERATOR, type=FILE, help="[nudiff] Checkpoint that makes an image for a structure.")
@option(
    "--structures-from",
    section=SHOWN,
    metavar="DATA",
    help="[nudiff] New images for the nuclei of this data set instead.",
)
@option(
    "--condition",
    section=GENERATOR,
    type=click.Choice(["instances", "raw"]),
    default="instances",
    show_default=True,
    help="[nudiff] Make the image for the structure of the labels, or for the generated one (as published).",
)
@option("--model", section=GENERATOR, type=FILE, help="[cosyn] Checkpoint.")
@option(
    "--layout",
    section=SHOWN,
    default="random",
    show_default=True,
    metavar="random|FILE|DATA",
    help="[cosyn] Where nuclei lie: new layouts, points (CSV, GeoJSON, QuPath's zip), or those of a data set.",
)
@option(
    "--prompt", "prompts", section=SHOWN, multiple=True, help="[cosyn] What images show; several are taken in turn."
)
@option(
    "--tissue", "tissues", section=SHOWN, multiple=True, help="[cosyn] Tissue of the images; several are taken in turn."
)
@option(
    "--text-encoder",
    section=GENERATOR,
    type=FILE,
    metavar="DIR",
    help="[cosyn] CLIP's files, if it was trained with them.",
)
@option(
    "--where", "wanted", section=SHOWN, multiple=True, metavar="COLUMN=VALUE,...", help="Only these images of DATA."
)
@option(
    "--where-not", "unwanted", section=SHOWN, multiple=True, metavar="COLUMN=VALUE,...", help="Leave these images out."
)
@option("--split", section=SHOWN, type=FILE, help="Split file of DATA.")
@option("--part", section=SHOWN, default="train", show_default=True, help="Part of the split file.")
@option("--mpp", section=SHOWN, type=float, metavar="UM", help="um per pixel of DATA, if it does not record it.")
@option(
    "--guidance",
    section=SAMPLING,
    type=float,
    metavar="W",
    help="How much more than learned the condition (nudiff: structure, cosyn: text) counts; method C's s is W + 1.  "
    "[default: 1, or 0 for networks trained without dropping it]",
)
@option("--sampler", section=SAMPLING, type=click.Choice(["dpm++", "ddim", "ddpm"]), help="Way back from noise.")
@option("--steps", section=SAMPLING, type=int, help="Evaluations of the network per image.")
@option(
    "--restart",
    section=SAMPLING,
    type=click.IntRange(0),
    default=0,
    metavar="T",
    help="Noise finished images to timestep T and go back once more: takes out grain; 150 is a good start.",
)
@option("--size", section=SAMPLING, type=int, metavar="PX", help="Side of the images  [default: as trained].")
@option(
    "--batch-size",
    section=SAMPLING,
    type=int,
    metavar="N",
    help="Images computed together  [default: 1 on a CPU, else 8].",
)
@option("--workers", section=SAMPLING, type=int, help="Processes  [default: one per core on a CPU, else 1].")
@option("--seed", section=SAMPLING, type=int, help="Image k depends on the seed and k alone.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what it takes, and stop.")
@device_option
@verbosity_options
@click.pass_context
def synthesize(
    context: click.Context,
    /,
    method: str,
    count: int,
    output: Path,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Make labelled images with generators trained by wsinuc pretrain.

    The folder is a data set: wsinuc train REAL DIR mixes it with real images, contact_sheet.png
    shows what it holds. The same command goes on after an interruption, and with a larger -n makes
    more.

    \b
    wsinuc synthesize --method nudiff --structure-model s.safetensors --image-model i.safetensors -n 512 -o synthetic
    wsinuc synthesize --method nudiff --image-model i.safetensors --structures-from tnbc --mpp 0.25 -n 512 -o new-images
    wsinuc synthesize --method cosyn --model c.safetensors --tissue colon -n 512 -o synthetic
    """
    start_logging(quiet, verbose)
    given = given_options(context)
    refuse_foreign(given, BELONGS, method)
    recipe = _recipe(method, _config(given, options["device"]), options)
    if dry_run:
        from wsinuc.workflows.synthesize.run import plan_synthesis

        echo_text(describe_plan(plan_synthesis(recipe, output, count), recipe))
        return
    from wsinuc.workflows.synthesize.run import synthesize_recipe

    with showing(output.name, quiet=quiet, verbose=verbose) as show:
        synthesize_recipe(recipe, output, count, on_event=show)
    if not quiet:
        echo(f"{count} labelled images in {output}; look at {output / 'contact_sheet.png'}")


def _config(given: Mapping[str, Any], device: str) -> SynthesisConfig:
    """The settings with the options that were given; raises ConfigError."""
    from wsinuc.models.devices import pick_device
    from wsinuc.models.diffusion.samplers import SamplerConfig
    from wsinuc.workflows.synthesize.config import SynthesisConfig

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    start = SynthesisConfig(workers=cores if pick_device(device).type == "cpu" else 1)
    if "sampler" in given:
        start = replace(start, sampler=SamplerConfig.usual(given["sampler"]))
    return overlaid(start, FIELDS, given)


def _recipe(method: str, config: SynthesisConfig, options: dict[str, Any]) -> NudiffRecipe | CoSynRecipe:
    from wsinuc.workflows.synthesize.cosyn import CoSynRecipe
    from wsinuc.workflows.synthesize.nudiff import NudiffRecipe

    if method == "nudiff":
        if options["image_model"] is None or (options["structure_model"] is None) == (
            options["structures_from"] is None
        ):
            raise click.UsageError(
                "--method nudiff needs --image-model, and either --structure-model or --structures-from"
            )
        return NudiffRecipe(
            structure_model=options["structure_model"],
            image_model=options["image_model"],
            structures=None if options["structures_from"] is None else _dataset(options["structures_from"], options),
            config=config,
            condition=options["condition"],
            device=options["device"],
        )
    if options["model"] is None:
        raise click.UsageError("--method cosyn needs --model, a checkpoint made by wsinuc pretrain --method cosyn")
    return CoSynRecipe(
        model=options["model"],
        layouts=_layouts(options["layout"], config, options),
        layout_name=Path(options["layout"]).name,
        prompts=options["prompts"],
        tissues=options["tissues"],
        config=config,
        text_encoder=options["text_encoder"],
        device=options["device"],
    )


def _dataset(source: str, options: dict[str, Any]) -> Dataset:
    """The chosen images of a data set."""
    from wsinuc.datasets import open_dataset
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.datasets.sampling.split import Split

    dataset = open_dataset(source, mpp=options["mpp"])
    if options["split"] is not None:
        dataset = Split.load(options["split"]).of(dataset, options["part"])
    return dataset.where(parse_conditions(options["wanted"]), parse_conditions(options["unwanted"]))


def _layouts(layout: str, config: SynthesisConfig, options: dict[str, Any]) -> Dataset | NucleusLayout | None:
    if layout == "random":
        return None
    if not Path(layout).is_file():
        return _dataset(layout, options)
    from wsinuc.models.checkpoints.checkpoint import load_checkpoint
    from wsinuc.synthesis.layout_files import read_layout

    model = load_checkpoint(options["model"], "cosyn").config
    size = config.size or int(model["size"])
    return read_layout(Path(layout), [c["name"] for c in model["classes"]], (size, size))


@contextmanager
def showing(name: str, *, quiet: bool, verbose: bool) -> Iterator[Callable[[SynthesisEvent], None]]:
    """What shows events of a synthesis: a bar on a terminal that no log messages disturb, else lines, or nothing."""
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty() and not verbose:
        with _bar(name) as show:
            yield show
    else:
        yield _lines(name)


@contextmanager
def _bar(name: str) -> Iterator[Callable[[SynthesisEvent], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task(shown(name), total=None)
        yield lambda event: progress.update(task, total=event.count, completed=event.done)


def _lines(name: str) -> Callable[[SynthesisEvent], None]:
    from wsinuc_cli.progress import duration

    state = {"first": -1, "begin": time.monotonic(), "last": time.monotonic()}

    def show(event: SynthesisEvent) -> None:
        now = time.monotonic()
        if state["first"] < 0:
            state.update(first=event.done, begin=now, last=now)
            echo(f"{name}: {event.count} images" + (f", {event.done} done before" if event.done else ""), err=True)
        elif now - state["last"] >= EVERY_S or event.done == event.count:
            state["last"] = now
            left = (now - state["begin"]) / max(1, event.done - state["first"]) * (event.count - event.done)
            wait = f", about {duration(left)} left" if event.done < event.count else ""
            echo(f"{name}: {event.done} of {event.count} images{wait}", err=True)

    return show


def describe_plan(plan: SynthesisPlan, recipe: NudiffRecipe | CoSynRecipe) -> str:
    """What a synthesis will do, line by line."""
    left = plan.flops_per_sample * (plan.count - plan.done)
    rows = [
        ("images", f"{plan.count} of {plan.size} x {plan.size} px at {plan.mpp:g} um per px, {plan.done} done before"),
        ("sampler", f"{plan.sampler}, {plan.steps} steps, guidance {plan.guidance:g} (s = {plan.guidance + 1:g})"),
        ("network", f"{plan.parameters / 1e6:.1f} million parameters in each of {recipe.config.workers} processes"),
        (
            "cost",
            f"{plan.flops_per_sample / 1e9:,.1f} GFLOP per image, {left / 1e12:,.1f} TFLOP in all",
        ),
        (
            "memory",
            f"at least {plan.weights_bytes * recipe.config.workers / 2**30:.2f} GiB, for the weights",
        ),
        *((role, f"sha256 {sha}") for role, sha in plan.checkpoints.items()),
    ]
    return as_text(f"  {name:<11}{value}" for name, value in rows)
