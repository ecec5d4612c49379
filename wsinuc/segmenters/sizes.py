"""How large a model is and how it sees a slide, from the headers of its files: no weights are read, no PyTorch needed.

A joint model may have no weights of its own. Its size is that of all files that it needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.header import parse_header
from wsinuc.segmenters.shipped import member_path
from wsinuc.separation.channels import FIRST_CLASS
from wsinuc.separation.settings import WatershedSettings

_MAPS = {"distance": 1, "hv": 2}
"""Channels of the map that tells touching nuclei apart, by what it shows."""
_STAINS = 2
"""Channels of stain that a model with classes of whole nuclei adds."""
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors of a normalisation that are counted while training, and not learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """One model with all files that it needs."""

    files: tuple[Path, ...]
    """Its own first."""
    bytes: int
    """On disk, all files together."""
    parameters: int
    """Numbers that were learned, in all files together."""
    mpp: float
    """um per pixel at which the model works."""
    channels: int
    """Scores of each pixel: nucleus, disagreement, each class, and what separation needs; 0 of a denoiser."""
    classes: tuple[str, ...]
    """What a nucleus can be; empty for a denoiser."""
    threshold: float | None = None
    """Foreground probability from which a pixel belongs to a nucleus; None for a denoiser."""
    min_area_um2: float | None = None
    """Least area of a nucleus in um2; None for a denoiser."""


def model_size(path: Path) -> ModelSize:
    """Size and resolution of a segmenter or denoiser; raises CheckpointError for another file, or a missing member."""
    files = tuple(dict.fromkeys(_files(path)))
    config = _header(path)[0]
    base = config.get("base", config)
    try:
        sees: dict[str, Any]
        if "watershed" in base:
            classes = tuple(each["name"] for each in config["classes"])
            sees = {"mpp": float(base["watershed"]["mpp"]), "channels": _channels(config), "classes": classes}
            sees |= _cutoffs(base["watershed"])
        else:
            # A denoiser finds nothing by itself.
            sees = {"mpp": float(config["mpp"]), "channels": 0, "classes": ()}
        return ModelSize(
            files=files,
            bytes=sum(file.stat().st_size for file in files),
            parameters=sum(_header(file)[1] for file in files),
            **sees,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not describe a segmenter: {error!r} is missing or odd") from error


def _cutoffs(watershed: dict[str, Any]) -> dict[str, float]:
    """What separates nuclei from background; a header may leave out what is usual."""
    usual = {field.name: field.default for field in fields(WatershedSettings)}
    return {
        "threshold": float(watershed.get("foreground_threshold", usual["foreground_threshold"])),
        "min_area_um2": float(watershed.get("min_area_um2", usual["min_area_um2"])),
    }


def _files(path: Path) -> Iterator[Path]:
    """A model's file, and those of its members."""
    yield path
    header = _header(path)[0]
    # Members that lie inside the file have none of their own.
    members = () if header.get("inside") else header.get("members", ())
    for member in members:
        yield from _files(member_path(member["model"]))


def _channels(config: dict[str, Any]) -> int:
    if "base" in config:
        return _channels(config["base"]) + len(config["classes"]) + _STAINS
    return FIRST_CLASS + len(config["classes"]) + _MAPS[config["separation"]]


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The config that a file describes, and its number of parameters."""
    try:
        with safe_open(path, framework="np") as file:
            config = parse_header((file.metadata() or {})["wsinuc"])["config"]
            learned = [name for name in file.keys() if not name.endswith(_STATISTICS)]  # noqa: SIM118 (no mapping)
            return config, sum(math.prod(file.get_slice(name).get_shape()) for name in learned)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no checkpoint of wsinuc ({error})") from error
