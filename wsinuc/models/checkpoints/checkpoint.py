"""Weights on disk: safetensors with a JSON header, and nothing that could run code.

The header says what the file is (``kind``), how its network is shaped, and where it comes from. A file of the wrong
kind says so; a pickle is refused by its first bytes before anything is parsed.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from wsinuc.errors import CheckpointError

_HEADER = "wsinuc"
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of ``torch.save`` files: a zip archive of pickles, or a bare pickle."""


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
    """Of the file this was read from; empty before it is saved."""


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically: a reader finds the old file or the new one, never half of it."""
    header = {"kind": checkpoint.kind, "config": checkpoint.config, "provenance": checkpoint.provenance}
    temporary = path.with_name(path.name + ".partial")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, temporary, metadata={_HEADER: json.dumps(header, sort_keys=True)})
    temporary.chmod(0o644)  # safetensors makes it readable by its owner only
    os.replace(temporary, path)


def load_checkpoint(path: Path, *kinds: str) -> Checkpoint:
    """Read a checkpoint of the given kind, or of one of several.

    Raises
    ------
    CheckpointError
        The file is missing, a pickle, truncated, no wsinuc checkpoint, or of another kind.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}: check the path")
    with path.open("rb") as stream:
        begin = stream.read(9)
        # A safetensors file begins with the length of its header, any bytes, and then the header's brace.
        if begin.startswith(_PICKLES) and not begin.endswith(b"{"):
            raise CheckpointError(
                f"{path} is a PyTorch pickle, which can run code when it is opened; wsinuc reads safetensors only: "
                "convert it with safetensors.torch.save_file in a place you trust"
            )
    try:
        with safe_open(path, framework="pt") as archive:
            header = json.loads((archive.metadata() or {}).get(_HEADER, "null"))
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no complete safetensors file ({error}): it may be truncated; copy it again"
        ) from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is a safetensors file but was not written by wsinuc: it has no wsinuc header")
    if header["kind"] not in kinds:
        raise CheckpointError(f"{path} holds a {header['kind']}, but a {' or '.join(kinds)} is needed here")
    return Checkpoint(**header, tensors=tensors, sha256=file_sha256(path))


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def as_tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists back to the tuples that frozen configs hold, two levels deep."""
    return {
        key: tuple(tuple(item) if isinstance(item, list) else item for item in value)
        if isinstance(value, list)
        else value
        for key, value in data.items()
    }
