"""``wsinuc.pretrain``: tissue to a denoiser, or annotated images to a generator, by what the settings are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsinuc.arguments import came
from wsinuc.datasets.sampling.pixels import PixelCache
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.cosyn import KIND as COSYN
from wsinuc.models.conditioning.text_encoders import open_text_encoder
from wsinuc.models.devices import pick_device
from wsinuc.models.training.loop import Progress
from wsinuc.models.training.processes import ALONE, launched_processes
from wsinuc.models.training.state import read_log
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.data.sources import open_sources
from wsinuc.workflows.denoiser.config import PretrainConfig
from wsinuc.workflows.denoiser.run import pretrain as train_denoiser
from wsinuc.workflows.generators.config import GeneratorConfig
from wsinuc.workflows.generators.cosyn import train_cosyn
from wsinuc.workflows.generators.cosyn_config import CoSynTrainConfig
from wsinuc.workflows.generators.nudiff import train_generator
from wsinuc.workflows.generators.text_config import TextTrainConfig
from wsinuc.workflows.generators.text_encoder import train_text_encoder
from wsinuc.workflows.methods.distill import MEMORY
from wsinuc.workflows.methods.inputs import (
    AnnotatedImages,
    Tell,
    Tissue,
    annotated_images,
    checkpoint_place,
    classes_of,
    names_of,
    nobody,
    sources_of,
)
from wsinuc.workflows.training.session import Session

AnyPretrainConfig = PretrainConfig | GeneratorConfig | CoSynTrainConfig | TextTrainConfig
"""Settings of a method; which of the four says the method."""
_OWNERS = {
    "mpp": (PretrainConfig,),
    "classes": (CoSynTrainConfig, TextTrainConfig),
    "init": (PretrainConfig, GeneratorConfig, CoSynTrainConfig),
    "text_encoder": (CoSynTrainConfig,),
    "weights": (PretrainConfig, CoSynTrainConfig),
}
"""Arguments that mean something to some methods only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretraining:
    """A training that `wsinuc.pretrain` has brought to its end."""

    path: Path
    """The checkpoint; its log (``.jsonl``) and curves (``.png``) lie beside it."""
    kind: str
    """Of the checkpoint: ``denoiser``, ``nudiff-structure``, ``nudiff-image``, ``cosyn`` or ``text-encoder``."""
    steps: int
    """Steps that were made, those of an interrupted training among them."""
    loss: float
    """Mean over the last steps."""
    held_out_loss: float | None
    """The last one that was measured; None where none was."""


def pretrain(
    images: Tissue | AnnotatedImages,
    out: PathLike,
    config: AnyPretrainConfig | None = None,
    *,
    mpp: float | None = None,
    classes: Sequence[NucleusClass] | None = None,
    init: PathLike | None = None,
    text_encoder: PathLike | None = None,
    weights: Sequence[float] | None = None,
    device: str = "auto",
    provenance: dict[str, Any] | None = None,
    on_event: Tell | None = None,
) -> Pretraining:
    """Train a denoiser on unlabelled tissue, or a generator on annotated images, and write its checkpoint.

    The state beside the checkpoint lets the same call continue an interrupted training. Under ``torchrun`` or
    ``accelerate launch`` every process makes this call, and they share each batch.

    Parameters
    ----------
    images
        For a denoiser slides, images, folders of them and data sets, by path or open. For the other methods a data set
        (`wsinuc.open_dataset`), its path, a part of it, or annotated images.
    out
        File of the checkpoint (``.safetensors``), in a folder that exists.
    config
        `wsinuc.PretrainConfig` for a denoiser, `wsinuc.GeneratorConfig` for structures or for their images,
        `wsinuc.CoSynTrainConfig` for images together with labels, `wsinuc.TextTrainConfig` for what reads the prompts
        of the latter. None takes ``wsinuc.PretrainConfig.preset("cpu")``.
    mpp
        Of a denoiser: um per pixel of files that do not say it.
    classes
        Of joint generators and text encoders: what a nucleus can be, in the order of the images' class numbers; None
        takes the data set's.
    init
        Weights to start from: a checkpoint that fits, or public guided-diffusion weights for a denoiser.
    text_encoder
        Of joint generators: a checkpoint of a text encoder, or the folder of CLIP's files; None takes the built-in one.
    weights
        How often each image is drawn, relative to the others; None draws by area.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    provenance
        What the checkpoint records of the data; None records the names of what a denoiser has seen.
    on_event
        Called with a line of text on what is done.

    Returns
    -------
    Pretraining
        The checkpoint's path and kind, steps, and losses.

    Raises
    ------
    ConfigError
        The settings are of no such training, or an argument is given that means nothing to it.
    DataError, MppError
        There is nothing to learn from, a file cannot be read or does not say its resolution, or classes do not fit.
    CheckpointError, DeviceError
        First weights or the state do not fit, or there is no such device.
    DeviceMemoryError, TrainingError
        The device's memory is too small, or the loss is no number any more.
    OutputError
        The checkpoint cannot be written there.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> import wsinuc
    >>> config = replace(wsinuc.PretrainConfig.preset("cpu").lasting(1), patch=32, batch=1)
    >>> denoiser = tempfile.mkdtemp() + "/denoiser.safetensors"
    >>> trained = wsinuc.pretrain("examples/data/field.png", denoiser, config, mpp=0.5, device="cpu")
    >>> trained.kind, trained.steps, trained.path.name
    ('denoiser', 1, 'denoiser.safetensors')
    """
    path = checkpoint_place(out)
    if config is None:
        config = PretrainConfig.preset("cpu")
    if not isinstance(config, AnyPretrainConfig):
        raise ConfigError(
            f"expected a PretrainConfig, GeneratorConfig, CoSynTrainConfig or TextTrainConfig, got {came(config)}"
        )
    _refuse_foreign(
        config,
        {"mpp": mpp, "classes": classes, "init": init, "text_encoder": text_encoder, "weights": weights},
    )
    start = None if init is None else to_path(init)
    session = _session(config, device, on_event or nobody)
    if isinstance(config, PretrainConfig):
        # The settings say which of the two kinds of images it is, and the types do not: it is looked at here.
        sources = sources_of(images)  # type: ignore[arg-type]
        train_denoiser(
            open_sources(sources, mpp=config.mpp, file_mpp=mpp, cache=PixelCache(MEMORY)),
            path,
            config,
            weights=weights,
            init=start,
            provenance={"sources": names_of(sources)} if provenance is None else provenance,
            session=session,
        )
        return _outcome(path, "denoiser")
    opened = annotated_images(images)  # type: ignore[arg-type]
    named = classes_of(opened, classes)
    # Once, because every pass over a data set decodes its files again.
    learned = tuple(opened)
    if isinstance(config, GeneratorConfig):
        train_generator(config.kind, learned, path, config, init=start, provenance=provenance, session=session)
        return _outcome(path, config.kind)
    if isinstance(config, CoSynTrainConfig):
        train_cosyn(
            learned,
            named,
            path,
            config,
            text_encoder=None if text_encoder is None else open_text_encoder(to_path(text_encoder)),
            weights=weights,
            init=start,
            provenance=provenance,
            session=session,
        )
        return _outcome(path, COSYN)
    train_text_encoder(learned, named, path, config, provenance=provenance, session=session)
    return _outcome(path, "text-encoder")


def _refuse_foreign(config: AnyPretrainConfig, given: dict[str, object]) -> None:
    """Raise ConfigError for an argument that the method would leave unheard."""
    for name, value in given.items():
        if value is not None and not isinstance(config, _OWNERS[name]):
            owners = " or ".join(f"wsinuc.{owner.__name__}" for owner in _OWNERS[name])
            raise ConfigError(f"{name} goes with {owners}, and these are settings of a {type(config).__name__}")


def _session(config: AnyPretrainConfig, device: str, tell: Tell) -> Session:
    """Where the training runs, and who hears of it."""
    processes = ALONE
    if not isinstance(config, TextTrainConfig):
        processes = launched_processes(cpu=device == "cpu")

    def report(progress: Progress) -> None:
        tell(progress.line("training", config.fit.steps))

    return Session(device=str(processes.device or pick_device(device)), on_progress=report, processes=processes)


def _outcome(path: Path, kind: str) -> Pretraining:
    """What the log says of a training that has ended."""
    log = read_log(path.with_suffix(".jsonl"))
    held_out = [line["validation"] for line in log if line.get("validation") is not None]
    return Pretraining(
        path=path,
        kind=kind,
        steps=int(log[-1]["step"]),
        loss=float(log[-1]["loss"]),
        held_out_loss=float(held_out[-1]) if held_out else None,
    )
