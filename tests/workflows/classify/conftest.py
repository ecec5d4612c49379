"""What the tests of `wsinuc.workflows.classify` share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsinuc import segmenters
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of a segmenter that needs no training."""
    monkeypatch.setitem(segmenters.METHODS, "dark", "helpers.files.point_sets:DarkSegmenter")
    path = tmp_path / "base.safetensors"
    tensors = {"nothing": torch.zeros(1)}
    save_checkpoint(Checkpoint(kind="segmenter", config={"method": "dark"}, provenance={}, tensors=tensors), path)
    return path
