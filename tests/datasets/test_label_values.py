"""What label pictures of every odd kind become: the right nuclei and a note, or one line that says what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.files.label_pictures import SHAPE, Picture, nuclei, pictures
from wsinuc.datasets import open_dataset
from wsinuc.datasets.label_files import read_mask
from wsinuc.datasets.label_values import BLACK_AND_WHITE, SCATTERED, count_notes, instances_of, mask_note
from wsinuc.datasets.layouts.pannuke import merge_channels
from wsinuc.errors import DataError
from wsinuc.workflows.data.info import describe_dataset
from wsinuc.workflows.data.training_set import ImageSelection, gather_training_set
from wsinuc.workflows.evaluate.run import evaluate_folders
from wsinuc_cli.main import main

HERE = Path("labels.png")


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two label pictures show the same nuclei, however they are numbered."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    zero = (one == 0) == (other == 0)
    return bool(zero.all() and len(np.unique(one)) == len(np.unique(other)) == pairs.shape[1])


def write_set(folder: Path, *chosen: Picture) -> Path:
    for number, each in enumerate(chosen):
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (*SHAPE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        each.write(folder / "labels" / f"{number}")
    return folder


@pytest.mark.parametrize("picture", pictures(), ids=lambda picture: picture.name)
def test_a_label_picture_gives_its_nuclei_or_one_line(tmp_path, picture):
    dataset = open_dataset(write_set(tmp_path / "set", picture), mpp=0.25)
    if picture.nuclei is None:
        with pytest.raises(DataError) as raised:
            dataset[0]
        assert picture.said in str(raised.value)
        assert "\n" not in str(raised.value)
        assert "labels" in str(raised.value)
        return
    image = dataset[0]
    assert len(np.unique(image.labels)) - 1 == picture.nuclei
    if picture.nuclei:
        assert same_partition(image.labels, nuclei())
    said = "; ".join(image.notes)
    assert picture.said in said
    assert bool(said) == bool(picture.said)


def test_large_numbers_keep_the_classes_that_a_table_gives_them(tmp_path):
    folder = write_set(tmp_path / "set", next(p for p in pictures() if p.name == "far-above"))
    (folder / "classes").mkdir()
    (folder / "classes.csv").write_text("name\nA\nB\n")
    (folder / "classes" / "0.csv").write_text("label,class\n5000000000,A\n45000000000,B\n")
    image = open_dataset(folder, mpp=0.25)[0]
    assert image.classes is not None
    assert image.classes[image.labels[30, 30]] == 1
    assert image.classes[image.labels[120, 170]] == 2
    assert np.count_nonzero(image.classes) == 2


def test_every_piece_of_a_class_mask_has_the_class_of_its_number(tmp_path):
    folder = write_set(tmp_path / "set", next(p for p in pictures() if p.name == "classes"))
    (folder / "classes").mkdir()
    (folder / "classes.csv").write_text("name\nA\nB\nC\n")
    (folder / "classes" / "0.csv").write_text("label,class\n1,A\n2,B\n3,C\n")
    image = open_dataset(folder, mpp=0.25)[0]
    np.testing.assert_array_equal(image.class_map, np.where(nuclei() > 0, 1 + nuclei() % 3, 0))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_good_labels_stay_as_they_are_whatever_their_numbers_and_type(data):
    """Squares at random places, ids in any order: no rule may touch them."""
    cells = data.draw(st.lists(st.integers(0, 24), min_size=2, max_size=20, unique=True))
    ids = data.draw(st.lists(st.integers(2, 60_000), min_size=len(cells), max_size=len(cells), unique=True))
    labels = np.zeros((100, 100), np.int64)
    for cell, number in zip(cells, ids, strict=True):
        y, x = divmod(cell, 5)
        labels[20 * y : 20 * y + 20, 20 * x : 20 * x + 20] = number  # neighbours touch
    kind = data.draw(st.sampled_from([np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64]))
    found = instances_of(labels.astype(kind), HERE)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.notes == ()


@given(st.integers(1, 8), st.sampled_from([1, 255, 65535]), st.booleans(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_mask_gives_the_same_nuclei_turned_over(count, value, flip_y, flip_x):
    mask = np.zeros((60, 90), np.int32)
    for number in range(count):
        mask[5 + 7 * (number % 3) : 10 + 7 * (number % 3), 2 + 10 * number : 9 + 10 * number] = value
    turned = mask[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    found = instances_of(turned, HERE)
    back = found.labels[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    assert same_partition(back, instances_of(mask, HERE).labels)
    assert len(np.unique(found.labels)) - 1 == count
    assert found.notes == ((mask_note(value),) if count > 1 else ())


def test_a_nucleus_in_two_neighbouring_pieces_stays_one():
    labels = nuclei()
    labels[28:32, 18:43] = 0  # a gap of 4 px through the first nucleus
    found = instances_of(labels, HERE)
    np.testing.assert_array_equal(found.labels, labels)
    labels[100, 5] = 1  # a slip of the hand, far from it
    assert instances_of(labels, HERE).notes == ()


def test_a_nucleus_within_another_is_no_border():
    labels = nuclei()
    labels[28:33, 28:33] = 20
    np.testing.assert_array_equal(instances_of(labels, HERE).labels, labels)


def test_glands_may_cover_most_of_a_picture():
    labels = np.ones(SHAPE, np.int32)
    labels[:20] = 0
    with pytest.raises(DataError, match="one nucleus covers 88%"):
        instances_of(labels, HERE)
    np.testing.assert_array_equal(instances_of(labels, HERE, glands=True).labels, labels)


def test_a_class_channel_of_pannuke_that_is_a_mask_is_taken_apart():
    masks = np.zeros((*SHAPE, 6))
    masks[..., 1] = nuclei() > 0
    masks[60:64, 3:9, 0] = 4
    labels, classes, notes = merge_channels(masks, HERE)
    assert np.bincount(classes).tolist() == [1, 1, 9]
    assert notes == (mask_note(1),)
    assert same_partition(np.where(classes[labels] == 2, labels, 0), nuclei())


def test_grey_rims_of_a_published_mask_are_cut_at_half_and_said(tmp_path):
    mask = nuclei() > 0
    grey = np.where(mask, 255, 0).astype(np.uint8)
    grey[17, 30] = 100  # beside a nucleus
    Image.fromarray(grey).save(tmp_path / "a.png")
    nuclear, notes = read_mask(tmp_path / "a.png")
    np.testing.assert_array_equal(nuclear, mask)
    assert notes == (BLACK_AND_WHITE,)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_label_tiff_stands_upright_as_its_image_does(tmp_path, orientation):
    """An image and its labels that were saved alike, turned, belong together pixel by pixel."""
    labels = np.zeros((40, 60), np.uint16)
    labels[2:12, 2:20] = 1
    labels[25:32, 40:50] = 2
    pixels = np.where(labels[..., None] > 0, 60, 220).astype(np.uint8).repeat(3, axis=2)
    tag = [(274, "H", 1, orientation, True)]
    for folder, values, kind in (("images", pixels, "rgb"), ("labels", labels, "minisblack")):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", values, photometric=kind, extratags=tag)
    read = open_dataset(tmp_path, mpp=0.25)[0]
    assert read.labels.shape == ((40, 60) if orientation == 3 else (60, 40))
    np.testing.assert_array_equal(read.labels > 0, read.image[..., 0] < 100)


def test_notes_are_counted_once_per_image_and_reach_data_info_and_training(tmp_path):
    known = {picture.name: picture for picture in pictures()}
    chosen = [known[name] for name in ("mask-255", "mask-255", "ids-8", "classes", "empty")]
    folder = write_set(tmp_path / "set", *chosen)
    told = CliRunner().invoke(main, ["data", "info", str(folder)])
    assert told.exit_code == 0, told.output
    assert f"Note: 2 of 5 label images {mask_note(255)}" in told.output
    assert f"Note: 1 of 5 label images {SCATTERED.replace('hold', 'holds', 1)}" in told.output
    assert "1 of 5 label images holds nothing but 0" in told.output
    assert describe_dataset(folder, mpp=0.25).nuclei == 4 * 9
    found = gather_training_set([str(folder)], mpp=0.25, selection=ImageSelection(wanted={}, unwanted={}))
    assert found.notes == tuple(f"{folder}: {line}" for line in count_notes(image.notes for image in found.images))
    assert found.origin[0]["labels"] == list(found.notes)
    assert len(found.notes) == 3
    arguments = [
        "train",
        str(folder),
        "--mpp",
        "0.25",
        "--method",
        "unet",
        "--dry-run",
        "-o",
        str(tmp_path / "a.safetensors"),
    ]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    assert all(f"Note: {note}" in told.output for note in found.notes)
    assert "36 nuclei" in told.output


def test_a_set_without_any_nucleus_teaches_nothing(tmp_path):
    empty = next(picture for picture in pictures() if picture.name == "empty")
    folder = write_set(tmp_path / "set", empty, empty)
    with pytest.raises(DataError, match="no annotated nucleus to learn from"):
        gather_training_set([str(folder)], mpp=0.25, selection=ImageSelection(wanted={}, unwanted={}))


def test_notes_of_both_sides_stand_in_the_evaluation(tmp_path):
    for side, values in (("truth", nuclei().astype(np.uint16)), ("found", ((nuclei() > 0) * 255).astype(np.uint8))):
        (tmp_path / side).mkdir()
        Image.fromarray(values).save(tmp_path / side / "a.png")
    evaluation = evaluate_folders(tmp_path / "found", tmp_path / "truth", mpp=0.25, out=tmp_path / "out")
    note = f"predictions: 1 of 1 label images {mask_note(255).replace('hold', 'holds', 1)}"
    assert note in evaluation.notes
    assert note in json.loads((tmp_path / "out" / "summary.json").read_text())["notes"]
    assert evaluation.images[0].scores is not None
    assert evaluation.images[0].scores.aji == 1
