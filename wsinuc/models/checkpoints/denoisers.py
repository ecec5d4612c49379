"""Denoisers by what their checkpoint says: which network, which noise schedule.

A checkpoint of kind ``denoiser`` has the config ``{"network": "unet" | "attention_unet", "unet":
{...}, "betas": schedule, "mpp": um per pixel, "learned_variance": bool}``; ``network`` is ``unet``
where it is absent. ``features`` and ``factor`` may say which activations suit pixel classifiers.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from msgspec import Meta
from torch import nn

from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.checkpoints.header import Mpp, from_header
from wsinuc.models.checkpoints.weights import load_weights
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.schedules import named_betas
from wsinuc.models.networks.attention_unet import AttentionUNet, AttentionUNetConfig
from wsinuc.models.networks.unet import UNet, UNetConfig

DENOISERS: dict[str, tuple[type[nn.Module], type[Any]]] = {
    "unet": (UNet, UNetConfig),
    "attention_unet": (AttentionUNet, AttentionUNetConfig),
}
"""Name in a checkpoint's ``network`` -> the network and its config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserHeader:
    """What the header of a denoiser says besides its network."""

    unet: dict[str, Any]
    """Shape of the network."""
    mpp: Mpp
    """um per pixel that it was trained at."""
    network: str = "unet"
    """One of `DENOISERS`."""
    betas: str = "linear"
    """Noise schedule, one of `wsinuc.models.diffusion.schedules.SCHEDULES`."""
    learned_variance: bool = False
    """Whether half of its outputs are a variance code."""
    features: dict[str, Any] | None = None
    """Activations that suit pixel classifiers, as `wsinuc.models.features.extractor.FeatureConfig`; None where nobody
    has asked."""
    factor: Annotated[int, Meta(ge=1, le=64)] = 1
    """Pixels per side that these classifiers look at as one."""


def untrained_denoiser(config: UNetConfig | AttentionUNetConfig) -> UNet | AttentionUNet:
    """A denoiser of this shape with random weights."""
    if isinstance(config, AttentionUNetConfig):
        return AttentionUNet(config)
    return UNet(config)


def build_denoiser(config: dict[str, Any]) -> nn.Module:
    """The network that a checkpoint's config describes, untrained.

    Raises
    ------
    CheckpointError
        The network is unknown, or its settings are not those of this version.
    """
    name = config.get("network", "unet")
    if not isinstance(name, str) or name not in DENOISERS:
        raise CheckpointError(
            f"the checkpoint holds a network {str(name)[:40]!r}; this version knows {', '.join(DENOISERS)}: "
            "update wsinuc"
        )
    network, shape = DENOISERS[name]
    try:
        return network(from_header(shape, config["unet"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"the checkpoint describes a {name} that this version cannot build ({error}): update wsinuc"
        ) from error


def denoiser_config(module: nn.Module) -> dict[str, Any]:
    """``network`` and ``unet`` of a network, as `build_denoiser` takes them; raises CheckpointError for others."""
    for name, (network, _) in DENOISERS.items():
        if isinstance(module, network):
            # Both networks' configs are dataclasses, which nn.Module's attributes do not say.
            return {"network": name, "unet": dataclasses.asdict(module.config)}  # type: ignore[call-overload]
    raise CheckpointError(f"{type(module).__name__} is no denoiser; these are: {', '.join(DENOISERS)}")


def load_denoiser(checkpoint: Checkpoint) -> tuple[nn.Module, GaussianDiffusion]:
    """The trained network of a checkpoint of kind ``denoiser``, in evaluation mode, and the process it was trained on.

    Raises
    ------
    CheckpointError
        The config is not understood, or the weights do not fit it.
    """
    network = load_weights(partial(build_denoiser, checkpoint.config), checkpoint.tensors)
    try:
        betas = named_betas(checkpoint.config.get("betas", "linear"))
    except ValueError as error:
        raise CheckpointError(f"the checkpoint's noise is unknown: {error}") from error
    return network.eval(), GaussianDiffusion(betas)
