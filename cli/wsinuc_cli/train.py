"""``wsinuc train``: a segmenter from a denoiser and a few annotated images."""

from __future__ import annotations

from pathlib import Path

import click

from wsinuc_cli.options import device_option

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("data", type=FILE, metavar="DATA")
@click.option("--denoiser", required=True, type=FILE, help="Checkpoint made by wsinuc pretrain.")
@click.option("-o", "--output", required=True, type=FILE, help="Checkpoint to write (.safetensors).")
@click.option("--mpp", type=float, metavar="UM", help="um per pixel of the images, unless the manifest has it.")
@click.option("--where", "wanted", multiple=True, metavar="COLUMN=VALUE,...", help="Only images with these attributes.")
@click.option("--where-not", "unwanted", multiple=True, metavar="COLUMN=VALUE,...", help="Leave these images out.")
@click.option("--timesteps", default="50,150", show_default=True, help="Noise levels at which features are read.")
@click.option("--blocks", default="3,4,5,6", show_default=True, help="Decoder blocks whose outputs are features.")
@click.option("--separation", type=click.Choice(["distance", "hv"]), default="distance", show_default=True)
@click.option(
    "--finetune", default=0, show_default=True, metavar="STEPS", help="First tune the denoiser itself so long."
)
@click.option("--members", default=5, show_default=True, help="Pixel classifiers in the ensemble.")
@click.option("--visits", default=8, show_default=True, help="Augmented views of every image.")
@click.option("--seed", default=0, show_default=True)
@device_option
def train(
    data: Path,
    denoiser: Path,
    output: Path,
    mpp: float | None,
    wanted: tuple[str, ...],
    unwanted: tuple[str, ...],
    timesteps: str,
    blocks: str,
    separation: str,
    finetune: int,
    members: int,
    visits: int,
    seed: int,
    device: str,
) -> None:
    """Train pixel classifiers on a denoiser's features.

    DATA is a folder with images/, labels/ (integer PNGs, one number per nucleus) and manifest.csv.

    \b
    wsinuc train tnbc --mpp 0.25 --where-not patient=09,10,11 --denoiser denoiser.safetensors -o mine.safetensors
    wsinuc segment slide.svs --model mine.safetensors
    """
    from wsinuc.datasets import open_dataset
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.models.features import FeatureConfig
    from wsinuc.models.training import FitConfig
    from wsinuc.tasks.finetune import FinetuneConfig
    from wsinuc.tasks.pixel_table import SamplingConfig
    from wsinuc.tasks.train_ddpm import NUCLEUS, DdpmTrainConfig, train_ddpm

    dataset = open_dataset(data, mpp=mpp).where(parse_conditions(wanted), parse_conditions(unwanted))
    tuning = None
    if finetune:
        fit = FitConfig(steps=finetune, lr=1e-3, warmup=50, cosine=True, weight_decay=0.01, ema=0.99, save_every=100)
        last = FitConfig(steps=max(1, finetune // 3), lr=5e-4, warmup=20, cosine=True, weight_decay=0.01, ema=0.99)
        tuning = FinetuneConfig(fit=fit, ensemble_fit=last, seed=seed)
    config = DdpmTrainConfig(
        features=FeatureConfig(timesteps=_numbers(timesteps), blocks=_numbers(blocks)),
        sampling=SamplingConfig(visits=visits),
        separation=separation,
        members=members,
        tuning=tuning,
        seed=seed,
    )
    classes = dataset.classes or (NUCLEUS,)
    train_ddpm(list(dataset), classes, denoiser, output, config, device=device, on_event=click.echo)
    click.echo(f"Written to {output}. Next: wsinuc segment slide.svs --model {output}")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected whole numbers like 50,150, got {text!r}") from None
