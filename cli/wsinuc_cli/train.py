"""``wsinuc train``: a segmenter from a few annotated images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli import train_joining, train_points
from wsinuc_cli.options import device_option

if TYPE_CHECKING:
    from wsinuc.datasets.base import LabelledImage
    from wsinuc.workflows.data.training_set import TrainingSet
    from wsinuc.workflows.train.ddpm import DdpmTrainConfig
    from wsinuc.workflows.train.network_config import NetworkTrainConfig

FILE = click.Path(path_type=Path)
ONLY_DDPM = ("timesteps", "blocks", "features", "members", "visits", "tune", "views")
ONLY_NETWORKS = (
    "steps",
    "batch",
    "crop",
    "lr",
    "model_mpp",
    "base",
    "width",
    "similarity",
    "from_scratch",
    "validation",
    "add_share",
)


@click.command()
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option("-o", "--output", required=True, type=FILE, help="Checkpoint to write (.safetensors).")
@click.option(
    "--method",
    type=click.Choice(["ddpm", "finetune", "hovernet", "unet"]),
    default="ddpm",
    show_default=True,
    help="Pixel classifiers on a frozen denoiser; the denoiser fine-tuned; HoVer-Net; a plain U-Net.",
)
@click.option(
    "--points", is_flag=True, help="DATA marks nuclei with points: learn the classes of nuclei that --model finds."
)
@click.option(
    "--joining", is_flag=True, help="Learn which fragments of nuclei --model should join; OUTPUT is it with that rule."
)
@click.option(
    "--model",
    default="default",
    show_default=True,
    metavar="BASE",
    help="[points, joining] Shipped model or checkpoint that segments.",
)
@click.option("--folds", default=5, show_default=True, help="[points] Parts of the cross-validation by image; 0: none.")
@click.option(
    "--permutations", default=100, show_default=True, help="[points] Trainings on shuffled classes, against chance."
)
@click.option("--denoiser", type=FILE, help="Checkpoint made by wsinuc pretrain (for ddpm and finetune).")
@click.option("--mpp", type=float, metavar="UM", help="um per pixel of images that do not record it.")
@click.option("--where", "wanted", multiple=True, metavar="COLUMN=VALUE,...", help="Only images with these attributes.")
@click.option("--where-not", "unwanted", multiple=True, metavar="COLUMN=VALUE,...", help="Leave these images out.")
@click.option("--split", type=FILE, help="Split file (wsinuc data split, or one that --few wrote).")
@click.option("--part", default="train", show_default=True, help="Part of the split file.")
@click.option(
    "--add", "whole", multiple=True, metavar="DATA", help="More data, all of it: what wsinuc synthesize made."
)
@click.option(
    "--add-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="[networks] Share of the crops that come from --add.  [default: by area]",
)
@click.option("--few", type=int, metavar="N", help="Only N patches, stratified; OUTPUT.split.json records which.")
@click.option("--validation", metavar="PART", help="[networks] Part of the split whose AJI decides which weights stay.")
@click.option("--patch", default=256, show_default=True, help="With --few: side of a patch in pixels of the images.")
@click.option("--separation", type=click.Choice(["distance", "hv"]), help="Map that tells touching nuclei apart.")
@click.option(
    "--preset",
    type=click.Choice(["quick", "paper"]),
    default="quick",
    show_default=True,
    help="paper: settings as published, where they are known; options that are given still hold.",
)
@click.option(
    "--timesteps", default="50,150", show_default=True, help="[ddpm] Noise levels at which features are read."
)
@click.option(
    "--blocks", default="3,4,5,6", show_default=True, help="[ddpm] Decoder blocks whose outputs are features."
)
@click.option("--features", type=FILE, help="[ddpm] best.json of wsinuc sweep, instead of the two above.")
@click.option("--members", default=5, show_default=True, help="[ddpm] Pixel classifiers in the ensemble.")
@click.option("--visits", default=8, show_default=True, help="[ddpm] Augmented views of every image.")
@click.option(
    "--views",
    type=click.IntRange(1, 4),
    default=1,
    show_default=True,
    help="[ddpm] Ways in which segmenting sees every tile; each costs a pass.",
)
@click.option("--tune", default=0, metavar="STEPS", help="[ddpm] First tune the denoiser through its classifiers.")
@click.option("--from-scratch", is_flag=True, help="[finetune] The denoiser's network, but random weights.")
@click.option("--steps", type=int, help="[networks] Training steps [default: 2000; paper 20000].")
@click.option("--batch", type=int, help="[networks] Crops per step [default: 8].")
@click.option("--crop", type=int, help="[networks] Side of a crop in pixels of the model [default: 128; hovernet 256].")
@click.option(
    "--lr", default=1e-3, show_default=True, help="[networks] Highest learning rate; it falls along a cosine."
)
@click.option("--model-mpp", type=float, metavar="UM", help="[hovernet, unet] um per pixel [default: 0.5; paper 0.25].")
@click.option("--base", default=32, show_default=True, help="[unet] Width of the finest level.")
@click.option("--width", default=1.0, show_default=True, help="[hovernet] Channels relative to the published ones.")
@click.option(
    "--similarity",
    type=click.Choice(["pixel", "scalar"]),
    default="pixel",
    show_default=True,
    help="[finetune] Structural-similarity loss per pixel, or the scalar form as released.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--dry-run", is_flag=True, help="Say what would be trained on, and stop.")
@device_option
@click.pass_context
def train(context: click.Context, data: tuple[str, ...], output: Path, device: str, **options: Any) -> None:
    """Train a segmenter on annotated images.

    DATA is a data set as published (wsinuc data info says whether it is recognised) or a folder
    with images/ and labels/ (integer PNGs, one number per nucleus). Several are mixed. Options
    marked with a method belong to it alone.

    \b
    wsinuc train tnbc --mpp 0.25 --where-not patient=09,10,11 --denoiser denoiser.safetensors -o mine.safetensors
    wsinuc train PanNuke --few 28 --seed 1 --denoiser denoiser.safetensors --preset paper -o few.safetensors
    wsinuc train tnbc --mpp 0.25 --method finetune --denoiser denoiser.safetensors -o tuned.safetensors
    wsinuc train tnbc --mpp 0.25 --method unet -o unet.safetensors
    wsinuc train NuCLS --points --model default -o breast.safetensors
    wsinuc train mine/ --mpp 0.25 --joining --model fast -o joined.safetensors
    """
    method = options["method"]
    _refuse_mode_options(context, points=options["points"], joining=options["joining"])
    if options["points"]:
        train_points.run(data, output, device, options)
        return
    if options["joining"]:
        part = {name: options[name] for name in ("seed", "dry_run")}
        train_joining.run(_training_set(data, options), options["model"], output, device=device, **part)
        return
    _refuse_foreign_options(context, method)
    if method in ("ddpm", "finetune") and options["denoiser"] is None:
        raise click.UsageError(f"--method {method} needs --denoiser, a checkpoint made by wsinuc pretrain")
    from wsinuc.workflows.train.ddpm import train_ddpm
    from wsinuc.workflows.train.networks import train_network

    chosen = _training_set(data, options)
    count = sum(len(set(image.labels[image.labels > 0].tolist())) for image in chosen.images)
    names = ", ".join(c.name for c in chosen.classes)
    click.echo(f"{method}: {len(chosen.images)} images, {count:,} nuclei; classes: {names}")
    if options["dry_run"]:
        return
    if chosen.drawn is not None:
        chosen.drawn.save(output.with_suffix(".split.json"))
    origin = {"data": list(chosen.origin)}
    start = options["denoiser"]
    if method == "ddpm":
        config = _ddpm_config(options)
        train_ddpm(
            chosen.images, chosen.classes, start, output, config, device=device, provenance=origin, on_event=click.echo
        )
    else:
        train_network(
            chosen.images,
            chosen.classes,
            output,
            _network_config(options),
            denoiser=start,
            device=device,
            weights=chosen.weights,
            provenance=origin,
            on_event=click.echo,
            validation=_validation(data, options),
        )
    click.echo(f"Written to {output}. Next: wsinuc segment slide.svs --model {output}")


def _refuse_foreign_options(context: click.Context, method: str) -> None:
    """An option that the method would ignore is a mistake of the user's that should not cost a training."""
    foreign = ONLY_NETWORKS if method == "ddpm" else ONLY_DDPM
    for name in foreign:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} means nothing to --method {method}")


def _refuse_mode_options(context: click.Context, *, points: bool, joining: bool) -> None:
    """The same for what belongs to --points or --joining, and for what does not."""
    if points and joining:
        raise click.UsageError("--points and --joining are two trainings: one after the other")
    mode, own = ("--points", train_points.OPTIONS) if points else ("--joining", train_joining.OPTIONS)
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE or name == "device":
            continue
        if (points or joining) and name not in own:
            raise click.UsageError(f"{parameter.opts[0]} means nothing with {mode}")
        if not (points or joining) and name in train_points.ONLY_POINTS:
            needed = "--points or --joining" if name in train_joining.OPTIONS else "--points"
            raise click.UsageError(f"{parameter.opts[0]} means nothing without {needed}")


def _training_set(data: tuple[str, ...], options: dict[str, Any]) -> TrainingSet:
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.workflows.data.training_set import Selection, gather_training_set

    selection = Selection(
        wanted=parse_conditions(options["wanted"]),
        unwanted=parse_conditions(options["unwanted"]),
        **{name: options[name] for name in ("split", "part", "few", "patch", "seed")},
    )
    return gather_training_set(
        data,
        mpp=options["mpp"],
        selection=selection,
        whole=options["whole"],
        whole_share=options["add_share"],
    )


def _validation(data: tuple[str, ...], options: dict[str, Any]) -> Sequence[LabelledImage]:
    """Images of the split's part that decides which weights are kept; none without one."""
    from wsinuc.datasets import open_dataset
    from wsinuc.datasets.sampling.split import Split

    if options["validation"] is None:
        return ()
    if options["split"] is None or len(data) > 1:
        raise click.UsageError("--validation names a part of --split, of one data set")
    return list(Split.load(options["split"]).of(open_dataset(data[0], mpp=options["mpp"]), options["validation"]))


def _ddpm_config(options: dict[str, Any]) -> DdpmTrainConfig:
    from wsinuc.models.features.extractor import FeatureConfig
    from wsinuc.models.training.loop import FitConfig
    from wsinuc.workflows.train.ddpm import DdpmTrainConfig
    from wsinuc.workflows.train.finetune import FinetuneConfig
    from wsinuc.workflows.train.pixel_table import SamplingConfig
    from wsinuc.workflows.train.sweep import read_best

    if options["features"] is not None:
        features = read_best(options["features"])
    else:
        features = FeatureConfig(timesteps=_numbers(options["timesteps"]), blocks=_numbers(options["blocks"]))
    separation = options["separation"] or "distance"
    if options["preset"] == "paper":
        published = DdpmTrainConfig.paper(features, seed=options["seed"])
        return replace(published, separation=separation, views=options["views"])
    tuning = None
    if steps := options["tune"]:
        fit = FitConfig(steps=steps, lr=1e-3, warmup=50, cosine=True, weight_decay=0.01, ema=0.99, save_every=100)
        last = FitConfig(steps=max(1, steps // 3), lr=5e-4, warmup=20, cosine=True, weight_decay=0.01, ema=0.99)
        tuning = FinetuneConfig(fit=fit, ensemble_fit=last, seed=options["seed"])
    return DdpmTrainConfig(
        features=features,
        sampling=SamplingConfig(visits=options["visits"]),
        separation=separation,
        members=options["members"],
        views=options["views"],
        tuning=tuning,
        seed=options["seed"],
    )


def _network_config(options: dict[str, Any]) -> NetworkTrainConfig:
    from wsinuc.models.training.loop import FitConfig
    from wsinuc.workflows.train.network_config import NetworkTrainConfig

    method = options["method"]
    if method == "finetune" and options["model_mpp"] is not None:
        raise click.UsageError("--model-mpp means nothing to --method finetune: the denoiser decides the resolution")
    given = {name: options[name] for name in ("crop", "batch") if options[name] is not None}
    given |= {"mpp": options["model_mpp"]} if options["model_mpp"] is not None else {}
    fixed = {name: options[name] for name in ("separation", "similarity", "base", "width", "seed")}
    rates = {name: options[name] for name in ("steps", "lr") if options[name] is not None}
    if options["preset"] == "paper":
        config = NetworkTrainConfig.paper(method, **fixed, **given)
        return replace(config, fit=replace(config.fit, **rates), pretrained=not options["from_scratch"])
    given = ({"crop": 256} if method == "hovernet" else {}) | given
    fit = FitConfig(**({"steps": 2000, "lr": 1e-3} | rates), warmup=50, cosine=True, weight_decay=0.01, ema=0.99)
    return NetworkTrainConfig(method=method, fit=fit, pretrained=not options["from_scratch"], **fixed, **given)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected whole numbers like 50,150, got {text!r}") from None
