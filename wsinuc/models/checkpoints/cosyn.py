"""A trained generator of method C: network, process, text encoder and what its file says, from one checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint
from wsinuc.models.checkpoints.header import Mpp, from_header
from wsinuc.models.checkpoints.weights import load_weights
from wsinuc.models.conditioning.text import TextEncoder
from wsinuc.models.diffusion.joint import JointDiffusion
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.networks.cosyn_unet import CoSynConfig, CoSynUNet
from wsinuc.nuclei.classes import NucleusClass

KIND = "cosyn"
"""Kind of the checkpoints of this generator."""


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
    `wsinuc.models.diffusion.mean_levels`; older files have none): JSON types, as in the file."""

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
    network = load_weights(partial(build_cosyn, checkpoint.config["network"]), checkpoint.tensors)
    return checkpoint, network.eval()


def load_cosyn(path: Path, *, text_encoder: Path | None = None) -> CoSynModel:
    """The generator of a checkpoint.

    Parameters
    ----------
    text_encoder
        Folder with the files of the text encoder that it was trained with, where that is not the built-in one.

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
    return CoSynModel(network, process, load_text_encoder(config["text"], text_encoder), config)
