"""Images that nobody annotated (`datasets.images`)."""

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


def write_images(root: Path, rows: str = "a,0.5\nb,\n") -> Path:
    save(picture(0, (64, 64)), root / "images" / "a.png")
    save(picture(1, (64, 64)), root / "images" / "b.png")
    (root / "manifest.csv").write_text("name,mpp\n" + rows)
    return root


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
@pytest.mark.parametrize(
    ("name", "count"),
    [("bcss", 3), ("camelyon", 32), ("histolab", 31), ("misc", 10), ("nct_crc", 9), ("oral", 32), ("sbu_tcga", 110)],
)
def test_the_unlabelled_sets_are_all_read(name, count):
    dataset = open_dataset(SHARED / name, otherwise=0.25, pixels_only=True)
    assert (dataset.layout.name, len(dataset)) == ("images", count)
    assert all(image.image.shape[2] == 3 for image in dataset[:2])
