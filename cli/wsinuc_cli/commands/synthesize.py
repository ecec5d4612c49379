"""``wsinuc synthesize``: labelled images from trained generators."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc.progress_line import ProgressLine
from wsinuc_cli.help.sections import GENERATED, SectionedCommand, option_in
from wsinuc_cli.options.common import device_option, start_logging, verbosity_options
from wsinuc_cli.options.images import regions_option
from wsinuc_cli.options.overlay import given_options, overlaid, refuse_foreign
from wsinuc_cli.progress.training import Tell, log_option, telling
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
@click.option("--method", type=click.Choice(["nudiff", "cosyn"]), required=True, help="Which generator.")
@click.option("-n", "--count", type=click.IntRange(1), required=True, help="Labelled images to make.")
@click.option("-o", "--output", type=FILE, required=True, metavar="DIR", help="Folder for them, a data set.")
@click.option("--structure-model", type=FILE, help="[nudiff] Checkpoint that makes structures of nuclei.")
@click.option("--image-model", type=FILE, help="[nudiff] Checkpoint that makes an image for a structure.")
@click.option("--structures-from", metavar="DATA", help="[nudiff] New images for the nuclei of this data set instead.")
@click.option(
    "--condition",
    type=click.Choice(["instances", "raw"]),
    default="instances",
    show_default=True,
    help="[nudiff] Make the image for the structure of the labels, or for the generated one (as published).",
)
@click.option("--model", type=FILE, help="[cosyn] Checkpoint.")
@click.option(
    "--layout",
    default="random",
    show_default=True,
    metavar="random|FILE|DATA",
    help="[cosyn] Where nuclei lie: new layouts, points (CSV, GeoJSON, QuPath's zip), or those of a data set.",
)
@click.option("--prompt", "prompts", multiple=True, help="[cosyn] What images show; several are taken in turn.")
@option_in(
    GENERATED, "--tissue", "tissues", multiple=True, help="[cosyn] Tissue of the images; several are taken in turn."
)
@click.option("--text-encoder", type=FILE, metavar="DIR", help="[cosyn] CLIP's files, if it was trained with them.")
@click.option("--where", "wanted", multiple=True, metavar="COLUMN=VALUE,...", help="Only these images of DATA.")
@click.option("--where-not", "unwanted", multiple=True, metavar="COLUMN=VALUE,...", help="Leave these images out.")
@click.option("--split", type=FILE, help="Split file of DATA.")
@click.option("--part", default="train", show_default=True, help="Part of the split file.")
@click.option("--mpp", type=float, metavar="UM", help="um per pixel of DATA, if it does not record it.")
@regions_option
@click.option(
    "--guidance",
    type=float,
    metavar="W",
    help="How much more than learned the condition (nudiff: structure, cosyn: text) counts; method C's s is W + 1.  "
    "[default: 1, or 0 for networks trained without dropping it]",
)
@click.option("--sampler", type=click.Choice(["dpm++", "ddim", "ddpm"]), help="Way back from noise.")
@option_in(GENERATED, "--steps", type=int, help="Evaluations of the network per image.")
@click.option(
    "--restart",
    type=click.IntRange(0),
    default=0,
    metavar="T",
    help="Noise finished images to timestep T and go back once more: takes out grain; 150 is a good start.",
)
@option_in(GENERATED, "--size", type=int, metavar="PX", help="Side of the images.  [default: as trained]")
@click.option("--batch-size", type=int, metavar="N", help="Images computed together.  [default: 1 on a CPU, else 8]")
@click.option("--workers", type=int, help="Processes.  [default: one per core on a CPU, else 1]")
@click.option("--seed", type=int, help="Image k depends on the seed and k alone.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what it takes, and stop.")
@log_option
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

    with showing(output.name, log=options["log"], quiet=quiet, verbose=verbose) as show:
        synthesize_recipe(recipe, output, count, on_event=show)
    if not quiet:
        echo(f"{count} labelled images in {output}; look at {output / 'contact_sheet.png'}")


def _config(given: Mapping[str, Any], device: str) -> SynthesisConfig:
    """The settings with the options that were given; raises ConfigError."""
    from wsinuc.models.devices import pick_device
    from wsinuc.models.diffusion.samplers import SamplerConfig
    from wsinuc.workflows.synthesize.config import SynthesisConfig

    # Cores that this process may use; a container often has fewer than the machine.
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    # One process feeds a GPU; on a CPU each core makes samples of its own.
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

    dataset = open_dataset(source, mpp=options["mpp"], regions=options["regions"])
    if options["split"] is not None:
        dataset = Split.load(options["split"]).of(dataset, options["part"])
    return dataset.where(parse_conditions(options["wanted"]), parse_conditions(options["unwanted"]))


def _layouts(layout: str, config: SynthesisConfig, options: dict[str, Any]) -> Dataset | NucleusLayout | None:
    if layout == "random":
        return None
    # A folder is a data set, whose images lend their layouts.
    if not Path(layout).is_file():
        return _dataset(layout, options)
    from wsinuc.models.checkpoints.checkpoint import load_checkpoint
    from wsinuc.synthesis.layout_files import read_layout

    model = load_checkpoint(options["model"], "cosyn").config
    size = config.size or int(model["size"])
    return read_layout(Path(layout), [c["name"] for c in model["classes"]], (size, size))


@contextmanager
def showing(name: str, *, log: Path | None, quiet: bool, verbose: bool) -> Iterator[Callable[[SynthesisEvent], None]]:
    """What shows events of a synthesis: a bar on a terminal that no log messages disturb, else lines, or nothing."""
    # Log messages between redrawn bars would tear them.
    bars = sys.stderr.isatty() and not verbose and not quiet
    with telling(log, bars=bars, plain=_silent if quiet else partial(echo, err=True)) as tell:
        yield _lines(name, tell)


def _silent(line: str) -> None:
    """Print nothing."""


def _lines(name: str, tell: Tell) -> Callable[[SynthesisEvent], None]:
    """A line at the beginning, at the end and every few seconds; between them empty ones, which move a bar."""
    from wsinuc_cli.texts.duration import duration

    # From the first event on: loading the networks says nothing of how long samples take.
    state = {"first": -1, "begin": time.monotonic(), "last": time.monotonic()}

    def show(event: SynthesisEvent) -> None:
        now = time.monotonic()
        text = ""
        if state["first"] < 0:
            state.update(first=event.done, begin=now, last=now)
            text = f"{name}: {event.count} images"
            if event.done:
                text += f", {event.done} done before"
        elif now - state["last"] >= EVERY_S or event.done == event.count:
            state["last"] = now
            left = (now - state["begin"]) / max(1, event.done - state["first"]) * (event.count - event.done)
            wait = ""
            if event.done < event.count:
                wait = f", about {duration(left)} left"
            text = f"{name}: {event.done} of {event.count} images{wait}"
        tell(ProgressLine(text, stage=name, unit="images", done=event.done, total=event.count))

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
