"""`examples/train_teacher.py`: what it learns from, what it never sees, and that it goes on where it stopped."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import disk

from helpers.files.datasets import save

sys.path.insert(0, str(Path(__file__).parents[3] / "examples"))
import negatives
import train_teacher

from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.split import Split
from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.segmenters import load_segmenter

NETWORK = {"classes": 2, "maps": 1, "levels": 2, "fold": 2, "smooth": True}


def write_set(folder: Path, rows: list[dict[str, str]]) -> None:
    for seed, row in enumerate(rows):
        image = np.full((64, 64, 3), 230, np.uint8)
        labels = np.zeros((64, 64), np.uint16)
        for number, (y, x) in enumerate(np.random.default_rng(seed).integers(12, 52, (3, 2)), start=1):
            labels[disk((y, x), 8)] = number
        image[labels > 0] = (90, 60, 140)
        save(image, folder / "images" / f"{row['name']}.png")
        save(labels, folder / "labels" / f"{row['name']}.png")
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def glass() -> LabelledImage:
    nothing = np.zeros((64, 64), np.int32)
    image = np.full((64, 64, 3), 240, np.uint8)
    return LabelledImage(name="glass", image=image, labels=nothing, mpp=0.5, classes=None, attributes={})


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "data"
    write_set(root / "nuinsseg", [{"name": name, "organ": name[0]} for name in ("a1", "a2", "b1")])
    write_set(
        root / "tnbc", [{"name": f"t{patient}", "patient": patient} for patient in ("01", "08", "09", "10", "11")]
    )
    write_set(root / "dsb2018_histology", [{"name": "d1", "stain": "H&E"}])
    parts = {"train": (("a1", None),), "held_images": (("a2", None),), "held_organs": (("b1", None),)}
    Split(parts=parts, dataset="folder", seed=0).save(tmp_path / "split.json")
    for name, value in {"SPLIT": tmp_path / "split.json", "NETWORK": NETWORK, "CROP": 32, "BATCH": 2}.items():
        monkeypatch.setattr(train_teacher, name, value)
    monkeypatch.setattr(train_teacher, "MEASURED", 2)
    monkeypatch.setattr(train_teacher, "negatives", lambda data: [glass()])
    return root


def test_nothing_that_is_held_out_is_learnt_from(data):
    source = train_teacher.learnt_from(data, 21)
    assert [image.name for image in source.images] == ["a1", "t01", "t08", "d1", "glass"]
    assert source.shares == pytest.approx([0.57, 0.14, 0.14, 0.1, 0.05])
    assert [image.mpp for image in source.images[:2]] == [train_teacher.NUINSSEG_MPP, 0.25]


def test_an_interrupted_training_ends_with_the_same_weights(data, tmp_path):
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder in folders:
        folder.mkdir()
    train_teacher.train(data, folders[0], 2, 21, 3, minutes=10)
    for _ in range(3):
        train_teacher.train(data, folders[1], 2, 21, 3, minutes=0)
    whole, parts = (load_checkpoint(folder / "teacher.safetensors", "segmenter") for folder in folders)
    assert whole.provenance["steps"] == parts.provenance["steps"] == 3
    for name, value in whole.tensors.items():
        np.testing.assert_array_equal(value.float().numpy(), parts.tensors[name].float().numpy(), err_msg=name)
    assert load_segmenter(str(folders[0] / "teacher.safetensors"), device="cpu").mpp == 0.25


def test_another_training_is_not_continued(data, tmp_path, monkeypatch):
    train_teacher.train(data, tmp_path, 2, 21, 2, minutes=0)
    monkeypatch.setattr(train_teacher, "NUINSSEG_MPP", 0.2)
    with pytest.raises(CheckpointError, match="nuinsseg_mpp"):
        train_teacher.train(data, tmp_path, 2, 21, 2, minutes=0)


def test_every_negative_is_a_place_of_its_image_and_not_of_what_measures():
    shared = Path(__file__).parents[4] / "shared" / "data"
    places = json.loads(negatives.PLACES.read_text())
    assert len(places) >= 8
    for place in places:
        y0, x0, y1, x1 = place["box"]
        assert 0 <= y0 < y1
        assert 0 <= x0 < x1
        assert place["set"] not in ("histolab", "misc"), "these measure how many nuclei a model sees where none are"
    if not shared.is_dir():
        pytest.skip("needs the data sets beside the checkout")
    for image, place in zip(negatives.negatives(shared), places, strict=True):
        y0, x0, y1, x1 = place["box"]
        assert image.labels.shape == (y1 - y0, x1 - x0)
        assert not image.labels.any()
