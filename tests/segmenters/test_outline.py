"""The outline of a model, read from its header, is what the loaded model says; what a header can tell is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.segmenters import load_segmenter, model_path, shipped_models
from wsinuc.segmenters.base import Tiled
from wsinuc.segmenters.outline import outline_model

FACTS = [name for name, value in vars(Tiled).items() if isinstance(value, property)]


@pytest.mark.parametrize("name", shipped_models())
def test_the_outline_of_a_shipped_model_is_that_of_the_model(name: str) -> None:
    segmenter = load_segmenter(name, device="cpu")
    outline = outline_model(name)
    assert FACTS == ["mpp", "mpp_range", "tile", "margin", "min_halo", "classes", "channels"]
    assert {fact: getattr(outline, fact) for fact in FACTS} == {fact: getattr(segmenter, fact) for fact in FACTS}


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(model_path("student").read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="may be truncated"):
        outline_model(str(path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"method": "magic"}, "the method 'magic'"),
        ({"tile": 64, "margin": 32}, "tile 64 must exceed"),
        ({"separation": "none"}, "separation must be one of"),
        ({"mpp_range": [2.0, 1.0]}, "mpp_range begins with the finest"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    checkpoint = load_checkpoint(model_path("student"), "segmenter")
    path = tmp_path / "odd.safetensors"
    save_checkpoint(dataclasses.replace(checkpoint, config=checkpoint.config | change), path)
    with pytest.raises(CheckpointError, match=says):
        outline_model(str(path))


def test_a_joint_model_of_other_members_is_refused(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(model_path("fast"), "segmenter")
    members = [member | {"sha256": "0" * 64} for member in checkpoint.config["members"]]
    path = tmp_path / "joint.safetensors"
    save_checkpoint(dataclasses.replace(checkpoint, config=checkpoint.config | {"members": members}), path)
    with pytest.raises(CheckpointError, match="with the sha256 000000000000"):
        outline_model(str(path))
