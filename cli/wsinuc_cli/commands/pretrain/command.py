"""``wsinuc pretrain``: a diffusion model from unlabelled images, or a generator from annotated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wsinuc.own_files import check_place
from wsinuc_cli.commands.pretrain.settings import LEFT_OUT, METHODS, OWNERS, pretrain_config
from wsinuc_cli.help.sections import INPUT, SectionedCommand, option_in
from wsinuc_cli.options.common import checkpoint_option, device_option, dry_run_option, seed_option
from wsinuc_cli.options.images import condition_options, split_options
from wsinuc_cli.options.overlay import given_options, refuse_foreign
from wsinuc_cli.progress.training import log_option

FILE = click.Path(path_type=Path)


@click.command(cls=SectionedCommand)
@click.argument("sources", nargs=-1, required=True, metavar="DATA...")
@checkpoint_option
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="ddpm",
    show_default=True,
    help="A denoiser of unlabelled images; or, from annotated ones, generators of structures, of images for "
    "structures, of images with labels; or what reads their prompts.",
)
@click.option(
    "--preset",
    type=click.Choice(["cpu", "small", "paper", "genselfdiff"]),
    default="cpu",
    show_default=True,
    help="cpu: an hour on two cores; paper: as published (ddpm: method A), small: narrower; "
    "genselfdiff: method D [ddpm]. Options that are given hold with each.",
)
@click.option(
    "--init",
    type=FILE,
    help="Start from guided-diffusion weights (.pt, .safetensors), a denoiser, a generator.",
)
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(LEFT_OUT),
    help="[cosyn] What the generator shall never learn: to place nuclei at points, to read prompts, turned and "
    "restained crops. Can be repeated.",
)
@click.option(
    "--text-encoder",
    type=FILE,
    metavar="FILE|DIR",
    help="[cosyn] What reads prompts: a checkpoint of --method text-encoder, or CLIP's files.  [default: built in]",
)
@option_in(
    INPUT, "--tissue", metavar="NAME", help="[cosyn, text-encoder] Tissue (organ) of images whose data set names none."
)
@condition_options
@split_options
@click.option(
    "--fraction",
    type=float,
    metavar="SHARE",
    help="[generators] Only the most typical patches: 0.1.",
)
@click.option("--steps", type=int, help="Steps to train.")
@click.option("--images-seen", type=int, metavar="N", help="Patches to train on, instead of --steps.")
@click.option("--batch", type=int, help="Patches per step, over all passes and GPUs.")
@click.option(
    "--accumulate",
    type=int,
    help="Passes in which a step is computed: less memory, the same result.",
)
@click.option("--patch", type=int, help="Side of a patch in pixels.")
@click.option("--model-mpp", type=float, metavar="UM", help="um per pixel to train at.")
@click.option("--base", type=int, help="Width of the network's finest level.")
@click.option("--lr", type=float, help="(Highest) learning rate.")
@click.option(
    "--learn-variance", is_flag=True, help="Learn the variance of the reverse steps too [not cosyn, text-encoder]."
)
@click.option(
    "--drop-rate",
    type=float,
    metavar="SHARE",
    help="[nudiff-image] How often a structure is left out.",
)
@seed_option
@log_option
@click.option("--memory", default=4.0, show_default=True, metavar="GIB", help="[ddpm] Memory for pixels.")
@click.option("--held-out", type=float, metavar="SHARE", help="Share of the images kept for the held-out loss.")
@click.option(
    "--validate-every",
    type=int,
    metavar="N",
    help="Images seen between two held-out losses; 0: never.",
)
@click.option(
    "--sample-every",
    type=int,
    metavar="N",
    help="Images seen between two pages of samples; 0: none, of generators one at the end.",
)
@device_option
@dry_run_option("trained")
@click.pass_context
def pretrain(
    context: click.Context, /, sources: tuple[str, ...], output: Path, method: str, preset: str, **options: Any
) -> None:
    """Train a denoising diffusion model on unlabelled images, or a generator on annotated ones.

    DATA is a slide, an image, a folder of images, or a data set (FOLDER, or NAME=FOLDER); for a
    generator a data set that wsinuc train reads. Options that are not given are the preset's.
    Interrupted, the same command goes on where the training was last saved; a longer --steps
    continues a finished denoiser or joint generator. Several GPUs: accelerate launch -m
    wsinuc_cli.main pretrain ...

    \b
    wsinuc pretrain slides/*.svs -o denoiser.safetensors --preset paper --sample-every 100000
    wsinuc pretrain tnbc --mpp 0.25 -o denoiser.safetensors
    wsinuc pretrain tnbc monuseg --mpp 0.25 --method nudiff-structure -o structure.safetensors
    wsinuc pretrain tnbc monuseg --mpp 0.25 --method nudiff-image --init denoiser.safetensors -o image.safetensors
    wsinuc pretrain mine --tissue breast --method cosyn -o joint.safetensors
    """
    given = given_options(context)
    refuse_foreign(given, OWNERS, method)
    if preset == "genselfdiff" and method != "ddpm":
        has = "cpu and small" if method == "text-encoder" else "cpu, small and paper"
        raise click.UsageError(f"--preset genselfdiff is of --method ddpm; {method} has {has}")
    config: Any = pretrain_config(method, preset, given)
    check_place(output)
    if method == "ddpm":
        from wsinuc_cli.commands.pretrain.denoiser import pretrain_denoiser

        pretrain_denoiser(sources, output, preset, config, options)
    elif method == "text-encoder":
        from wsinuc_cli.commands.pretrain.text import pretrain_text

        pretrain_text(sources, output, preset, config, options)
    else:
        from wsinuc_cli.commands.pretrain.generators import pretrain_generator

        pretrain_generator(method, sources, output, preset, config, options)
