"""``describe_model`` tells what a checkpoint is and what it has learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.segmenters.cutoffs import Adjustable, Cutoffs
from wsinuc.segmenters.outline import outline_model
from wsinuc.segmenters.shipped import WEIGHTS, shipped_path
from wsinuc.workflows.doctor.model_info import describe_model


def test_a_model_of_several_has_learned_from_what_they_have():
    described = describe_model(shipped_path("fast"))
    assert (described.kind, described.method, described.mpp) == ("segmenter", "joint", 0.25)
    assert described.classes == ("Nucleus",)
    outline = outline_model("fast")
    assert isinstance(outline, Adjustable)
    assert Cutoffs(threshold=described.threshold, min_area_um2=described.min_area_um2) == outline.own_cutoffs
    members = [describe_model(shipped_path(name)) for name in ("student", "student-tnbc")]
    assert set(described.data) == {line for member in members for line in member.data}
    assert any("NuInsSeg" in line for line in described.data)
    assert described.parameters == sum(member.parameters for member in members)
    assert described.bytes == sum(
        path.stat().st_size for path in map(shipped_path, ("fast", "student", "student-tnbc"))
    )
    assert described.sha256 == file_sha256(shipped_path("fast"))


def test_a_model_of_classes_names_the_model_whose_nuclei_it_sorts():
    described = describe_model(shipped_path("breast"))
    assert described.base == "fast"
    assert described.classes == ("Lymphocyte", "Epithelial", "Stromal")
    assert described.threshold == describe_model(shipped_path("fast")).threshold
    assert 0.3 < described.measured["balanced_accuracy"] < 1
    # Tables and names are no figures.
    assert "confusion" not in described.measured


def test_a_denoiser_has_no_classes():
    described = describe_model(shipped_path("denoiser"))
    assert (described.kind, described.method, described.classes) == ("denoiser", None, ())
    assert (described.threshold, described.min_area_um2) == (None, None)


def test_images_of_a_training_are_counted(tmp_path: Path):
    student = load_checkpoint(WEIGHTS / "student.safetensors", "segmenter")
    read = [{"data": "mine", "images": ["a", "b", "c"]}, {"data": "others\x1b[2J", "images": None}]
    path = tmp_path / "mine.safetensors"
    save_checkpoint(replace(student, provenance={"data": read, "cross_validation": {"aji": 0.5, "windows": 4}}), path)
    described = describe_model(path)
    assert described.data == ("mine, 3 images", "others\\x1b[2J")
    assert described.measured == {"aji": 0.5, "windows": 4}
    assert described.licence is None


def test_what_is_no_model_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no weights at"):
        describe_model(tmp_path / "absent.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(CheckpointError, match="was not written by wsinuc"):
        describe_model(foreign)
