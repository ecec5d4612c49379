"""Weights on disk: safetensors with a JSON header, and nothing that could run code.

The header says what the file is (``kind``), how its network is shaped, and where it comes from. A file of the wrong
kind says so; a pickle is refused by its first bytes before anything is parsed.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from wsinuc import aside
from wsinuc.errors import CheckpointError, OutputError
from wsinuc.models.checkpoints.file_header import HEADER_NAME, file_sha256, require_header
from wsinuc.models.forks import survive_forks

_DTYPES = ("F64", "F32", "F16", "BF16", "I64")
"""Types of weights that are read: all that wsinuc writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Weights and everything needed to use them."""

    kind: str
    """``denoiser``, ``segmenter``, or of a generator ``nudiff-structure``, ``nudiff-image``, ``cosyn``;
    ``text-encoder`` of what such a one listens to."""
    config: dict[str, Any]
    """Shapes and settings, JSON types only."""
    provenance: dict[str, Any]
    """Training data, licences, command, versions: JSON types only."""
    tensors: dict[str, torch.Tensor]
    sha256: str = ""
    """Hash of the file that this was read from; empty before it is saved."""


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically: a reader finds the old file or the new one, never half of it.

    Raises
    ------
    OutputError
        The folder is missing or not writable, or the disk is full.
    """
    header = {"kind": checkpoint.kind, "config": checkpoint.config, "provenance": checkpoint.provenance}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    try:
        # In a folder of its own, because safetensors writes a temporary file beside the name that it is given.
        with aside.appearing(path) as temporary:
            save_file(tensors, temporary, metadata={HEADER_NAME: json.dumps(header, sort_keys=True)})
            temporary.chmod(0o644)  # safetensors makes it readable by its owner only
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"cannot write the checkpoint {path} ({getattr(error, 'strerror', None) or error})"
        ) from error


def load_checkpoint(path: Path, *kinds: str) -> Checkpoint:
    """Read a checkpoint of the given kind, or of one of several.

    Raises
    ------
    CheckpointError
        The file is missing, a pickle, truncated, no wsinuc checkpoint, or of another kind; a weight
        is no finite number, or the header is not what its kind needs.
    """
    header = require_header(path, *kinds)
    survive_forks()  # the checks below are what PyTorch computes first
    tensors = read_tensors(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{path}: the weights {name[:200]!r} hold NaN or infinity: the training had failed, or it is damaged"
            )
    return Checkpoint(**dataclasses.asdict(header), tensors=tensors, sha256=file_sha256(path))


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
