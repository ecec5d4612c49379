"""PanNuke: folds in every spelling, ids made unique, contested pixels, arrays that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.files.datasets import pannuke_arrays, write_fold, write_pannuke
from wsinuc.datasets import open_dataset
from wsinuc.datasets.layouts.pannuke import merge_channels
from wsinuc.errors import DataError


def test_pannuke_reads_patches_of_all_folds(tmp_path):
    dataset = open_dataset(write_pannuke(tmp_path))
    assert (dataset.layout.name, len(dataset)) == ("pannuke", 6)
    assert dataset.rows[3] == {"name": "fold2_0001", "fold": "2", "tissue": "Colon"}
    image = dataset[2]
    images, _ = pannuke_arrays()
    np.testing.assert_array_equal(image.image, images[0])
    assert (image.image.dtype, image.mpp) == (np.uint8, 0.25)
    assert image.labels[4, 4] == 0, "a pixel that two classes claim is background"
    assert np.unique(image.labels).tolist() == [0, 1, 2, 3]
    names = [dataset.classes[image.classes[label] - 1].name for label in (1, 2, 3)]
    assert names == ["Neoplastic", "Epithelial", "Epithelial"]
    assert dataset[1].labels.max() == 0
    assert dataset[1].classes.tolist() == [0]


@pytest.mark.parametrize("pattern", ["Fold{n}/{kind}/fold{n}", "fold_{n}/{kind}/fold{n}", "{kind}/fold{n}", "fold{n}"])
def test_pannuke_in_other_folders(tmp_path, pattern):
    expected = open_dataset(write_pannuke(tmp_path / "published"))
    found = open_dataset(write_pannuke(tmp_path / "other", pattern))
    assert found.rows == expected.rows
    np.testing.assert_array_equal(found[4].labels, expected[4].labels)


def test_pannuke_sorted_by_kind_and_one_fold_alone(tmp_path):
    flat = tmp_path / "flat"
    write_fold(*(flat / kind / "fold_2.npy" for kind in ("images", "masks", "types")))
    assert open_dataset(flat).names == ("fold2_0000", "fold2_0001")
    alone = write_pannuke(tmp_path / "set", folds=(3,)) / "Fold 3"
    assert open_dataset(alone).names == ("fold3_0000", "fold3_0001")


def test_every_nucleus_of_pannuke_keeps_its_uncontested_pixels():
    rng = np.random.default_rng(3)
    masks = rng.integers(0, 4, (10, 10, 6)) * (rng.random((10, 10, 6)) < 0.2)
    masks = masks.repeat(2, axis=0).repeat(2, axis=1)  # single pixels that touch others are no annotation
    labels, classes, notes = merge_channels(masks.astype(np.float64), Path("masks.npy"))
    assert not notes
    claims = (masks[..., :5] > 0).sum(axis=2)
    np.testing.assert_array_equal(labels > 0, claims == 1)
    y, x = np.nonzero(labels)
    channel = classes[labels[y, x]] - 1
    original = list(zip(channel.tolist(), masks[y, x, channel].tolist(), strict=True))
    assert len(set(zip(labels[y, x].tolist(), original, strict=True))) == labels.max() == len(set(original))


@pytest.mark.parametrize(
    ("array", "name", "message"),
    [
        (np.zeros((2, 16, 16, 5)), "masks", r"masks \(n, 256, 256, 6\), got .*\(2, 16, 16, 5\)"),
        (np.zeros((3, 16, 16, 6)), "masks", "of different folds"),
        (np.array([{}, {}], object), "types", "no plain NumPy array"),
        (np.array(["Breast"]), "types", "expected 2 names of tissues"),
        (np.full((2, 16, 16, 6), 0.5), "masks", "whole numbers.*fractions"),
        (np.full((2, 16, 16, 3), 0.5), "images", "between 0 and 1; the published arrays go to 255"),
        (np.full((2, 16, 16, 3), 300.0), "images", "between 0 and 255, got 300 to 300"),
    ],
)
def test_pannuke_refuses(tmp_path, array, name, message):
    root = write_pannuke(tmp_path, folds=(1,))
    folder = root / "Fold 1" / ("masks" if name == "masks" else "images") / "fold1"
    if name == "masks" and array.shape == (2, 16, 16, 6):
        array[..., 1:] = 0
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(DataError, match=message):
        open_dataset(root)[0]


def test_a_truncated_array_is_named(tmp_path):
    root = write_pannuke(tmp_path, folds=(1,))
    path = root / "Fold 1" / "images" / "fold1" / "images.npy"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"images\.npy is no plain NumPy array, or is cut off"):
        open_dataset(root)
