"""Networks by the name of their method: from the shape that a checkpoint's header records to a module, and to tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from wsinuc.errors import ConfigError
from wsinuc.grid import ceil_div
from wsinuc.models.checkpoints.denoisers import build_denoiser
from wsinuc.models.checkpoints.header import check_readable, from_header
from wsinuc.models.networks.dense import DenseNetwork, FinetunedDenoiser
from wsinuc.models.networks.hovernet import LOST, STRIDE, HoVerNet, HoVerNetConfig
from wsinuc.models.networks.supervised_unet import SupervisedUNet, SupervisedUNetConfig, gated_reach

COARSEST = 64
"""Pixels that a denoiser pools at most, a side."""
CORE = 6 * COARSEST
"""Pixels of a tile that are kept, a side. Where a network folds squares of pixels, as many squares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetunedShape:
    """Shape of a denoiser that was made a segmenter."""

    denoiser: dict[str, Any]
    """A denoiser checkpoint's config."""
    classes: Annotated[int, Meta(ge=2, le=65)]
    """Outputs for classes, with background."""
    maps: Annotated[int, Meta(ge=1, le=8)]
    """Outputs for separation."""


def _finetuned(shape: dict[str, Any]) -> DenseNetwork:
    finetuned = from_header(FinetunedShape, shape)
    return FinetunedDenoiser(build_denoiser(finetuned.denoiser), finetuned.classes, finetuned.maps)


def _unet(shape: dict[str, Any]) -> DenseNetwork:
    return SupervisedUNet(from_header(SupervisedUNetConfig, shape))


def _attention_unet(shape: dict[str, Any]) -> DenseNetwork:
    return SupervisedUNet(from_header(SupervisedUNetConfig, shape), gated=True)


def _hovernet(shape: dict[str, Any]) -> DenseNetwork:
    return HoVerNet(from_header(HoVerNetConfig, shape))


NETWORKS: dict[str, Callable[[dict[str, Any]], DenseNetwork]] = {
    "finetune": _finetuned,
    "hovernet": _hovernet,
    "unet": _unet,
    "attention-unet": _attention_unet,
}
"""Method -> module with random weights, from its shape."""
UNETS: dict[str, Callable[[SupervisedUNetConfig], int]] = {
    "unet": lambda config: config.reach,
    "attention-unet": gated_reach,
}
"""U-Nets -> pixels around one that can influence it."""


def check_shape(method: str, shape: dict[str, Any]) -> None:
    """Raise ConfigError for a shape of one's own choice that no network has: before it is trained."""
    if method in UNETS:
        check_readable(SupervisedUNetConfig(**shape))
    elif method == "hovernet":
        check_readable(HoVerNetConfig(**shape))


def build_network(method: str, shape: dict[str, Any]) -> DenseNetwork:
    """A network with random weights.

    Parameters
    ----------
    method
        One of `NETWORKS`.
    shape
        ``unet``, ``attention-unet`` and ``hovernet``: the fields of their configs. ``finetune``: ``denoiser`` (a
        denoiser checkpoint's config), ``classes`` (with background) and ``maps``.

    Raises
    ------
    ConfigError
        There is no such method.
    """
    if method not in NETWORKS:
        raise ConfigError(f"no network is called {method!r}; there are {', '.join(NETWORKS)}")
    return NETWORKS[method](shape)


def stride_of(method: str, shape: dict[str, Any]) -> int:
    """Pixels of which the sides of an input must be multiples."""
    if method in UNETS:
        return SupervisedUNetConfig(**shape).stride
    if method == "hovernet":
        return STRIDE
    return COARSEST


def default_tiling(method: str, shape: dict[str, Any]) -> tuple[int, int]:
    """Tile and margin in pixels that suit a network.

    The margin of U-Nets covers all that can influence a pixel, so the tile grid changes
    nothing. The other two reach farther than a margin can afford; beyond theirs the influence is
    small.
    """
    if method in UNETS:
        config = SupervisedUNetConfig(**shape)
        margin = ceil_div(UNETS[method](config), config.stride) * config.stride
        return config.fold * CORE + 2 * margin, margin
    if method == "finetune":
        # Attention is over the whole tile: not larger than what such denoisers are trained on.
        if _sees_everything(shape["denoiser"]):
            tile = 256
        else:
            tile = CORE + 64
        return tile, 32
    if method == "hovernet":
        margin = ceil_div(LOST, STRIDE) * STRIDE
        return CORE + 2 * margin, margin
    raise ConfigError(f"no network is called {method!r}; there are {', '.join(NETWORKS)}")


def _sees_everything(denoiser: dict[str, Any]) -> bool:
    """Whether any feature of a denoiser depends on the whole input."""
    unet = denoiser["unet"]
    return bool(unet.get("attention_factors", True)) or bool(unet.get("middle_attention", True))
