"""One's own points by class name (`datasets.points`), and images that nobody annotated (`datasets.images`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from helpers.files.datasets import picture, save
from wsinuc.datasets import open_dataset
from wsinuc.errors import DataError, MppError
from wsinuc.workflows.data.info import describe_dataset
from wsinuc.workflows.data.sources import open_sources
from wsinuc_cli.main import main

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_sets = pytest.mark.skipif(not (SHARED / "brca_m2c").is_dir(), reason="the shared data sets are not here")


def write_points(root: Path, text: str = "x,y,class\n4,6,stromal\n9,1,lymphocyte\n2,3,\n99,3,stromal\n") -> Path:
    save(picture(0), root / "images" / "a.png")
    (root / "points").mkdir(exist_ok=True)
    (root / "points" / "a.csv").write_text(text)
    (root / "classes.csv").write_text("name,color\nlymphocyte,#2e86de\nepithelial,#e74c3c\nstromal,#27ae60\n")
    (root / "manifest.csv").write_text("name,mpp,patient\na,0.5,P1\n")
    return root


def write_images(root: Path, rows: str = "a,0.5\nb,\n") -> Path:
    save(picture(0, (64, 64)), root / "images" / "a.png")
    save(picture(1, (64, 64)), root / "images" / "b.png")
    (root / "manifest.csv").write_text("name,mpp\n" + rows)
    return root


def test_points_are_told_apart_by_the_names_of_their_classes(tmp_path):
    dataset = open_dataset(write_points(tmp_path))
    assert (dataset.layout.name, dataset.layout.kind) == ("points", "points")
    assert [c.name for c in dataset.classes] == ["lymphocyte", "epithelial", "stromal"]
    assert dataset.classes[1].color == (0xE7, 0x4C, 0x3C)
    image = dataset[0]
    assert (image.mpp, image.attributes["patient"]) == (0.5, "P1")
    assert image.points.tolist() == [[6, 4], [1, 9], [3, 2]], "the last one lies outside"
    assert image.point_classes.tolist() == [3, 1, 0]
    assert not image.labels.any()


def test_points_need_no_manifest_but_a_resolution(tmp_path):
    (write_points(tmp_path) / "manifest.csv").unlink()
    assert open_dataset(tmp_path, mpp=0.25)[0].mpp == 0.25
    with pytest.raises(MppError, match="resolution of a is not recorded"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,class\n4,6,Stroma\n", "class 'Stroma' is not in classes.csv, which has lymphocyte, epithelial, stromal"),
        ("x,y,class\n4,six,stromal\n", "must be numbers"),
        ("x,y,class\n4,nan,stromal\n", "must be finite"),
        ("x,y,kind\n4,6,stromal\n", "no column 'class'"),
    ],
)
def test_points_that_are_none_are_refused_by_name(tmp_path, text, message):
    dataset = open_dataset(write_points(tmp_path, text))
    with pytest.raises(DataError, match=message) as caught:
        dataset[0]
    assert "a.csv" in str(caught.value) or "a: points" in str(caught.value)


def test_an_image_without_its_points_is_refused(tmp_path):
    dataset = open_dataset(write_points(tmp_path))
    (tmp_path / "points" / "a.csv").unlink()
    with pytest.raises(DataError, match=r"a\.csv is missing"):
        dataset[0]


def test_points_by_number_stay_those_of_nucls(tmp_path):
    (write_points(tmp_path, "x,y,class\n4,6,0\n") / "classes.csv").unlink()
    assert open_dataset(tmp_path).layout.name == "nucls"


def test_images_without_annotation_are_pixels_and_nothing_else(tmp_path):
    write_images(tmp_path)
    with pytest.raises(DataError, match="images without annotation, which pretrain and distill take"):
        open_dataset(tmp_path, mpp=0.5)
    dataset = open_dataset(tmp_path, otherwise=0.25, pixels_only=True)
    assert (dataset.layout.name, dataset.names) == ("images", ("a", "b"))
    np.testing.assert_array_equal(dataset[1].image, picture(1, (64, 64)))


def test_a_resolution_for_the_rest_leaves_recorded_ones_alone(tmp_path):
    write_images(tmp_path)
    with pytest.raises(MppError, match="resolution of b"):
        open_dataset(tmp_path, pixels_only=True)
    assert [image.mpp for image in open_dataset(tmp_path, otherwise=0.25, pixels_only=True)] == [0.5, 0.25]
    assert [image.mpp for image in open_dataset(tmp_path, mpp=0.3, otherwise=0.25, pixels_only=True)] == [0.3, 0.3]
    shapes = [pixels.shape for pixels in open_sources([tmp_path], mpp=0.5, file_mpp=0.25)]
    assert shapes == [(64, 64, 3), (32, 32, 3)], "the second is twice as fine"


@pytest.mark.parametrize("folder", ["labels", "points"])
def test_annotation_that_is_missing_in_part_is_not_taken_for_none(tmp_path, folder):
    (write_images(tmp_path) / folder).mkdir()
    with pytest.raises(DataError):
        list(open_dataset(tmp_path, mpp=0.25, pixels_only=True))


def test_slides_in_a_folder_of_images_stay_slides(tmp_path):
    save(picture(0, (64, 64)), tmp_path / "images" / "a.tif")
    (tmp_path / "manifest.csv").write_text("name\na\n")
    with pytest.raises(DataError, match="no data set known here"):
        open_dataset(tmp_path, mpp=0.25, pixels_only=True)


def test_info_says_what_is_recorded_and_that_nothing_is_annotated(tmp_path):
    write_images(tmp_path)
    found = describe_dataset(tmp_path)
    assert (found.kind, found.images, dict(found.mpp)) == ("unlabelled", 2, {0.5: 1})
    text = CliRunner().invoke(main, ["data", "info", str(tmp_path)]).output
    assert "annotation  none" in text
    assert "0.5 um per pixel (1), not recorded (1)" in text


def test_training_refuses_images_without_annotation(tmp_path):
    write_images(tmp_path)
    command = ["train", str(tmp_path), "--method", "unet", "--mpp", "0.5", "-o", str(tmp_path / "x.safetensors")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "images without annotation" in result.output


@needs_sets
def test_the_real_points_of_three_classes_are_all_there():
    dataset = open_dataset(SHARED / "brca_m2c")
    counts = sum(np.bincount(image.point_classes, minlength=4) for image in dataset)
    assert counts.tolist() == [0, 5859, 16798, 7981]
    shared = (SHARED / "brca_m2c" / "overlap_with_monuseg.txt").read_text().split()
    patients = frozenset(name[:12] for name in shared)
    left = dataset.where(unwanted={"patient": patients})
    assert len(left) == len(dataset) - len(shared) == 116


@needs_sets
@pytest.mark.parametrize(
    ("name", "count"),
    [("bcss", 3), ("camelyon", 32), ("histolab", 31), ("misc", 10), ("nct_crc", 9), ("oral", 32), ("sbu_tcga", 110)],
)
def test_the_unlabelled_sets_are_all_read(name, count):
    dataset = open_dataset(SHARED / name, otherwise=0.25, pixels_only=True)
    assert (dataset.layout.name, len(dataset)) == ("images", count)
    assert all(image.image.shape[2] == 3 for image in dataset[:2])
