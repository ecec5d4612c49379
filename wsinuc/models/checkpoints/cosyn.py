"""A trained generator of method C: network, process, text encoder and what its file says, from one checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, as_tuples, load_checkpoint
from wsinuc.models.conditioning.points_encoder import PointsConfig
from wsinuc.models.conditioning.text import TextEncoder
from wsinuc.models.diffusion.joint import JointDiffusion
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.networks.cosyn_unet import CoSynConfig, CoSynUNet

KIND = "cosyn"
"""Of the checkpoints."""


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
        return MeanLevels.from_header(self.config["levels"]) if "levels" in self.config else None


def network_config(config: CoSynConfig) -> dict[str, Any]:
    """JSON types from which `build_cosyn` makes a network of the same shape."""
    return dataclasses.asdict(config)


def build_cosyn(config: dict[str, Any]) -> CoSynUNet:
    """An untrained network; raises CheckpointError when its description is not of this version."""
    try:
        return CoSynUNet(CoSynConfig(**as_tuples(config) | {"points": PointsConfig(**config["points"])}))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint describes a network that this version cannot build ({error}): update wsinuc"
        ) from error


def read_cosyn(path: Path) -> tuple[Checkpoint, CoSynUNet]:
    """A checkpoint of kind ``cosyn`` and its trained network, in evaluation mode.

    Raises
    ------
    CheckpointError
        No such checkpoint, or the weights do not fit its header.
    """
    checkpoint = load_checkpoint(path, KIND)
    try:
        network = build_cosyn(checkpoint.config["network"])
        network.load_state_dict(checkpoint.tensors)
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{path}: the weights do not fit their own header ({reason}): it is damaged") from error
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
