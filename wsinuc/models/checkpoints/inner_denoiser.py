"""A denoiser wherever it lies: in a file of its own, or inside a segmenter of method A, which has tuned it.

A segmenter also knows which of its activations suit pixel classifiers and how coarse the classifiers may
be; both come along in the header (``features``, ``factor``), and a training takes them as its defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint
from wsinuc.models.checkpoints.file_header import Header, require_header
from wsinuc.models.checkpoints.header import Mpp, from_header
from wsinuc.models.checkpoints.weights import as_fp32, part_of

_PREFIX = "denoiser."
"""Begins the names of its weights among those of a segmenter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolution:
    """The one setting of a separation that a denoiser needs."""

    mpp: Mpp


@dataclass(frozen=True, slots=True, kw_only=True)
class _Factor:
    """The one setting of the classifiers that those after them begin with."""

    factor: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Surroundings:
    """What the header of a segmenter of method A says of the denoiser inside."""

    unet: dict[str, Any]
    features: dict[str, Any]
    watershed: dict[str, Any]
    ensemble: dict[str, Any]
    betas: str = "linear"


def require_denoiser_header(path: Path) -> Header:
    """What a denoiser says of itself, its weights unread, wherever it lies.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, or holds no denoiser.
    """
    header = require_header(path, "denoiser", "segmenter")
    if header.kind == "denoiser":
        return header
    return Header(kind="denoiser", config=_inner_config(path, header.config), provenance=header.provenance)


def load_denoiser_checkpoint(path: Path) -> Checkpoint:
    """A denoiser as a checkpoint of kind ``denoiser``, read from a file of its own or out of a segmenter.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, or holds no denoiser.
    """
    checkpoint = load_checkpoint(path, "denoiser", "segmenter")
    if checkpoint.kind == "denoiser":
        return checkpoint
    config = _inner_config(path, checkpoint.config)
    # fp16 is for the disk alone.
    tensors = as_fp32(part_of(checkpoint.tensors, _PREFIX))
    return Checkpoint(
        kind="denoiser", config=config, provenance=checkpoint.provenance, tensors=tensors, sha256=checkpoint.sha256
    )


def _inner_config(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The header of the denoiser inside a segmenter; raises CheckpointError where there is none."""
    method = config.get("method", "ddpm")
    if method != "ddpm":
        raise CheckpointError(
            f"{path} is a segmenter of the method {str(method)[:40]} and holds no denoiser: give one that wsinuc "
            "pretrain has made, or a segmenter of the method ddpm, such as the shipped diffusion"
        )
    around = from_header(_Surroundings, config, more=True)
    return {
        "network": "unet",
        "unet": around.unet,
        "betas": around.betas,
        "mpp": from_header(_Resolution, around.watershed, more=True).mpp,
        "features": around.features,
        "factor": from_header(_Factor, around.ensemble, more=True).factor,
    }
