"""Weights on disk: safetensors with a JSON header, and nothing that could run code.

The header says what the file is (``kind``), how its network is shaped, and where it comes from. A file of the wrong
kind says so; a pickle is refused by its first bytes before anything is parsed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from wsinuc import durable
from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.header import from_header, parse_header
from wsinuc.own_files import create
from wsinuc.regular import require_regular
from wsinuc.typed_json import one_line

_HEADER = "wsinuc"
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of ``torch.save`` files: a zip archive of pickles, or a bare pickle."""
_DTYPES = ("F64", "F32", "F16", "BF16", "I64")
"""Types of weights that are read: all that wsinuc writes."""
_HEADERS = {
    "denoiser": "wsinuc.models.checkpoints.denoisers:DenoiserHeader",
    "segmenter": "wsinuc.models.checkpoints.checkpoint:SegmenterHeader",
    "nudiff-structure": "wsinuc.models.checkpoints.generators:GeneratorHeader",
    "nudiff-image": "wsinuc.models.checkpoints.generators:ImageHeader",
    "cosyn": "wsinuc.models.checkpoints.cosyn:CoSynHeader",
}
"""Kind -> "module:class" of what its config must have, the least that is read from it without being asked again."""
MAX_HEADER = 16 * 2**20
"""Bytes of the longest header that is read; that of a model with a thousand tensors has 0.2 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a checkpoint says of itself."""

    kind: Annotated[str, Meta(max_length=64)]
    """What the file is, see `Checkpoint`."""
    config: dict[str, Any]
    """Shapes and settings."""
    provenance: dict[str, Any]
    """Training data, licences, command, versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmenterHeader:
    """What every segmenter says: which method; the rest is read by the method."""

    method: str = "ddpm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Weights and everything needed to use them."""

    kind: str
    """``denoiser``, ``segmenter``, or of a generator ``nudiff-structure``, ``nudiff-image``, ``cosyn``."""
    config: dict[str, Any]
    """Shapes and settings, JSON types only."""
    provenance: dict[str, Any]
    """Training data, licences, command, versions: JSON types only."""
    tensors: dict[str, torch.Tensor]
    sha256: str = ""
    """Hash of the file that this was read from; empty before it is saved."""


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically: a reader finds the old file or the new one, never half of it."""
    header = {"kind": checkpoint.kind, "config": checkpoint.config, "provenance": checkpoint.provenance}
    temporary = path.with_name(path.name + ".partial")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    create(temporary).close()  # so that no link lies there when safetensors opens the name
    save_file(tensors, temporary, metadata={_HEADER: json.dumps(header, sort_keys=True)})
    temporary.chmod(0o644)  # safetensors makes it readable by its owner only
    durable.sync(temporary)
    durable.rename(temporary, path)


def load_checkpoint(path: Path, *kinds: str) -> Checkpoint:
    """Read a checkpoint of the given kind, or of one of several.

    Raises
    ------
    CheckpointError
        The file is missing, a pickle, truncated, no wsinuc checkpoint, or of another kind; a weight
        is no finite number, or the header is not what its kind needs.
    """
    header = read_header(path)
    if header is None:
        raise CheckpointError(f"{path} is a safetensors file but was not written by wsinuc: it has no wsinuc header")
    if header.kind not in kinds:
        raise CheckpointError(f"{path} holds a {one_line(header.kind)}, but a {' or '.join(kinds)} is needed here")
    check_kind(header.kind, header.config)
    tensors = read_tensors(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{path}: the weights {name[:200]!r} hold NaN or infinity: the training had failed, or it is damaged"
            )
    return Checkpoint(**dataclasses.asdict(header), tensors=tensors, sha256=file_sha256(path))


def read_header(path: Path) -> Header | None:
    """What a checkpoint says of itself, its weights unread; None for a safetensors file of somebody else's.

    Raises
    ------
    CheckpointError
        The file is missing, a pickle, no safetensors file, or its header is damaged.
    """
    if not os.path.exists(path):
        raise CheckpointError(f"no weights at {path}: check the path")
    require_regular(path, CheckpointError)
    try:
        described = parse_header(_raw_header(path))
        metadata = described.get("__metadata__") if isinstance(described, dict) else None
        own = metadata.get(_HEADER) if isinstance(metadata, dict) else None
        if not isinstance(own, str):
            return None
        header = parse_header(own)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path} is no complete safetensors file ({error}): it may be truncated; copy it again"
        ) from error
    return None if header is None else from_header(Header, header)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The named weights of a safetensors file, in types that wsinuc writes; raises CheckpointError."""
    try:
        with safe_open(path, framework="pt") as archive:
            names = archive.keys()
            for name in names:
                kind = archive.get_slice(name).get_dtype()
                if kind not in _DTYPES:
                    raise CheckpointError(
                        f"{path}: the weights {name[:200]!r} are of type {kind}; {', '.join(_DTYPES)} are read"
                    )
            return {name: archive.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError, OverflowError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path} is no complete safetensors file ({error}): it may be truncated; copy it again"
        ) from error


def check_kind(kind: str, config: dict[str, Any]) -> None:
    """Raise CheckpointError unless a header has what its kind of checkpoint needs; the kinds are
    those of `_HEADERS`."""
    if kind in _HEADERS:
        module, _, name = _HEADERS[kind].partition(":")
        from_header(getattr(import_module(module), name), config, more=True)


def _raw_header(path: Path) -> bytes:
    """The JSON at the beginning of a safetensors file; raises CheckpointError for pickles and for absurd lengths."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        begin = stream.read(9)
        # A safetensors file begins with the length of its header, any bytes, and then the header's brace.
        if begin.startswith(_PICKLES) and not begin.endswith(b"{"):
            raise CheckpointError(
                f"{path} is a PyTorch pickle, which can run code when it is opened; wsinuc reads safetensors only: "
                "convert it with safetensors.torch.save_file in a place you trust"
            )
        length = int.from_bytes(begin[:8], "little")
        if len(begin) < 9 or length > size - 8:
            raise ValueError(f"it has {size} bytes, and a header of {length} is announced")
        if length > MAX_HEADER:
            raise CheckpointError(
                f"{path}: its header of {length / 2**20:.0f} MiB is no model's ({MAX_HEADER >> 20} at most)"
            )
        return begin[8:] + stream.read(length - 1)


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
