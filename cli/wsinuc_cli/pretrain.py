"""``wsinuc pretrain``: a diffusion model from unlabelled images, or a generator from annotated ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli.options import device_option
from wsinuc_cli.overlay import given_options, refuse_foreign
from wsinuc_cli.sections import SectionedCommand
from wsinuc_cli.terminal import echo
from wsinuc_cli.training_progress import log_option, telling, training_reports

if TYPE_CHECKING:
    from wsinuc.datasets.sampling.pixels import Pixels
    from wsinuc.models.training.processes import Processes
    from wsinuc.workflows.data.sources import Choice
    from wsinuc.workflows.denoiser.config import PretrainConfig

FILE = click.Path(path_type=Path)
METHODS = ("ddpm", "nudiff-structure", "nudiff-image", "cosyn")
BELONGS = {
    "memory": ("ddpm",),
    **dict.fromkeys(("fraction",), METHODS[1:]),
    "learn_variance": METHODS[:3],
    "drop_rate": ("nudiff-image",),
}
"""Options that mean something to some methods only."""


@click.command(cls=SectionedCommand)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output", required=True, type=FILE, help="Checkpoint to write (.safetensors).")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="ddpm",
    show_default=True,
    help="A denoiser of unlabelled images; or, from annotated ones, generators of structures, of images for "
    "structures, of images with labels.",
)
@click.option(
    "--preset",
    type=click.Choice(["cpu", "small", "paper", "genselfdiff"]),
    default="cpu",
    show_default=True,
    help="cpu: an hour on two cores; paper: as published (ddpm: method A), small: narrower; "
    "genselfdiff: method D [ddpm].",
)
@click.option("--mpp", "file_mpp", type=float, metavar="UM", help="um per pixel of sources that do not say it.")
@click.option("--model-mpp", "mpp", type=float, metavar="UM", help="um per pixel to train at.")
@click.option("--base", type=int, help="Width of the network's finest level.")
@click.option("--steps", type=int, help="Steps to train.")
@click.option("--images-seen", type=int, metavar="N", help="Patches to train on, instead of --steps.")
@click.option("--batch", type=int, help="Patches per step, over all passes and GPUs.")
@click.option("--accumulate", type=int, help="Passes in which a step is computed: less memory, the same result.")
@click.option("--patch", type=int, help="Side of a patch in pixels.")
@click.option("--lr", type=float, help="(Highest) learning rate.")
@click.option("--learn-variance", is_flag=True, help="Learn the variance of the reverse steps too.")
@click.option("--drop-rate", type=float, metavar="SHARE", help="[nudiff-image] How often a structure is left out.")
@click.option(
    "--init", type=FILE, help="Start from guided-diffusion weights (.pt, .safetensors), a denoiser, a generator."
)
@click.option(
    "--where",
    "wanted",
    multiple=True,
    metavar="COLUMN=VALUE,...",
    help="Only images of data sets with these attributes.",
)
@click.option("--where-not", "unwanted", multiple=True, metavar="COLUMN=VALUE,...", help="Leave these images out.")
@click.option("--split", type=FILE, help="Split file, made by wsinuc data split.")
@click.option("--part", default="train", show_default=True, help="Part of the split file.")
@click.option("--fraction", type=float, metavar="SHARE", help="[generators] Only the most typical patches: 0.1.")
@click.option("--held-out", type=float, metavar="SHARE", help="Share of the images kept for the held-out loss.")
@click.option("--validate-every", type=int, metavar="N", help="Images seen between two held-out losses; 0: never.")
@click.option("--sample-every", type=int, metavar="N", help="Images seen between two grids of samples; 0: never.")
@click.option("--memory", default=4.0, show_default=True, metavar="GIB", help="[ddpm] Memory for pixels.")
@click.option("--seed", type=int, default=0, show_default=True)
@log_option
@device_option
@click.option("--dry-run", is_flag=True, help="Say what would be trained, on what, and what that takes; then stop.")
@click.pass_context
def pretrain(
    context: click.Context,
    /,
    sources: tuple[str, ...],
    output: Path,
    method: str,
    preset: str,
    file_mpp: float | None,
    memory: float,
    init: Path | None,
    device: str,
    dry_run: bool,
    log: Path | None,
    **options: Any,
) -> None:
    """Train a denoising diffusion model on unlabelled images, or a generator on annotated ones.

    SOURCE is a slide, an image, a folder of images, or a data set (FOLDER, or NAME=FOLDER); for a
    generator a data set that wsinuc train reads. Options that are not given are the preset's.
    Interrupted, the same command goes on where the training was last saved; a longer --steps
    continues a finished denoiser or joint generator. Several GPUs: accelerate launch -m
    wsinuc_cli.main pretrain ...

    \b
    wsinuc pretrain slides/*.svs -o denoiser.safetensors --preset paper --sample-every 100000
    wsinuc pretrain tnbc --mpp 0.25 -o denoiser.safetensors
    wsinuc pretrain tnbc monuseg --mpp 0.25 --method nudiff-structure -o structure.safetensors
    wsinuc pretrain tnbc monuseg --mpp 0.25 --method nudiff-image --init denoiser.safetensors -o image.safetensors
    """
    refuse_foreign(given_options(context), BELONGS, method)
    if preset == "genselfdiff" and method != "ddpm":
        raise click.UsageError(f"--preset genselfdiff is of --method ddpm; {method} has cpu, small and paper")
    if method != "ddpm":
        from wsinuc_cli.pretrain_generators import pretrain_generator

        shared: dict[str, Any] = {"file_mpp": file_mpp, "init": init, "device": device, "dry_run": dry_run, "log": log}
        pretrain_generator(method, sources, output, preset, **shared, **options)
        return
    from wsinuc.datasets.sampling.pixels import PixelCache
    from wsinuc.models.devices import pick_device
    from wsinuc.models.training.processes import launched_processes
    from wsinuc.workflows.data.sources import open_sources
    from wsinuc.workflows.denoiser.run import pretrain as run

    which = ("wanted", "unwanted", "split", "part", "fraction", "drop_rate")
    config = configured(preset, **{name: value for name, value in options.items() if name not in which})
    processes = launched_processes(cpu=device == "cpu")
    chosen = str(processes.device or pick_device(device))
    cache = PixelCache(round(memory * 2**30))
    choice = _choice(options)
    images = open_sources(sources, mpp=config.mpp, file_mpp=file_mpp, cache=cache, choose=choice)
    choice.check()
    if processes.main:
        _describe(images, config, chosen, processes)
    if dry_run:
        return
    chosen_by = {name: list(options[name]) for name in ("wanted", "unwanted") if options[name]}
    chosen_by |= {"split": options["split"].name, "part": options["part"]} if options["split"] else {}
    provenance = {"sources": [Path(source).name for source in sources], "preset": preset, **chosen_by}
    with telling(log, bars=None if processes.main else False) as tell:
        run(
            images,
            output,
            config,
            device=chosen,
            init=init,
            provenance=provenance,
            on_progress=training_reports(tell, method, config.fit.steps),
            processes=processes,
        )
    if processes.main:
        echo(f"Written to {output}. Next: wsinuc train DATA --denoiser {output} -o segmenter.safetensors")


def _choice(options: dict[str, Any]) -> Choice:
    """Which images of the data sets among the sources are learned from; raises DataError."""
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.datasets.sampling.split import Split
    from wsinuc.workflows.data.sources import Choice

    split = None if options["split"] is None else Split.load(options["split"])
    wanted = parse_conditions(options["wanted"])
    return Choice(wanted, parse_conditions(options["unwanted"]), split=split, part=options["part"])


def configured(
    preset: str,
    *,
    steps: int | None = None,
    images_seen: int | None = None,
    base: int | None = None,
    learn_variance: bool = False,
    **options: Any,
) -> PretrainConfig:
    """The preset with the options that were given; raises ConfigError."""
    from wsinuc.errors import ConfigError
    from wsinuc.models.networks.attention_unet import AttentionUNetConfig
    from wsinuc.workflows.denoiser.config import PRESETS

    given = {name: value for name, value in options.items() if value is not None}
    start = PRESETS[preset]
    if steps and images_seen:
        raise ConfigError("--steps and --images-seen say the same: give one of them")
    if images_seen:
        steps = max(1, images_seen // given.get("batch", start.batch))
    schedule = {"steps": steps, "lr": given.pop("lr", None), "accumulate": given.pop("accumulate", None)}
    fit = dataclasses.replace(start.fit, **{name: value for name, value in schedule.items() if value is not None})
    network: dict[str, Any] = {"out_channels": 6} if learn_variance else {}
    if base:
        network["dim" if isinstance(start.unet, AttentionUNetConfig) else "base"] = base
    return dataclasses.replace(start, fit=fit, unet=dataclasses.replace(start.unet, **network), **given)


def _describe(images: list[Pixels], config: PretrainConfig, device: str, processes: Processes) -> None:
    """What is trained, on what, and what it takes."""
    from wsinuc.datasets.sampling.pixels import SlidePixels
    from wsinuc.workflows.denoiser.report import estimate

    slides = [image for image in images if isinstance(image, SlidePixels)]
    pixels = sum(image.area for image in slides)
    pixels += sum(image.shape[0] * image.shape[1] for image in images if not isinstance(image, SlidePixels))
    takes = estimate(config, processes.count)
    counted = f"{len(images) - len(slides)} images" + (f" and {len(slides)} slides" if slides else "")
    echo(
        f"{counted}, {pixels / 1e6:.1f} Mpx at {config.mpp:g} um/px, {pixels / config.patch**2:,.0f} patches of "
        f"{config.patch} px side by side"
    )
    echo(
        f"network of {takes.parameters / 1e6:.1f} M parameters, {takes.flops_per_step / 1e12:.2f} TFLOP per "
        "step, about "
        f"{takes.memory_bytes / 2**30:.1f} GiB on the device"
    )
    others = f", {processes.count} processes" if processes.count > 1 else ""
    echo(f"{config.fit.steps} steps of {config.batch} patches: {config.images_seen:,} images on {device}{others}")
