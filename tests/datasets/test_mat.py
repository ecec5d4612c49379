"""CoNSeP, CPM and Lizard: ids and classes of MATLAB files, and files that are damaged."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from helpers.files.datasets import SHAPE, blobs, picture, save, save_mat, write_consep, write_lizard
from wsinuc.datasets import open_dataset
from wsinuc.datasets.mat_file import list_variables, read_variable
from wsinuc.errors import DataError, MppError


def test_consep_and_its_four_classes(tmp_path):
    dataset = open_dataset(write_consep(tmp_path))
    assert (dataset.layout.name, dataset[0].mpp) == ("consep", 0.25)
    assert [(row["name"], row["split"]) for row in dataset.rows] == [
        ("test_1", "test"),
        ("train_1", "train"),
        ("train_10", "train"),
    ]
    image = dataset[1]
    np.testing.assert_array_equal(image.labels, blobs(1, 2, 3, 4))
    assert [dataset.classes[c - 1].name for c in image.classes[1:4]] == ["Other", "Malignant epithelial", "Endothelial"]
    assert image.classes[4] == 0, "a nucleus without a type is of no known class"
    grouped = open_dataset(f"consep-grouped={tmp_path}")
    assert [grouped.classes[c - 1].name for c in grouped[1].classes[1:4]] == ["Other", "Epithelial", "Spindle-shaped"]


def test_cpm_tells_sets_and_parts_apart(tmp_path):
    for folder in ("cpm17/train", "cpm17/test", "cpm15"):
        save(picture(0), tmp_path / folder / "Images" / "image_00.png")
        save_mat(tmp_path / folder / "Labels" / "image_00.mat", inst_map=blobs(5, 9).astype(np.float64))
    with pytest.raises(MppError, match="cpm15_image_00 is not recorded"):
        open_dataset(tmp_path)
    dataset = open_dataset(tmp_path, mpp=0.25)
    assert dataset.layout.name == "cpm"
    assert dataset.names == ("cpm15_image_00", "cpm17_test_image_00", "cpm17_train_image_00")
    assert [(row["set"], row["split"]) for row in dataset.rows] == [
        ("cpm15", ""),
        ("cpm17", "test"),
        ("cpm17", "train"),
    ]
    assert np.unique(dataset[2].labels).tolist() == [0, 5, 9]
    assert dataset[2].classes is None


@pytest.mark.parametrize("nested", [False, True])
def test_lizard(tmp_path, nested):
    dataset = open_dataset(write_lizard(tmp_path, nested=nested))
    assert (dataset.layout.name, dataset[0].mpp) == ("lizard", 0.5)
    assert dataset.rows[1] == {"name": "dpath_1", "source": "dpath", "split": "3"}
    image = dataset[0]
    np.testing.assert_array_equal(image.labels, blobs(2, 1, 4))
    names = ["not known", *(c.name for c in dataset.classes)]
    assert [names[image.classes[label]] for label in (1, 2, 4)] == ["Lymphocyte", "Connective", "not known"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inst_map": np.zeros((12, 17))}, r"labels are \(12, 17\) \(h, w\) but the image train_1\.png is \(12, 16\)"),
        ({"inst_map": np.full(SHAPE, 0.5)}, "whole numbers"),
        ({"type_map": np.full(SHAPE, 8)}, "type_map must hold 0 to 7, got 8"),
        ({"other": np.zeros(3)}, "no variable 'inst_map'; it has other"),
    ],
)
def test_broken_mat_files(tmp_path, change, message):
    root = write_consep(tmp_path)
    whole = {} if "other" in change else {"inst_map": blobs(1), "type_map": blobs(1)}
    save_mat(root / "Train" / "Labels" / "train_1.mat", **(whole | change))
    with pytest.raises(DataError, match=message):
        open_dataset(root)[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + b"\0" * 400, "MATLAB 7.3"),
        (b"nonsense", "no MATLAB file of version 5"),
        (None, "is missing"),
    ],
)
def test_files_that_are_no_mat_files(tmp_path, content, message):
    root = write_consep(tmp_path)
    path = root / "Train" / "Labels" / "train_1.mat"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_dataset(root)[1]


@pytest.mark.parametrize("length", [100, 140, 200, 260])
def test_truncated_mat_files(tmp_path, length):
    root = write_consep(tmp_path)
    path = root / "Train" / "Labels" / "train_1.mat"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=r"train_1\.mat"):
        open_dataset(root)[1]


SHAPES = st.tuples(st.integers(0, 7), st.integers(0, 9))
TYPES = st.sampled_from(["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])


@given(st.data(), st.booleans())
def test_arrays_are_those_that_scipy_reads(data, packed):
    names = data.draw(st.lists(st.from_regex("[a-z][a-z0-9_]{0,30}", fullmatch=True), unique=True, max_size=4))
    arrays = {name: data.draw(hnp.arrays(data.draw(TYPES), data.draw(SHAPES))) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mat"
        savemat(path, {**arrays, "text": "abc", "cells": np.array(["a", 1], object)}, do_compression=packed)
        found = list_variables(path)
        expected = loadmat(path, variable_names=names)
        assert found.keys() == {*names, "text", "cells"}
        for name in names:
            array = read_variable(found[name], path)
            assert found[name].shape == array.shape == expected[name].shape
            np.testing.assert_array_equal(array, expected[name])
        for name in ("text", "cells"):
            with pytest.raises(DataError, match="array of numbers"):
                read_variable(found[name], path)


def test_both_byte_orders_are_read(tmp_path):
    def element(kind, content):
        return struct.pack(">II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")

    flags = element(6, struct.pack(">II", 9, 0))  # class uint8
    sizes = element(5, struct.pack(">ii", 2, 3))
    matrix = flags + sizes + element(1, b"inst_map") + element(4, struct.pack(">6H", 1, 2, 3, 4, 5, 600))
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI" + element(14, matrix))
    (variable,) = list_variables(tmp_path / "a.mat").values()
    assert read_variable(variable, tmp_path / "a.mat").tolist() == [[1, 3, 5], [2, 4, 600]]


def test_a_matrix_that_claims_more_than_is_there_takes_no_memory(tmp_path):
    savemat(tmp_path / "a.mat", {"a": np.zeros((1, 9), np.uint8)}, do_compression=False)
    data = bytearray((tmp_path / "a.mat").read_bytes())
    at = data.index(struct.pack("<ii", 1, 9))
    data[at : at + 8] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    (tmp_path / "a.mat").write_bytes(data)
    (variable,) = list_variables(tmp_path / "a.mat").values()
    with pytest.raises(DataError, match="no whole MATLAB file"):
        read_variable(variable, tmp_path / "a.mat")
