"""A trained generator of method C: network, process, text encoder and what its file says, from one checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint
from wsinuc.models.checkpoints.header import Mpp, from_header
from wsinuc.models.checkpoints.weights import load_weights, part_of
from wsinuc.models.conditioning.text import TextEncoder
from wsinuc.models.diffusion.joint import JointDiffusion
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.networks.cosyn_unet import CoSynConfig, CoSynUNet
from wsinuc.nuclei.classes import NucleusClass

LEFT_OUT = ("points", "text", "augmentation")
"""What a generator may have been trained without."""
KIND = "cosyn"
"""Kind of the checkpoints of this generator."""
TEXT_PREFIX = "text_encoder."
"""Before the names of the weights of a text encoder that lies in the generator's file."""


@dataclass(frozen=True, slots=True, eq=False)
class CoSynModel:
    """What a synthesis needs."""

    network: CoSynUNet
    """In evaluation mode, on the CPU."""
    process: JointDiffusion
    text_encoder: TextEncoder
    config: dict[str, Any]
    """``mpp``, ``size`` (of training patches), ``classes``, ``layouts`` (fitted point process of
    each tissue), ``drop_rate``, ``steps``, ``text``, ``network``, ``levels`` (see
    `wsinuc.models.diffusion.mean_levels`; older files have none), and in newer files ``tissues`` (the
    words for them), ``without`` (which of `LEFT_OUT` it never saw) and ``prompts`` (of a generator
    without points: what the crops of its training showed): JSON types, as in the file."""

    @property
    def levels(self) -> MeanLevels | None:
        """Mean levels of the training's images, where the file has them; raises CheckpointError."""
        if "levels" in self.config:
            return MeanLevels.from_header(self.config["levels"])
        return None


def network_config(config: CoSynConfig) -> dict[str, Any]:
    """JSON types from which `build_cosyn` makes a network of the same shape."""
    return dataclasses.asdict(config)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonPrompt:
    """What some crops of a training showed."""

    tissue: str
    stain: str
    classes: tuple[str, ...]
    count: Annotated[int, Meta(ge=1)]
    """How many of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoSynHeader:
    """What the header of a generator says."""

    network: dict[str, Any]
    steps: Annotated[int, Meta(ge=1, le=100_000)]
    mpp: Mpp
    size: Annotated[int, Meta(ge=1, le=8192)]
    classes: Annotated[tuple[NucleusClass, ...], Meta(min_length=1, max_length=64)]
    text: dict[str, Any]
    layouts: dict[str, Any]
    drop_rate: Annotated[float, Meta(ge=0, le=1)]
    levels: dict[str, Any] | None = None
    tissues: tuple[str, ...] | None = None
    without: tuple[Literal["points", "text", "augmentation"], ...] = ()
    prompts: tuple[CommonPrompt, ...] = ()


def build_cosyn(config: dict[str, Any]) -> CoSynUNet:
    """An untrained network; raises CheckpointError when its description is not of this version."""
    return CoSynUNet(from_header(CoSynConfig, config))


def read_cosyn(path: Path) -> tuple[Checkpoint, CoSynUNet]:
    """A checkpoint of kind ``cosyn`` and its trained network, in evaluation mode.

    Raises
    ------
    CheckpointError
        No such checkpoint, or the weights do not fit its header.
    """
    checkpoint = load_checkpoint(path, KIND)
    tensors = {name: value for name, value in checkpoint.tensors.items() if not name.startswith(TEXT_PREFIX)}
    network = load_weights(partial(build_cosyn, checkpoint.config["network"]), tensors)
    return checkpoint, network.eval()


def load_cosyn(path: Path, *, text_encoder: Path | None = None) -> CoSynModel:
    """The generator of a checkpoint.

    Parameters
    ----------
    text_encoder
        Folder with CLIP's files, where it was trained with them; any other encoder lies in the checkpoint.

    Raises
    ------
    CheckpointError
        The file is no checkpoint of kind ``cosyn``, or damaged.
    ConfigError
        The text encoder's files are needed and not given.
    """
    from wsinuc.models.conditioning.text_encoders import load_text_encoder

    checkpoint, network = read_cosyn(path)
    config = checkpoint.config
    process = JointDiffusion.of(network.config.classes, int(config["steps"]))
    own = part_of(checkpoint.tensors, TEXT_PREFIX)
    return CoSynModel(network, process, load_text_encoder(config["text"], text_encoder, own), config)
