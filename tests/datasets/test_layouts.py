"""NuInsSeg, TNBC, DSB 2018, GlaS and sets of points, as published; and what holds for every layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.files.datasets import (
    SHAPE,
    blobs,
    picture,
    save,
    write_consep,
    write_dsb,
    write_lizard,
    write_monuseg,
    write_pannuke,
)
from wsinuc.datasets import LAYOUTS, open_dataset
from wsinuc.errors import DataError, MppError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def test_nuinsseg(tmp_path):
    for organ, name, masks in (
        ("human bladder", "human_bladder_01", "label masks modify"),
        ("mouse muscle_tibia", "mouse_muscle_tibia_1", "label masks"),
    ):
        save(picture(0), tmp_path / organ / "tissue images" / f"{name}.png")
        save(blobs(1, 2).astype(np.uint16), tmp_path / organ / masks / f"{name}.tif")
        (tmp_path / organ / "vague areas" / "mask binary").mkdir(parents=True)
    save(blobs(8).astype(np.uint16), tmp_path / "human bladder" / "label masks" / "human_bladder_01.tif")
    dataset = open_dataset(tmp_path)
    assert dataset.layout.name == "nuinsseg"
    assert dataset.rows[0] == {"name": "human_bladder_01", "organ": "bladder", "species": "human"}
    assert dataset.rows[1]["organ"] == "muscle_tibia"
    for image in dataset:
        np.testing.assert_array_equal(image.labels, blobs(1, 2))
        assert image.mpp == 0.16


@pytest.mark.skipif(not (SHARED / "nuinsseg").is_dir(), reason="the shared data sets are not here")
def test_nuinsseg_as_published_is_the_prepared_set(tmp_path):
    prepared = open_dataset(SHARED / "nuinsseg", mpp=0.16)
    assert len(prepared) == 665
    chosen = [prepared[i] for i in (0, 600)]
    for image in chosen:
        folder = tmp_path / image.attributes["organ"]
        save(image.image, folder / "tissue images" / f"{image.name}.png")
        save(image.labels.astype(np.uint16), folder / "label masks modify" / f"{image.name}.tif")
    for image, again in zip(chosen, open_dataset(tmp_path), strict=True):
        assert (again.name, again.mpp) == (image.name, image.mpp)
        assert f"{again.attributes['species']} {again.attributes['organ']}" == image.attributes["organ"]
        np.testing.assert_array_equal(again.image, image.image)
        np.testing.assert_array_equal(again.labels, image.labels)


def test_tnbc(tmp_path):
    mask = (blobs(1, 2) > 0).astype(np.uint8) * 255
    for patient in ("01", "12"):
        save(np.dstack([picture(0), np.full(SHAPE, 255, np.uint8)]), tmp_path / f"Slide_{patient}" / f"{patient}_1.png")
        save(mask, tmp_path / f"GT_{patient}" / f"{patient}_1.png")
    dataset = open_dataset(tmp_path)
    assert dataset.layout.name == "tnbc"
    assert [(row["patient"], row["organ"]) for row in dataset.rows] == [("01", "breast"), ("12", "brain")]
    np.testing.assert_array_equal(dataset[0].labels, blobs(1, 2))
    np.testing.assert_array_equal(dataset[0].image, picture(0))
    save(mask[:-1], tmp_path / "GT_12" / "12_1.png")
    with pytest.raises(DataError, match=r"labels are \(11, 16\)"):
        dataset[1]


@pytest.mark.skipif(not (SHARED / "tnbc").is_dir(), reason="the shared data sets are not here")
def test_tnbc_as_published_has_the_nuclei_of_the_prepared_set(tmp_path):
    prepared = open_dataset(SHARED / "tnbc", mpp=0.25)[:4]
    for image in prepared:
        _, patient, number = image.name.split("_")
        save(image.image, tmp_path / f"Slide_{patient}" / f"{patient}_{number}.png")
        save((image.labels > 0).astype(np.uint8) * 255, tmp_path / f"GT_{patient}" / f"{patient}_{number}.png")
    for ours, theirs in zip(open_dataset(tmp_path), prepared, strict=True):
        # What touches at corners alone is one component there and two here.
        assert theirs.labels.max() <= ours.labels.max() <= 1.02 * theirs.labels.max()


def test_dsb2018(tmp_path):
    dataset = open_dataset(write_dsb(tmp_path), mpp=0.25)
    assert dataset.layout.name == "dsb2018"
    assert dataset.rows[0] == {"name": "0a7d", "stage": "stage1_train"}
    np.testing.assert_array_equal(dataset[0].labels, blobs(2, 1, 3))
    assert open_dataset(tmp_path / "stage1_train", mpp=0.25).rows == dataset.rows
    with pytest.raises(MppError):
        open_dataset(tmp_path)
    for mask in (tmp_path / "stage1_train" / "0b2e" / "masks").iterdir():
        mask.unlink()
    with pytest.raises(DataError, match="holds no masks"):
        dataset[1]


@pytest.mark.parametrize("palette", [False, True])
def test_glas(tmp_path, palette):
    folder = tmp_path / "Warwick QU Dataset (Released 2016_07_08)"
    for name in ("train_1", "testA_12", "testB_3"):
        save(picture(0), folder / f"{name}.bmp")
        anno = Image.fromarray(blobs(1, 2).astype(np.uint8))
        if palette:
            anno.putpalette([200, 10, 10, 0, 255, 0, 0, 0, 255])
        anno.save(folder / f"{name}_anno.bmp")
    header = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"
    (folder / "Grade.csv").write_text(
        f"{header}\ntrain_1,7, benign, healthy\ntestA_12,4, malignant, poorly differentiated\n"
    )
    dataset = open_dataset(tmp_path)
    assert (dataset.layout.name, dataset.layout.kind, len(dataset)) == ("glas", "glands", 3)
    row = dataset.rows[dataset.names.index("testA_12")]
    assert (row["split"], row["patient"], row["grade"]) == ("testA", "4", "malignant")
    assert row["differentiation"] == "poorly differentiated"
    assert dataset.rows[dataset.names.index("testB_3")]["grade"] == ""
    np.testing.assert_array_equal(dataset[0].labels, blobs(1, 2))
    assert dataset[0].mpp == pytest.approx(0.62, abs=1e-3)


def test_nucls_as_published(tmp_path):
    name = "TCGA-A1-A0SP-DX1_id-5ea4095addda5f8398977ebc_left-7053_top-53967_bottom-54231_right-7311"
    save(picture(0), tmp_path / "rgb" / f"{name}.png")
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / f"{name}.csv").write_text(
        "raw_classification,main_classification,super_classification,type,xmin,ymin,xmax,ymax,coords_x,coords_y\n"
        "fov,fov,fov,rectangle,0,0,16,12,,\n"
        'tumor,tumor_nonMitotic,tumor_any,polyline,2,3,6,9,"2,6","3,9"\n'
        "lymphocyte,lymphocyte,sTIL,rectangle,9,1,10,2,,\n"
        "unlabeled,AMBIGUOUS,AMBIGUOUS,rectangle,1,1,3,3,,\n"
        "tumor,tumor_nonMitotic,tumor_any,rectangle,14,3,20,9,,\n"
    )
    dataset = open_dataset(tmp_path)
    assert (dataset.layout.name, dataset.layout.kind, dataset[0].mpp) == ("nucls", "points", 0.2)
    assert dataset.rows[0]["patient"] == "TCGA-A1-A0SP"
    image = dataset[0]
    assert image.points.tolist() == [[6, 4], [1.5, 9.5], [2, 2]], "the last box has its centre outside"
    assert image.point_classes.tolist() == [1, 3, 0]
    assert image.labels.shape == SHAPE
    assert not image.labels.any()


def test_nucls_points_by_class_number(tmp_path):
    save(picture(0), tmp_path / "images" / "test_1.png")
    (tmp_path / "points").mkdir()
    table = tmp_path / "points" / "test_1.csv"
    table.write_text("x,y,class\n4,6,0\n9,1,3\n")
    image = open_dataset(f"nucls={tmp_path}")[0]
    assert (image.points.tolist(), image.mpp) == ([[6, 4], [1, 9]], 0.2)
    assert image.point_classes.tolist() == [1, 4]
    for text, message in (("4,6,4", "classes 0 to 3"), ("4,nan,0", "must be finite"), ("a,6,0", "must be numbers")):
        table.write_text(f"x,y,class\n{text}\n")
        with pytest.raises(DataError, match=message):
            open_dataset(f"nucls={tmp_path}")[0]


@pytest.mark.skipif(not (SHARED / "nucls_points").is_dir(), reason="the shared data sets are not here")
def test_the_real_points_are_all_there():
    dataset = open_dataset(f"nucls={SHARED / 'nucls_points'}")
    counts = sum(np.bincount(image.point_classes, minlength=5) for image in dataset)
    assert counts.tolist() == [0, 89, 95, 323, 77]


@pytest.mark.parametrize(("side", "mpp"), [(200, 0.5), (400, 0.25)])
def test_endonuke(tmp_path, side, mpp):
    root = tmp_path / "dataset"
    save(picture(0, (side, side)), root / "images" / "1886.png")
    save(picture(1, (side, side)), root / "images" / "77.png")
    for annotator, name, text in (("ptg1", "1886", "10 20 0\n30 5 2\n"), ("stud3", "77", "")):
        (root / "labels" / "bulk" / annotator).mkdir(parents=True)
        (root / "labels" / "bulk" / annotator / f"{name}.txt").write_text(text)
    (root / "labels" / "agreement" / "hidden" / "ptg1").mkdir(parents=True)
    (root / "labels" / "agreement" / "hidden" / "ptg1" / "5.txt").write_text("1 1 0\n")
    dataset = open_dataset(tmp_path)
    assert (dataset.layout.name, dataset.names) == ("endonuke", ("1886", "77"))
    assert dataset.rows == open_dataset(root).rows
    assert (dataset[0].attributes["annotator"], dataset[0].mpp) == ("ptg1", mpp)
    assert dataset[0].points.tolist() == [[20, 10], [5, 30]]
    assert dataset[0].point_classes.tolist() == [1, 3]
    assert dataset[1].points.shape == (0, 2)
    (root / "labels" / "bulk" / "stud3" / "77.txt").write_text("1 2\n")
    with pytest.raises(DataError, match="three numbers, x y class"):
        dataset[1]


WRITERS = {
    "pannuke": write_pannuke,
    "monuseg": write_monuseg,
    "consep": write_consep,
    "lizard": write_lizard,
    "dsb2018": write_dsb,
}


@pytest.mark.parametrize("name", WRITERS)
def test_only_its_own_layout_is_recognised(tmp_path, name):
    WRITERS[name](tmp_path)
    assert open_dataset(tmp_path, mpp=0.25).layout.name == name


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "corrected"])
def test_a_folder_without_the_files_says_what_was_expected_and_found(tmp_path, name):
    (tmp_path / "holiday.txt").write_text("")
    with pytest.raises(DataError) as caught:
        open_dataset(f"{name}={tmp_path}", mpp=0.25)
    assert "holiday.txt" in str(caught.value) or "there is no Lizard_Labels" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "lizard"])
def test_the_same_set_twice_is_refused(tmp_path, name):
    WRITERS[name](tmp_path)
    first = next(path for path in sorted(tmp_path.iterdir()) if path.is_dir())
    shutil.copytree(first, tmp_path / f"{first.name} copy")
    with pytest.raises(DataError, match="have the same name; is the data set there twice"):
        open_dataset(tmp_path, mpp=0.25)


def _write_tnbc(root: Path) -> Path:
    save(picture(0), root / "Slide_01" / "01_1.png")
    save((blobs(1, 2) > 0).astype(np.uint8) * 255, root / "GT_01" / "01_1.png")
    return root


@pytest.mark.parametrize(
    "write",
    [write_pannuke, write_monuseg, write_consep, write_lizard, write_dsb, _write_tnbc],
    ids=lambda f: f.__name__,
)
def test_what_macos_leaves_beside_every_file_is_no_part_of_a_set(write, tmp_path):
    write(tmp_path)
    expected = [image.labels.max() for image in open_dataset(tmp_path, mpp=0.25)]
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7 resource fork")
        path.with_name(".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert [image.labels.max() for image in open_dataset(tmp_path, mpp=0.25)] == expected
