"""``wsinuc train``: a segmenter from a few annotated images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc.own_files import check_place
from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import checkpoint_option, device_option, dry_run_option, seed_option
from wsinuc_cli.options.images import FILE, condition_options, gather, split_options
from wsinuc_cli.options.overlay import given_options, overlaid, refuse_foreign
from wsinuc_cli.progress.training import log_option, telling
from wsinuc_cli.terminal import echo
from wsinuc_cli.texts.next_command import after_few_windows, measuring_command
from wsinuc_cli.texts.training_cost import echo_cost

if TYPE_CHECKING:
    from wsinuc.datasets.base import LabelledImage
    from wsinuc.workflows.data.training_set import TrainingSet
    from wsinuc.workflows.train.cross_validation import CrossValidation
    from wsinuc.workflows.train.ddpm import DdpmTrainConfig
    from wsinuc.workflows.train.network_config import NetworkTrainConfig

NETWORKS = ("finetune", "hovernet", "unet", "attention-unet")
OWNERS = {
    **dict.fromkeys(
        ("timesteps", "blocks", "features", "members", "visits", "views", "folds", "balance", "tune"), ("ddpm",)
    ),
    **dict.fromkeys(("steps", "batch", "crop", "validation", "add_share"), NETWORKS),
    **dict.fromkeys(("from_scratch", "similarity"), ("finetune",)),
    "model_mpp": ("hovernet", "unet", "attention-unet"),
    "base": ("unet", "attention-unet"),
    "width": ("hovernet",),
    "denoiser": ("ddpm", "finetune"),
}
"""Options that mean something to some methods only."""
DDPM_FIELDS = {
    "timesteps": "features.timesteps",
    "blocks": "features.blocks",
    "visits": "sampling.visits",
    "members": "members",
    "views": "views",
    "folds": "folds",
    "balance": "fit.balance",
    "separation": "separation",
    "seed": "seed",
}
NETWORK_FIELDS = {
    "steps": "fit.steps",
    "lr": "fit.lr",
    "batch": "batch",
    "crop": "crop",
    "model_mpp": "mpp",
    "base": "base",
    "width": "width",
    "similarity": "similarity",
    "separation": "separation",
    "seed": "seed",
}


if TYPE_CHECKING:
    NumbersType = click.ParamType[tuple[int, ...]]
else:
    NumbersType = click.ParamType  # which older versions of click cannot subscript


class Numbers(NumbersType):
    """Whole numbers between commas."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"expected whole numbers like 50,150, got {value!r}", param, ctx)


@click.command(cls=SectionedCommand)
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@checkpoint_option
@click.option(
    "--method",
    type=click.Choice(["ddpm", *NETWORKS]),
    default="ddpm",
    show_default=True,
    help="Pixel classifiers on a frozen denoiser; the denoiser fine-tuned; HoVer-Net; a plain U-Net; the "
    "Attention U-Net.",
)
@click.option(
    "--denoiser",
    metavar="NAME|FILE",
    help="[ddpm, finetune] The shipped denoiser, or diffusion, whose denoiser is tuned on nuclei and the better start "
    "for them; or a checkpoint, made by wsinuc "
    "pretrain or a model of the method ddpm.  [default: denoiser]",
)
@click.option(
    "--preset",
    type=click.Choice(["quick", "paper"]),
    default="quick",
    show_default=True,
    help="paper: settings as published, where they are known. Options that are given hold with either.",
)
@condition_options
@split_options
@click.option("--few", type=click.IntRange(min=1), metavar="N", help="Only N patches; OUTPUT.split.json records which.")
@click.option("--patch", default=256, show_default=True, help="With --few: side of a patch in pixels.")
@click.option("--add", "whole", multiple=True, metavar="DATA", help="More data, all of it.")
@click.option(
    "--add-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="[networks] Share of the crops that come from --add.  [default: by area]",
)
@click.option(
    "--validation",
    metavar="PART",
    help="[networks] Part of the split whose AJI decides which weights stay.",
)
@click.option(
    "--timesteps",
    type=Numbers(),
    help="[ddpm] Noise levels of the features, unless the denoiser says what suits it.",
)
@click.option(
    "--blocks",
    type=Numbers(),
    help="[ddpm] Decoder blocks of the features, likewise.",
)
@click.option("--features", type=FILE, help="[ddpm] best.json of wsinuc sweep, instead of the two above.")
@click.option("--members", type=int, help="[ddpm] Pixel classifiers in the ensemble.")
@click.option("--visits", type=int, help="[ddpm] Augmented views of every image.")
@click.option(
    "--views",
    type=click.IntRange(1, 4),
    help="[ddpm] Ways in which segmenting sees every tile; each costs a pass.",
)
@click.option(
    "--folds",
    type=int,
    metavar="N",
    help="[ddpm] Folds of the cross-validation, whole patients each, or slides or images where these are not known; "
    "0 for none.  [default: 4 where images are few, up to 32 windows of 256 px]",
)
@click.option(
    "--balance",
    type=click.FloatRange(0, 1),
    help="[ddpm] How far classes of nuclei are told apart as if all were equally frequent: 1 fully, 0 not at all.",
)
@click.option(
    "--tune",
    type=int,
    metavar="STEPS",
    help="[ddpm] First tune the denoiser through its classifiers.",
)
@click.option("--steps", type=int, help="[networks] Training steps.")
@click.option("--batch", type=int, help="[networks] Crops per step.")
@click.option("--crop", type=int, help="[networks] Side of a crop in pixels.")
@click.option(
    "--lr",
    type=float,
    help="Highest learning rate: of the network, of the pixel classifiers, or of --tune.",
)
@click.option("--model-mpp", type=float, metavar="UM", help="[hovernet, U-Nets] um per pixel.")
@click.option("--base", type=int, help="[U-Nets] Width of the finest level.")
@click.option("--width", type=float, help="[hovernet] Channels relative to the published ones.")
@click.option(
    "--similarity",
    type=click.Choice(["pixel", "scalar"]),
    help="[finetune] Structural-similarity loss per pixel, or the scalar form as released.",
)
@click.option("--from-scratch", is_flag=True, help="[finetune] The denoiser's network, but random weights.")
@click.option(
    "--separation",
    type=click.Choice(["distance", "hv"]),
    help="Map that tells touching nuclei apart.",
)
@seed_option
@log_option
@dry_run_option("trained")
@device_option
@click.pass_context
def train(context: click.Context, /, data: tuple[str, ...], output: Path, device: str, **options: Any) -> None:
    """Train a segmenter on annotated images.

    DATA is a data set as published (wsinuc data info says whether it is recognised) or a folder
    with images/ and labels/ (integer PNGs, one number per nucleus). Several are mixed. Options
    marked with a method belong to it alone; defaults in brackets are those of the preset.

    From few windows, method ddpm is cross-validated: each window is predicted by a model that has
    not seen it, and OUTPUT.windows.html shows them all.

    \b
    wsinuc train windows/ --mpp 0.25 -o mine.safetensors
    wsinuc train windows/ --mpp 0.25 --denoiser diffusion -o mine.safetensors
    wsinuc train PanNuke --few 28 --seed 1 --denoiser denoiser.safetensors --preset paper -o few.safetensors
    wsinuc train tnbc --mpp 0.25 --method finetune --denoiser denoiser.safetensors -o tuned.safetensors
    wsinuc train tnbc --mpp 0.25 --method unet -o unet.safetensors
    """
    method = options["method"]
    given = given_options(context)
    refuse_foreign(given, OWNERS, method)
    _check_validation(data, options)
    denoiser = None
    if method in OWNERS["denoiser"]:
        denoiser = _denoiser(options["denoiser"])
    config: DdpmTrainConfig | NetworkTrainConfig
    if denoiser is not None and method == "ddpm":
        config = ddpm_config(options["preset"], given, denoiser)
    else:
        config = network_config(method, options["preset"], given)
    # Before any image is read: a wrong folder should not show after hours of training.
    check_place(output)
    chosen = gather(data, options)
    _describe(method, chosen)
    if options["dry_run"]:
        _validation(data, options)  # raises for a split or a part that is not there
        _say_cost(chosen, config, denoiser)
        return
    if chosen.drawn is not None:
        # Beside the model, so that it can be evaluated on the images it has not seen.
        chosen.drawn.save(output.with_suffix(".split.json"))
    validation = _validation(data, options)
    # PyTorch is imported here, and not before a wrong option is found.
    from wsinuc.workflows.methods.train import train as train_segmenter

    with telling(options["log"]) as tell:
        measured = train_segmenter(
            chosen.images,
            output,
            config,
            classes=chosen.classes,
            denoiser=denoiser,
            validation=validation,
            weights=chosen.weights,
            device=device,
            provenance={"data": list(chosen.origin)},
            on_event=tell,
        )
    if measured is not None:
        _say_measured(measured, output, after_few_windows(data[0], options["mpp"], output))
        return
    if method == "ddpm" and options["folds"] is None and len(chosen.images) == 1:
        echo(
            "One window: the model could not measure itself, because there is none that it has not seen. Annotate a "
            "second one, better on another part of the tissue."
        )
    after = measuring_command(data[0], options, output)
    echo(f"Written to {output}. Next: {after}")


def _describe(method: str, chosen: TrainingSet) -> None:
    """What is learned from."""
    from wsinuc.workflows.data.training_set import count_nuclei

    names = ", ".join(each.name for each in chosen.classes)
    echo(f"{method}: {len(chosen.images)} images, {count_nuclei(chosen.images):,} nuclei; classes: {names}")


def _say_measured(measured: CrossValidation, output: Path, following: str) -> None:
    """Print what the model measured of itself, and write the page of windows."""
    from wsinuc.workflows.train.windows_report import class_lines, window_lines, write_windows_page

    echo(f"Each window as a model predicts it that has not seen it ({measured.folds} folds of {measured.kin}):")
    for line in (*window_lines(measured), *class_lines(measured)):
        echo(line)
    page = write_windows_page(measured, output, following)
    echo(f"Written to {output}, and every window to {page}. Next: {following}")


def _say_cost(chosen: TrainingSet, config: DdpmTrainConfig | NetworkTrainConfig, denoiser: Path | None) -> None:
    """What the training takes; opens every checkpoint that is named."""
    from wsinuc.workflows.train.cost import ddpm_cost, network_cost
    from wsinuc.workflows.train.ddpm import DdpmTrainConfig

    if isinstance(config, DdpmTrainConfig):
        assert denoiser is not None  # the command has found it
        takes = ddpm_cost(chosen.images, config, chosen.classes, denoiser)
    else:
        takes = network_cost(config, chosen.classes, denoiser)
    echo_cost(takes)


def _denoiser(name: str | None) -> Path:
    """The file that holds the denoiser; raises CheckpointError for one that is none, before any image is read."""
    from wsinuc.models.checkpoints.inner_denoiser import require_denoiser_header
    from wsinuc.segmenters import denoiser_path

    path = denoiser_path(name)
    require_denoiser_header(path)
    return path


def ddpm_config(preset: str, given: dict[str, Any], denoiser: Path) -> DdpmTrainConfig:
    """The settings of method A: the preset, with the features that suit the denoiser, with what was given.

    Raises
    ------
    ConfigError
        A value is one that the settings refuse.
    CheckpointError
        The file holds no denoiser.
    """
    from wsinuc.models.checkpoints.inner_denoiser import require_denoiser_header
    from wsinuc.workflows.train.ddpm import DdpmTrainConfig
    from wsinuc.workflows.train.finetune import FinetuneConfig
    from wsinuc.workflows.train.sweep_report import read_best

    if preset == "paper":
        config = DdpmTrainConfig.paper()
    else:
        config = DdpmTrainConfig().suited(require_denoiser_header(denoiser))
    # Options that stand for more than one field get their path only when they are given.
    paths = dict(DDPM_FIELDS)
    if given.get("features") is not None:
        given = {**given, "all_features": read_best(given["features"])}
        paths["all_features"] = "features"
    if given.get("tune"):
        given = {**given, "tuning": FinetuneConfig.of_steps(given["tune"], seed=given.get("seed", config.seed))}
        paths["tuning"] = "tuning"
    if "tuning" in paths:
        paths["lr"] = "tuning.fit.lr"
    else:
        paths["lr"] = "fit.lr"
    return overlaid(config, paths, given)


def network_config(method: str, preset: str, given: dict[str, Any]) -> NetworkTrainConfig:
    """The settings of a network that segments in one pass: the preset with what was given; raises ConfigError."""
    from wsinuc.workflows.train.network_config import NetworkTrainConfig

    if preset == "paper":
        config = NetworkTrainConfig.paper(method)
    else:
        config = NetworkTrainConfig.quick(method)
    if given.get("from_scratch"):
        given = {**given, "pretrained": False}
    return overlaid(config, {**NETWORK_FIELDS, "pretrained": "pretrained"}, given)


def _check_validation(data: tuple[str, ...], options: dict[str, Any]) -> None:
    """Raise UsageError where nothing but what is learned from could decide which weights are kept."""
    if options["validation"] is None:
        return
    if options["split"] is None or len(data) > 1:
        raise click.UsageError("--validation names a part of --split, of one data set")
    if options["validation"] == options["part"]:
        raise click.UsageError(f"--part and --validation are both {options['part']!r}: keep images back for it")


def _validation(data: tuple[str, ...], options: dict[str, Any]) -> Sequence[LabelledImage]:
    """Images of the split's part that decides which weights are kept; none without one."""
    from wsinuc.datasets import open_dataset
    from wsinuc.datasets.sampling.split import Split

    if options["validation"] is None:
        return ()
    dataset = open_dataset(data[0], mpp=options["mpp"], regions=options["regions"])
    return list(Split.load(options["split"]).of(dataset, options["validation"]))
