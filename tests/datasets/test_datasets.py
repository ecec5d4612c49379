"""The folder data set: what it reads, how it chooses, and what it says about broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import parse_conditions
from wsinuc.datasets.files import read_image
from wsinuc.datasets.label_files import read_ids
from wsinuc.datasets.sampling.split import parted
from wsinuc.errors import ConfigError, DataError, MppError
from wsinuc.grid import Box
from wsinuc.slides import open_slide

SHARED = Path(__file__).parents[3] / "shared" / "data"


def write_dataset(folder: Path, *, columns: str = "name,patient,stain", shape: tuple[int, int] = (8, 10)) -> Path:
    """Three images a, b, c of patients 01, 02, 02; image i is filled with i and holds the labels 0 and 300 + i."""
    lines = [columns, "a,01,H&E,0.25", "b,02,H&E,0.25", "c,02,hematoxylin,0.5"]
    width = len(columns.split(","))
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "manifest.csv").write_text("\n".join(",".join(line.split(",")[:width]) for line in lines) + "\n")
    for i, name in enumerate("abc"):
        Image.fromarray(np.full((*shape, 3), i, np.uint8)).save(folder / "images" / f"{name}.png")
        labels = np.zeros(shape, np.uint16)
        labels[2:4, 1:5] = 300 + i
        Image.fromarray(labels).save(folder / "labels" / f"{name}.png")
    return folder


def test_reads_images_labels_and_attributes(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path / "set"), mpp=0.25)
    assert (len(dataset), dataset.names) == (3, ("a", "b", "c"))
    image = dataset[1]
    assert (image.name, image.mpp, image.attributes["patient"]) == ("b", 0.25, "02")
    assert image.image.shape == (8, 10, 3)
    assert image.image.dtype == np.uint8
    assert image.labels.dtype == np.int32
    assert np.unique(image.labels).tolist() == [0, 301]
    assert [i.name for i in dataset] == ["a", "b", "c"]
    assert dataset[-1].name == "c"
    assert dataset[1:].names == ("b", "c")


def test_nothing_but_the_manifest_is_read_until_asked_for(tmp_path):
    folder = write_dataset(tmp_path / "set")
    (folder / "images" / "b.png").unlink()
    dataset = open_dataset(folder, mpp=0.25)
    assert dataset[0].name == "a"
    with pytest.raises(DataError, match=r"b\.png is missing"):
        dataset[1]


def test_where_chooses_by_attribute(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path / "set"), mpp=0.25)
    assert dataset.where(parse_conditions(["patient=02"])).names == ("b", "c")
    assert dataset.where({}, parse_conditions(["patient=02"])).names == ("a",)
    assert dataset.where(parse_conditions(["patient=02,01", "stain=H&E"])).names == ("a", "b")
    assert dataset.where(parse_conditions([" patient = '02' , \"01\"", "stain=H&E"])).names == ("a", "b")
    assert dataset.where(parse_conditions(["patient=02"]), parse_conditions(["stain=H&E"])).names == ("c",)


def test_wanted_and_unwanted_partition_the_set(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path / "set"), mpp=0.25)
    condition = parse_conditions(["stain=hematoxylin"])
    assert sorted(dataset.where(condition).names + dataset.where({}, condition).names) == sorted(dataset.names)
    # With several conditions an image may meet some of them, and is neither wanted nor unwanted.
    meeting, others = parted(dataset, parse_conditions(["patient=02", "stain=H&E"]))
    assert (meeting.names, others.names) == (("b",), ("a", "c"))
    with pytest.raises(DataError, match="no other image is left"):
        parted(dataset, {"name": frozenset(dataset.names)})


@pytest.mark.parametrize(
    ("wanted", "unwanted", "message"),
    [
        (["organ=liver"], [], "have no 'organ'; they have name, patient, stain"),
        (["patient>=2"], [], "compares texts by a single =, as in patient=09,10, got 'patient>=2'; --where-not leaves"),
        (["patient==02"], [], "compares texts by a single ="),
        (["patient!=02"], [], "--where-not leaves images out, and signs such as >= are for the nuclei of results"),
        (["patient>02"], [], "compares texts by a single ="),
        (["patient= "], [], "a condition on images looks like patient=09,10, got 'patient= '"),
        (["patient=1"], [], "no image has patient=1; the values are: 01, 02"),
        (["patient=01", "stain=hematoxylin"], [], "none of the 3 images"),
        ([], ["patient=01,02"], "none of the 3 images"),
    ],
)
def test_conditions_that_choose_nothing(tmp_path, wanted, unwanted, message):
    dataset = open_dataset(write_dataset(tmp_path / "set"), mpp=0.25)
    with pytest.raises(DataError, match=message):
        dataset.where(parse_conditions(wanted), parse_conditions(unwanted))


@pytest.mark.parametrize("text", ["patient", "=09", "patient=", ""])
def test_malformed_conditions(text):
    with pytest.raises(DataError, match="patient=09,10"):
        parse_conditions([text])


def test_resolution_is_the_users_then_the_manifests_never_a_guess(tmp_path):
    recorded = write_dataset(tmp_path / "recorded", columns="name,patient,stain,mpp")
    assert [i.mpp for i in open_dataset(recorded)] == [0.25, 0.25, 0.5]
    assert [i.mpp for i in open_dataset(recorded, mpp=0.4)] == [0.4, 0.4, 0.4]
    silent = write_dataset(tmp_path / "silent")
    with pytest.raises(MppError, match=r"resolution of a is not recorded.*--mpp"):
        open_dataset(silent)
    with pytest.raises(MppError, match=r"between 0\.05 and 2\.0, got 25"):
        open_dataset(silent, mpp=25)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("", "column 'name'"),
        ("name\n", "column 'name'"),
        ("file,patient\na,01\n", "column 'name'"),
        ("name\na\na\n", "'a' twice"),
        ("name\n../a\n", "plain file name"),
        ("name,stain\na,H\udcff\n", "cannot be read as CSV"),
    ],
)
def test_broken_manifests(tmp_path, manifest, message):
    folder = write_dataset(tmp_path / "set")
    (folder / "manifest.csv").unlink()
    if manifest is not None:
        (folder / "manifest.csv").write_text(manifest, errors="surrogateescape")
    with pytest.raises(DataError, match=message):
        open_dataset(folder, mpp=0.25)[0]


def test_broken_files_are_named(tmp_path):
    folder = write_dataset(tmp_path / "set")
    dataset = open_dataset(folder, mpp=0.25)
    damaged = folder / "images" / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)).save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:150])
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        dataset[0]
    photograph = np.random.default_rng(0).integers(1, 256, (8, 10, 3), np.uint8)
    Image.fromarray(photograph).save(folder / "labels" / "b.png")
    with pytest.raises(DataError, match=r"one channel of whole numbers.*without black"):
        dataset[1]
    Image.fromarray(np.zeros((8, 9), np.uint16)).save(folder / "labels" / "c.png")
    with pytest.raises(DataError, match=r"c\.png: the labels are \(8, 9\) \(h, w\) but the image c\.png is \(8, 10\)"):
        dataset[2]


def test_without_a_manifest_the_images_are_those_that_are_there(tmp_path):
    folder = write_dataset(tmp_path / "set")
    (folder / "manifest.csv").unlink()
    dataset = open_dataset(folder, mpp=0.25)
    assert dataset.names == ("a", "b", "c")
    assert dataset.rows[0] == {"name": "a"}
    (folder / "images" / ".hidden.png").write_bytes(b"")
    (folder / "images" / "notes.txt").write_text("x")
    assert open_dataset(folder, mpp=0.25).names == ("a", "b", "c")


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".jpg", ".bmp"])
def test_images_and_labels_of_other_formats_are_found_by_name(tmp_path, suffix):
    folder = write_dataset(tmp_path / "set")
    before = open_dataset(folder, mpp=0.25)[1]
    for kind, chosen in (("images", suffix), ("labels", ".tif")):
        path = folder / kind / "b.png"
        with Image.open(path) as image:
            image.save(path.with_suffix(chosen), quality=100)
        path.unlink()
    after = open_dataset(folder, mpp=0.25)[1]
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_allclose(after.image, before.image, atol=2)


def test_two_files_of_one_name_are_no_choice(tmp_path):
    folder = write_dataset(tmp_path / "set")
    Image.new("RGB", (10, 8)).save(folder / "images" / "b.tif")
    with pytest.raises(DataError, match=r"holds both b\.png and b\.tif; keep one"):
        open_dataset(folder, mpp=0.25)[1]


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("images", np.zeros((8, 10), np.float32), "got floating-point numbers"),
        ("images", np.full((8, 10), 40000, np.uint16), "8-bit RGB, got a 16-bit"),
        ("images", np.zeros((8, 10), np.int32), "got 32-bit integers"),
        ("labels", np.full((8, 10), 0.5, np.float32), r"got fractions \(a probability map\?\)"),
        ("labels", np.full((8, 10), -1, np.int32), "ids must be whole numbers from 0, got -1"),
    ],
)
def test_what_is_no_picture_and_what_is_no_id_is_refused_with_the_cause(tmp_path, kind, values, message):
    folder = write_dataset(tmp_path / "set")
    (folder / kind / "a.png").unlink()
    Image.fromarray(values).save(folder / kind / "a.tif")
    with pytest.raises(DataError, match=message):
        open_dataset(folder, mpp=0.25)[0]


def test_sizes_are_compared_before_pixels_are_decoded(tmp_path):
    folder = write_dataset(tmp_path / "set")
    path = folder / "labels" / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 60000, (300, 300)).astype(np.uint16)).save(path)
    path.write_bytes(path.read_bytes()[:9000])  # would fail to decode
    with pytest.raises(DataError, match=r"labels are \(300, 300\) \(h, w\) but the image a\.png is \(8, 10\)"):
        open_dataset(folder, mpp=0.25)[0]


def test_classes_by_file(tmp_path):
    folder = write_dataset(tmp_path / "set")
    (folder / "classes.csv").write_text("name,color\ntumour,#ff0000\nstroma,\n")
    (folder / "classes").mkdir()
    (folder / "classes" / "a.csv").write_text("label,class\n300,stroma\n")
    (folder / "classes" / "b.csv").write_text("label,class\n7,stroma\n")
    (folder / "classes" / "c.csv").write_text("label,class\n302,muscle\n")
    dataset = open_dataset(folder, mpp=0.25)
    assert [c.name for c in dataset.classes] == ["tumour", "stroma"]
    assert dataset.classes[0].color == (255, 0, 0)
    assert np.unique(dataset[0].class_map).tolist() == [0, 2]
    with pytest.raises(DataError, match="no nucleus '7'"):
        dataset[1]
    with pytest.raises(DataError, match=r"'muscle' is not in classes\.csv, which has tumour, stroma"):
        dataset[2]


@pytest.mark.parametrize("mpp", [0.0, -0.5, float("nan"), 25.0])
def test_a_resolution_that_cannot_be_is_not_taken_for_none(tmp_path, mpp):
    with pytest.raises(MppError, match=r"mpp of a must lie between 0\.05 and 2\.0"):
        open_dataset(write_dataset(tmp_path), mpp=mpp)[0]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_tables_as_other_programs_save_them(tmp_path, mark):
    folder = write_dataset(tmp_path)
    (folder / "classes.csv").write_text("name,color\ntumour,#ff0000\nstroma,\n".replace(",", mark))
    (folder / "classes").mkdir()
    (folder / "classes" / "a.csv").write_text(f"label{mark}class\r\n300{mark}stroma\r\n")
    (folder / "manifest.csv").write_text(f"name{mark}patient\na{mark}01, left\n")
    dataset = open_dataset(folder, mpp=0.25)
    assert dataset.rows == ({"name": "a", "patient": "01, left"},)
    assert dataset.classes[0].color == (255, 0, 0)
    assert np.unique(dataset[0].class_map).tolist() == [0, 2]


def test_a_nucleus_of_two_classes_is_refused(tmp_path):
    folder = write_dataset(tmp_path)
    (folder / "classes.csv").write_text("name\ntumour\nstroma\n")
    (folder / "classes").mkdir()
    (folder / "classes" / "a.csv").write_text("label,class\n300,stroma\n300,stroma\n")
    (folder / "classes" / "b.csv").write_text("label,class\n301,stroma\n301,Tumour\n")
    dataset = open_dataset(folder, mpp=0.25)
    assert dataset[0].class_map.max() == 2
    with pytest.raises(DataError, match="nucleus 301 has two classes, stroma and tumour"):
        dataset[1]


def test_a_folder_of_nothing_known(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"no data set known here \(pannuke, .*\); it holds photos.*images/NAME.png"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        open_dataset(tmp_path / "nowhere")


def test_unknown_reader():
    with pytest.raises(ConfigError, match=r"'nowhere'; there are: consep, .*folder"):
        open_dataset("anywhere", layout="nowhere")


@pytest.mark.skipif(not (SHARED / "tnbc").is_dir(), reason="the shared data sets are not here")
def test_the_real_sets():
    tnbc = open_dataset(SHARED / "tnbc", mpp=0.25).where(parse_conditions(["patient=09,10,11"]))
    image = tnbc[0]
    assert image.image.shape == (512, 512, 3)
    assert len(np.unique(image.labels)) - 1 == int(image.attributes["n_nuclei"])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_an_image_is_upright_as_the_slide_of_the_same_file(tmp_path, suffix):
    pixels = np.full((16, 24, 3), 240, np.uint8)
    pixels[:8, :8] = 40
    labels = np.zeros((24, 16), np.uint8)
    labels[:8, 8:] = 1  # where the dark corner lies once the image is turned to the right
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    image = tmp_path / "images" / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(image, pixels, photometric="rgb", extratags=[(274, 3, 1, 6, False)])
    else:
        Image.fromarray(pixels).save(image, exif=exif, quality=100)
    Image.fromarray(labels).save(tmp_path / "labels" / "a.png")
    read = open_dataset(tmp_path, mpp=0.25)[0]
    np.testing.assert_array_equal(read.image[..., 0] < 128, read.labels == 1)
    with open_slide(image) as slide:
        np.testing.assert_array_equal(slide.read(Box(0, 0, 24, 16)), read.image)


def test_labels_are_turned_as_their_image(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    labels = np.zeros((16, 24), np.uint8)
    labels[0, 0] = 7
    Image.fromarray(labels).save(tmp_path / "a.png", exif=exif)
    assert read_ids(tmp_path / "a.png").shape == (24, 16)
    assert read_ids(tmp_path / "a.png")[-1, 0] == 7


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_as_in_the_slide_of_the_same_file(tmp_path, mode):
    layer = np.zeros((16, 24, 4), np.uint8)
    layer[:8, :, 3] = 255
    image = Image.fromarray(layer)
    if mode == "LA":
        image = image.convert("LA")
    path = tmp_path / "a.png"
    if mode == "P":
        image = Image.fromarray(layer[..., 3] // 255, "P")
        image.putpalette([0, 0, 0, 0, 0, 0])
        image.save(path, transparency=0)
    else:
        image.save(path)
    pixels = read_image(path)
    assert (pixels[:8] == 0).all()
    assert (pixels[8:] == 255).all()
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(Box(0, 0, 16, 24)), pixels)
