"""``wsinuc pretrain``: a diffusion model from unlabelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsinuc_cli.options import device_option

if TYPE_CHECKING:
    from wsinuc.models.training import Progress
    from wsinuc.tasks.pretrain import PretrainConfig


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE...")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Checkpoint to write (.safetensors)."
)
@click.option("--mpp", "file_mpp", type=float, metavar="UM", help="um per pixel of sources that do not say it.")
@click.option("--model-mpp", default=0.5, show_default=True, metavar="UM", help="um per pixel to train at.")
@click.option("--base", default=32, show_default=True, help="Width of the network's finest level.")
@click.option("--steps", default=2000, show_default=True)
@click.option("--batch", default=16, show_default=True, help="Patches per step.")
@click.option("--patch", default=64, show_default=True, help="Side of a patch in pixels.")
@click.option("--lr", default=1e-3, show_default=True, help="Highest learning rate; it falls along a cosine.")
@click.option("--fields", default=64, show_default=True, help="Most 1024 px fields of tissue taken from one slide.")
@click.option("--seed", default=0, show_default=True)
@device_option
@click.option("--dry-run", is_flag=True, help="Say what would be trained on, and stop.")
def pretrain(
    sources: tuple[Path, ...],
    output: Path,
    file_mpp: float | None,
    model_mpp: float,
    base: int,
    steps: int,
    batch: int,
    patch: int,
    lr: float,
    fields: int,
    seed: int,
    device: str,
    dry_run: bool,
) -> None:
    """Train a denoising diffusion model on unlabelled images.

    SOURCE is a slide, an image, a folder of images, or a data set. Interrupted, the same command goes on where the training
    was last saved; a longer --steps continues a finished one.

    \b
    wsinuc pretrain slides/*.svs -o denoiser.safetensors
    wsinuc pretrain tnbc --mpp 0.25 -o denoiser.safetensors
    """
    from wsinuc.models.devices import pick_device
    from wsinuc.tasks import pretrain as task
    from wsinuc.tasks.sources import gather_images

    config = _config(model_mpp, base, steps, batch, patch, lr, seed)
    chosen = pick_device(device)
    images = gather_images(sources, mpp=model_mpp, file_mpp=file_mpp, fields=fields, seed=seed)
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    click.echo(
        f"{len(images)} images, {pixels / 1e6:.1f} Mpx at {model_mpp:g} um/px; {steps} steps of {batch} patches on {chosen}"
    )
    if not dry_run:
        task.pretrain(images, output, config, device=str(chosen), on_progress=_report)
        click.echo(f"Written to {output}. Next: wsinuc train DATA --denoiser {output} -o segmenter.safetensors")


def _config(mpp: float, base: int, steps: int, batch: int, patch: int, lr: float, seed: int) -> PretrainConfig:
    from wsinuc.models.training import FitConfig
    from wsinuc.models.unet import UNetConfig
    from wsinuc.tasks.pretrain import PretrainConfig

    return PretrainConfig(
        mpp=mpp,
        patch=patch,
        batch=batch,
        unet=UNetConfig(
            base=base, multipliers=(1, 2, 4, 4), res_blocks=1, attention_factors=(), middle_attention=False
        ),
        fit=FitConfig(steps=steps, lr=lr, warmup=100, cosine=True, weight_decay=0.01, ema=0.999, save_every=200),
        timestep_power=2.0,
        seed=seed,
    )


def _report(progress: Progress) -> None:
    click.echo(f"step {progress.step:6d}  loss {progress.loss:.4f}  {progress.seconds:6.0f} s")
