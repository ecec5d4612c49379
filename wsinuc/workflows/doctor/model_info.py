"""What a checkpoint says of itself: what it is, what it has learned from, and how good it was there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsinuc.models.checkpoints.file_header import Header, check_kind, file_sha256, own_header
from wsinuc.segmenters.sizes import ModelSize, model_size
from wsinuc.shown import shown

SIZED = ("segmenter", "denoiser")
"""Kinds of which `wsinuc.segmenters.sizes` knows all files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """A checkpoint in a few facts."""

    model: str
    """Its file."""
    kind: str
    """``segmenter``, ``denoiser``, or the kind of a generator."""
    method: str | None
    """How a segmenter works: ``ddpm``, ``unet`` and so on; None for another kind."""
    bytes: int
    """On disk, with the files of all models that it names."""
    sha256: str
    """Of its own file."""
    parameters: int | None
    """Numbers that were learned; None where nobody counts them."""
    mpp: float | None
    """um per pixel at which it works; None where its header does not say."""
    classes: tuple[str, ...]
    """What a nucleus can be."""
    threshold: float | None
    """Foreground probability from which a pixel belongs to a nucleus; None for another kind than segmenters."""
    min_area_um2: float | None
    """Least area of a nucleus in um2; None for another kind."""
    base: str | None
    """The model whose nuclei it gives classes to; None for a model that finds its own."""
    data: tuple[str, ...]
    """What it has learned from."""
    licence: str | None
    measured: dict[str, float]
    """Figures of its cross-validation; empty where there was none."""


def describe_model(path: Path) -> ModelDescription:
    """The facts of a checkpoint; its weights are not read.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or not wsinuc's.
    """
    header = own_header(path)
    check_kind(header.kind, header.config)
    size = model_size(path) if header.kind in SIZED else None
    return ModelDescription(
        model=str(path),
        kind=shown(header.kind),
        method=_method(header),
        bytes=size.bytes if size else path.stat().st_size,
        sha256=file_sha256(path),
        parameters=size.parameters if size else None,
        mpp=_mpp(header, size),
        classes=size.classes if size else (),
        threshold=size.threshold if size else None,
        min_area_um2=size.min_area_um2 if size else None,
        base=_base(header.provenance),
        data=_learned_from(header, size),
        licence=_text(header.provenance.get("licence")),
        measured=_measured(header.provenance),
    )


def _method(header: Header) -> str | None:
    if header.kind != "segmenter":
        return None
    # The header of a segmenter without a word is one of method A.
    return _text(header.config.get("method", "ddpm"))


def _mpp(header: Header, size: ModelSize | None) -> float | None:
    if size is not None:
        return size.mpp
    mpp = header.config.get("mpp")
    return float(mpp) if isinstance(mpp, int | float) else None


def _base(provenance: dict[str, Any]) -> str | None:
    base = provenance.get("base")
    return _text(base.get("model")) if isinstance(base, dict) else None


def _learned_from(header: Header, size: ModelSize | None) -> tuple[str, ...]:
    """What a model has learned from; of one that is made of others, what those have."""
    members = size.files[1:] if size else ()
    if not members:
        return _data(header.provenance)
    lines = [line for member in members for line in _data(own_header(member).provenance)]
    return tuple(dict.fromkeys(lines))


def _data(provenance: dict[str, Any]) -> tuple[str, ...]:
    """A line for each source, whether the header has a text, a list of texts, or what a training read."""
    said = provenance.get("data", ())
    sources = said if isinstance(said, list) else [said] if said else []
    return tuple(_source(each) for each in sources)


def _source(source: Any) -> str:
    if not isinstance(source, dict):
        return shown(source)
    name = shown(source.get("data"))
    images = source.get("images")
    if isinstance(images, list):
        return f"{name}, {len(images)} images"
    return name


def _measured(provenance: dict[str, Any]) -> dict[str, float]:
    found = provenance.get("cross_validation")
    if not isinstance(found, dict):
        return {}
    return {shown(name): value for name, value in found.items() if type(value) in (int, float)}


def _text(value: Any) -> str | None:
    return shown(value) if isinstance(value, str) else None
