"""The networks of a model: taken out of it to be tuned, and put back into a model of the same kind.

A plain U-Net is one network, a joint model has several, and method A's denoiser and classifiers are tuned together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.checkpoints.file_header import own_header
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.checkpoints.weights import as_fp32
from wsinuc.models.devices import on_device
from wsinuc.models.networks.by_name import UNETS, build_network
from wsinuc.models.networks.dense import DenseNetwork, DenseOutput
from wsinuc.segmenters import OF_WHOLE_NUCLEI, model_path, segmenter_from
from wsinuc.segmenters.base import Tiled
from wsinuc.segmenters.ddpm import DdpmSegmenter
from wsinuc.segmenters.joint import METHOD, JointConfig, Member, joint_checkpoint, member_checkpoints, through_filter
from wsinuc.segmenters.network import NetworkConfig
from wsinuc.segmenters.outline import outline_model
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.urls import PathLike

Weights = dict[str, Tensor]
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One network of a model."""

    checkpoint: Checkpoint
    """Its own weights and header."""
    member: Member | None = None
    """How a joint model shows it the tissue; None for a model that is this network alone."""

    @property
    def method(self) -> str:
        """How it was trained."""
        return str(self.checkpoint.config.get("method", "ddpm"))


def parts_of(model: Checkpoint) -> tuple[Part, ...]:
    """The networks of a model, in its order.

    Raises
    ------
    ConfigError
        It is of a kind that cannot be adapted.
    CheckpointError
        A joint model's member is missing or another one.
    """
    if check_adaptable(model.config) == METHOD:
        config = from_header(JointConfig, model.config)
        own = member_checkpoints(config, model.tensors)
        parts = tuple(Part(each, member) for each, member in zip(own, config.members, strict=True))
    else:
        parts = (Part(model),)
    for part in parts:
        _check_method(part.method)
    return parts


def check_adaptable(config: Mapping[str, Any]) -> str:
    """The method that a model's header names; raises ConfigError for one that cannot be adapted."""
    method = str(config.get("method", "ddpm"))
    if method != METHOD:
        _check_method(method)
    return method


def adaptable_outline(model: PathLike) -> Tiled:
    """The outline of a shipped model or a checkpoint.

    Raises
    ------
    CheckpointError
        There is no such model, or its file is no segmenter.
    ConfigError
        It is of a kind that cannot be adapted, which is said before anything else of it matters.
    """
    check_adaptable(own_header(model_path(model)).config)
    return outline_model(model)


def _check_method(method: str) -> None:
    if method in (*UNETS, "ddpm"):
        return
    if method in OF_WHOLE_NUCLEI:
        remedy = "its outlines are another model's, which is the one to adapt; then give it classes again"
    else:
        remedy = "train it anew with your windows among its images"
    raise ConfigError(
        f"U-Nets, pixel classifiers on a denoiser and joint models of them are adapted, and this model is of the "
        f"method {method!r}: {remedy}"
    )


def rebuilt(model: Checkpoint, weights: Sequence[Mapping[str, Tensor]], provenance: dict[str, Any]) -> Checkpoint:
    """The model with other weights of its networks, in the types in which they are stored."""
    checkpoints = [
        replace(part.checkpoint, tensors=_like(part.checkpoint.tensors, new))
        for part, new in zip(parts_of(model), weights, strict=True)
    ]
    if model.config.get("method") != METHOD:
        return replace(checkpoints[0], provenance=provenance, sha256="")
    return joint_checkpoint(from_header(JointConfig, model.config), provenance, checkpoints)


def _like(stored: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Weights:
    """Weights in the types of those that are stored."""
    return {name: weights[name].to(old.dtype) for name, old in stored.items()}


def opened(model: Checkpoint, device: torch.device = _CPU) -> TiledSegmenter:
    """The segmenter of a model that is held in memory, in fp32."""
    return cast(TiledSegmenter, segmenter_from(model, device=device, dtype=torch.float32))


class Learner(Protocol):
    """A network that can be tuned."""

    module: nn.Module
    """Its weights have the names that they have in a checkpoint."""
    lost: int
    """Pixels that its outputs lack on each side."""

    def outputs(self, pixels: Tensor) -> list[DenseOutput]:
        """What it says of RGB ``(n, 3, h, w)`` in [-1, 1], of each of its members."""
        ...


def learner_of(part: Part, device: torch.device = _CPU) -> Learner:
    """The network with its weights, as the model shows tissue to it."""
    checkpoint = part.checkpoint
    if part.member is not None:
        checkpoint = through_filter(checkpoint, part.member)
    if part.method in UNETS:
        return _NetworkLearner(checkpoint, device)
    return _ClassifierLearner(checkpoint, device)


class _NetworkLearner:
    """A U-Net whose batch normalisation keeps its statistics: a few windows have none worth taking."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        config = from_header(NetworkConfig, checkpoint.config)
        network = build_network(config.method, config.network)
        network.load_state_dict(as_fp32(checkpoint.tensors))
        # Evaluation mode: normalisation by the statistics of the training, which inference has, too.
        self.module: nn.Module = on_device(network, device).eval()
        self.lost = network.lost

    def outputs(self, pixels: Tensor) -> list[DenseOutput]:
        network = cast(DenseNetwork, self.module)
        return [network(pixels.contiguous(memory_format=torch.channels_last)).float()]


class _ClassifierLearner:
    """Method A: the denoiser and the pixel classifiers that read it."""

    lost = 0

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        segmenter = DdpmSegmenter.from_checkpoint(checkpoint, device=device, dtype=torch.float32)
        self._extractor = segmenter.extractor
        self._ensemble = segmenter.ensemble
        self._classes = segmenter.config.ensemble.classes
        parts = {"denoiser": self._extractor.unet, "ensemble": self._ensemble}
        self.module: nn.Module = nn.ModuleDict(parts).requires_grad_(True)

    def outputs(self, pixels: Tensor) -> list[DenseOutput]:
        raw = self._ensemble.raw(self._extractor.maps(pixels))
        return [DenseOutput(each[:, : self._classes].float(), each[:, self._classes :].float()) for each in raw]
