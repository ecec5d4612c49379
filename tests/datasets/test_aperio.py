"""MoNuSeg and Kumar: which pixels an outline covers, who keeps what two claim, XML that cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.files.datasets import SHAPE, aperio, picture, save, square, write_monuseg
from wsinuc.datasets import open_dataset
from wsinuc.datasets.layouts.aperio import MONUSEG_TEST, paint_regions
from wsinuc.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def test_monuseg_paints_outlines_in_order(tmp_path):
    dataset = open_dataset(write_monuseg(tmp_path / "monuseg"))
    assert dataset.layout.name == "monuseg"
    assert [(row["split"], row["organ"], row["patient"]) for row in dataset.rows] == [
        ("train", "colon", "TCGA-AY-A8YK"),
        ("test", "lung", "TCGA-44-2665"),
    ]
    labels = dataset[0].labels
    expected = np.zeros(SHAPE, int)
    expected[3:8, 4:9] = 2  # from 4.4, 3.2: pixel centres 4.5 and 3.5 lie inside, 9.5 and 8.5 do not
    expected[1:5, 2:6] = 1  # the first keeps what both claim
    expected[9:12, 0:3] = 3  # clipped at the image's edges
    np.testing.assert_array_equal(labels, expected)


def test_a_hidden_nucleus_takes_no_number():
    def ring(y: float, x: float, side: float) -> np.ndarray:
        return np.array([[y, x], [y, x + side], [y + side, x + side], [y + side, x]])

    labels = paint_regions([ring(0, 0, 6), ring(1, 1, 2), ring(20, 20, 3), np.zeros((0, 2)), ring(8, 8, 2)], (12, 12))
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert labels[9, 9] == 2


def test_kumar_knows_its_three_splits(tmp_path):
    folder = tmp_path / "Kumar"
    for name in ("TCGA-A7-A13E-01Z-00-DX1", "TCGA-E2-A1B5-01Z-00-DX1", "TCGA-RD-A8N9-01A-01-TS1"):
        save(picture(0), folder / "Tissue Images" / f"{name}.tif")
        (folder / "Annotations").mkdir(exist_ok=True)
        (folder / "Annotations" / f"{name}.xml").write_text(aperio(square(2, 1, 4)))
    dataset = open_dataset(folder)
    assert dataset.layout.name == "kumar"
    assert [row["split"] for row in dataset.rows] == ["train", "test_same", "test_different"]
    assert open_dataset(f"monuseg={folder}").layout.name == "monuseg"
    assert dataset[2].labels.sum() == 16


@pytest.mark.skipif(not (SHARED / "monuseg2018_train").is_dir(), reason="the shared data sets are not here")
def test_the_table_of_organs_is_the_one_of_the_real_set(tmp_path):
    rows = open_dataset(SHARED / "monuseg2018_train", mpp=0.25).rows
    for row in rows:
        save(picture(0), tmp_path / f"{row['name']}.tif")
        (tmp_path / f"{row['name']}.xml").write_text(aperio())
    found = {row["name"]: row["organ"] for row in open_dataset(f"monuseg={tmp_path}").rows}
    known = {row["name"]: row["organ"] for row in rows}
    assert len(found) == 30
    assert sum(len(patients) for patients in MONUSEG_TEST.values()) == 14
    assert {name: organ for name, organ in found.items() if organ != known[name]} == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<Annotations><Annot", "no whole XML file"),
        ("<html/>", "root Annotations, got html"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Annotations>&b;</Annotations>', "declares entities"),
        (aperio([(1, 1), (float("nan"), 2), (3, 3)]), "no finite number"),
        (aperio([(1, 1)]).replace('X="1"', ""), "needs the numbers X and Y"),
        (None, "is missing"),
    ],
)
def test_broken_xml(tmp_path, text, message):
    root = write_monuseg(tmp_path)
    xml = next(root.rglob("TCGA-AY*.xml"))
    xml.unlink()
    if text is not None:
        xml.write_text(text)
    dataset = open_dataset(root)
    assert dataset[1].labels.max() == 3
    with pytest.raises(DataError, match=message):
        dataset[0]
