"""A model that is measured on images from which it has learned: the reader of the figures is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers.files.datasets import write_set
from helpers.oracle import MPP
from wsinuc.datasets import open_dataset
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.workflows.evaluate.learned import learned_note
from wsinuc.workflows.evaluate.run import evaluate


def model(folder: Path, provenance: dict[str, Any]) -> Path:
    path = folder / "mine.safetensors"
    tensors = {"weight": torch.zeros(1)}
    save_checkpoint(Checkpoint(kind="denoiser", config={}, provenance=provenance, tensors=tensors), path)
    return path


def test_images_that_taught_a_model_are_named(tmp_path: Path):
    dataset = open_dataset(write_set(tmp_path / "set"), mpp=MPP)
    first = dataset.names[0]
    taught = {"data": "set", "images": [first, "elsewhere"]}
    note = learned_note(model(tmp_path, {"data": [taught]}), dataset)
    assert note is not None
    assert note.startswith(f"mine.safetensors has learned from 1 of the {len(dataset)} images ({first}): ")
    # What the model began with, or what taught its teacher, has seen them, too.
    assert learned_note(model(tmp_path, {"data": "text", "start": {"data": [taught]}}), dataset) == note
    # The same name in another data set is another image, and shipped models name none.
    for other in ([{"data": "another", "images": [first]}], "TNBC (CC BY 4.0)", [], [{"data": "set", "images": []}]):
        assert learned_note(model(tmp_path, {"data": other}), dataset) is None
    kept = evaluate(dataset, lambda image: np.zeros_like(image.labels), notes=[note])
    assert kept.summary()["notes"][0] == note
