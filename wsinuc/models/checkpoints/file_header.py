"""What a checkpoint says of itself, read without PyTorch and without its weights.

So a command that runs no network knows a model's tiles, classes and resolution, and does not pay for the import.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.header import from_header, parse_header
from wsinuc.regular import require_regular
from wsinuc.typed_json import one_line

HEADER_NAME = "wsinuc"
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of ``torch.save`` files: a zip archive of pickles, or a bare pickle."""
_HEADERS = {
    "denoiser": "wsinuc.models.checkpoints.denoisers:DenoiserHeader",
    "segmenter": "wsinuc.models.checkpoints.file_header:SegmenterHeader",
    "nudiff-structure": "wsinuc.models.checkpoints.generators:GeneratorHeader",
    "nudiff-image": "wsinuc.models.checkpoints.generators:ImageHeader",
    "cosyn": "wsinuc.models.checkpoints.cosyn:CoSynHeader",
    "text-encoder": "wsinuc.models.conditioning.trained_encoder:TextEncoderHeader",
}
"""Kind -> "module:class" of what its config must have, the least that is read from it without being asked again."""
MAX_HEADER = 16 * 2**20
"""Bytes of the longest header that is read; that of a model with a thousand tensors has 0.2 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a checkpoint says of itself."""

    kind: Annotated[str, Meta(max_length=64)]
    """What the file is, see `wsinuc.models.checkpoints.checkpoint.Checkpoint`."""
    config: dict[str, Any]
    """Shapes and settings."""
    provenance: dict[str, Any]
    """Training data, licences, command, versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmenterHeader:
    """What every segmenter says: which method; the rest is read by the method."""

    method: str = "ddpm"


def require_header(path: Path, *kinds: str) -> Header:
    """What a checkpoint of one of these kinds says of itself.

    Raises
    ------
    CheckpointError
        What ``own_header`` raises; the file is of another kind, or its header is not what its kind needs.
    """
    header = own_header(path)
    if header.kind not in kinds:
        raise CheckpointError(f"{path} holds a {one_line(header.kind)}, but a {' or '.join(kinds)} is needed here")
    check_kind(header.kind, header.config)
    return header


def own_header(path: Path) -> Header:
    """What a checkpoint of any kind says of itself, its config not checked.

    Raises
    ------
    CheckpointError
        What ``read_header`` raises; the file is not wsinuc's.
    """
    header = read_header(path)
    if header is None:
        raise CheckpointError(f"{path} is a safetensors file but was not written by wsinuc: it has no wsinuc header")
    return header


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
        metadata = None
        if isinstance(described, dict):
            metadata = described.get("__metadata__")
        own = None
        if isinstance(metadata, dict):
            own = metadata.get(HEADER_NAME)
        if not isinstance(own, str):
            return None
        header = parse_header(own)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path} is no complete safetensors file ({error}): it may be truncated; copy it again"
        ) from error
    if header is None:
        return None
    return from_header(Header, header)


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
