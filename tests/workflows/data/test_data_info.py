"""``wsinuc data``: what it counts, what the contact sheet shows, the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import DataError, OutputError
from wsinuc.exports.pictures.contact_sheet import TILE_PX, write_contact_sheet
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.workflows.data.info import Share, describe_dataset
from wsinuc_cli.main import main

RED, BLUE = NucleusClass("Tumour", (255, 0, 0)), NucleusClass("Stroma", (0, 0, 255))


def write_set(folder: Path, *, classes: bool = True) -> Path:
    """Four grey images of two organs and three patients; image i holds i nuclei of 4 x 4 px, the
    first of them tumour."""
    for sub in ("images", "labels", "classes"):
        (folder / sub).mkdir(parents=True)
    (folder / "manifest.csv").write_text(
        "name,organ,patient,n\na,liver,1,0\nb,liver,1,1\nc,colon,2,2\nd,colon,3,3\n", encoding="utf-8"
    )
    for i, name in enumerate("abcd"):
        Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(folder / "images" / f"{name}.png")
        labels = np.zeros((40, 60), np.uint16)
        for k in range(i):
            labels[10:14, 10 * k + 2 : 10 * k + 6] = k + 1
        Image.fromarray(labels).save(folder / "labels" / f"{name}.png")
        lines = [f"{k + 1},{'Tumour' if k == 0 else 'Stroma'}" for k in range(min(i, 2))]
        (folder / "classes" / f"{name}.csv").write_text("\n".join(["label,class", *lines]) + "\n")
    if classes:
        (folder / "classes.csv").write_text("name,color\nTumour,#ff0000\nStroma,#0000ff\n")
    return folder


def test_counts_by_class_and_attribute(tmp_path):
    found = describe_dataset(write_set(tmp_path / "set"), mpp=0.5)
    assert (found.layout, found.kind, found.images, found.empty, found.nuclei) == ("folder", "instances", 4, 1, 6)
    assert found.classes == {"Tumour": 3, "Stroma": 2, "(not known)": 1}
    assert found.sizes == {(40, 60): 4}
    assert found.mpp == {0.5: 4}
    assert found.diameter_px == pytest.approx(4 * 2 / np.sqrt(np.pi))
    assert found.attributes == {
        "organ": {"colon": Share(images=2, nuclei=5), "liver": Share(images=2, nuclei=1)},
        "patient": {"1": Share(images=2, nuclei=1), "2": Share(images=1, nuclei=2), "3": Share(images=1, nuclei=3)},
    }


def test_every_way_of_counting_sums_to_the_same(tmp_path):
    found = describe_dataset(write_set(tmp_path / "set"))
    assert sum(found.classes.values()) == found.nuclei
    for values in found.attributes.values():
        assert sum(share.nuclei for share in values.values()) == found.nuclei
        assert sum(share.images for share in values.values()) == found.images
    assert found.mpp == {}, "what is not recorded is not made up"


def test_damage_is_named(tmp_path):
    folder = write_set(tmp_path / "set", classes=False)
    assert describe_dataset(folder).classes == {}
    (folder / "labels" / "c.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"c\.png cannot be decoded"):
        describe_dataset(folder)


def example(name: str, *, size: tuple[int, int] = (40, 60), label: int = 1) -> LabelledImage:
    labels = np.zeros(size, np.int32)
    labels[10:30, 10:30] = label
    grey = np.full((*size, 3), 128, np.uint8)
    classes = np.array([0, 1, 2], np.int32)
    return LabelledImage(name=name, image=grey, labels=labels, attributes={"name": name}, mpp=0.5, classes=classes)


def sheet_of(images: list[LabelledImage], classes: tuple[NucleusClass, ...], path: Path) -> np.ndarray:
    write_contact_sheet(images, classes, path)
    with Image.open(path) as page:
        return np.asarray(page.convert("RGB")).astype(int)


def pixels_of(page: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((page == color).all(axis=2).sum())


def test_outlines_have_the_colours_of_their_classes(tmp_path):
    images = [example("one", label=1), example("two", label=2)]
    page = sheet_of(images, (RED, BLUE), tmp_path / "sheet.png")
    scale = TILE_PX / 60
    expected = 4 * 20 * scale  # a closed line of one pixel around 20 x 20 px
    legend = 16 * 16
    for color in (RED.color, BLUE.color):
        assert pixels_of(page, color) == pytest.approx(expected + legend, rel=0.15)
    nothing = sheet_of([example("none", label=0)], (RED, BLUE), tmp_path / "none.png")
    assert pixels_of(nothing, RED.color) < 1.2 * legend


def test_of_large_images_the_middle_is_shown(tmp_path):
    small, large = example("small", size=(512, 512)), example("large", size=(2000, 3000))
    legend = pixels_of(sheet_of([], (RED, BLUE), tmp_path / "legend.png"), RED.color)
    assert pixels_of(sheet_of([small], (RED, BLUE), tmp_path / "a.png"), RED.color) > legend + 40
    assert (
        pixels_of(sheet_of([large], (RED, BLUE), tmp_path / "b.png"), RED.color) == legend
    )  # its corner is out of sight


def test_a_sheet_of_points_and_of_odd_names(tmp_path):
    labels = np.zeros((40, 60), np.int32)
    image = LabelledImage(
        name="née " + "x" * 300,
        image=np.zeros((40, 60, 3), np.uint8),
        labels=labels,
        attributes={"organ": "Bürzel"},
        mpp=0.5,
        points=np.array([[5.0, 5.0], [20.0, 30.0]]),
        point_classes=np.array([1, 0], np.int32),
    )
    page = sheet_of([image], (RED,), tmp_path / "points.png")
    assert pixels_of(page, RED.color) > 16 * 16 + 30


def test_a_sheet_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        write_contact_sheet([example("one")], (RED,), tmp_path / "nowhere" / "sheet.png")
    assert list(tmp_path.iterdir()) == []


def run(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(arg) for arg in args])
    return done.exit_code, done.output


def test_info_command(tmp_path):
    folder = write_set(tmp_path / "set")
    code, text = run("data", "info", folder, "-o", tmp_path / "sheet.png", "--tiles", 2)
    assert code == 0, text
    assert "not recorded; give it with --mpp" in text
    assert "4, 1 without nuclei" in text
    assert "Stroma" in text
    assert "5 nuclei in 2 images" in text
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    code, text = run("data", "info", f"folder={folder}", "--mpp", 0.5)
    assert "0.5 um per pixel" in text
    assert "median diameter 5 px, 2.3 um" in text
    code, text = run("data", "info", tmp_path)
    assert (code, text.count("\n")) == (1, 1)
    assert "layout of no data set" in text


def test_split_command(tmp_path):
    folder, out = write_set(tmp_path / "set"), tmp_path / "split.json"
    code, text = run("data", "split", folder, "-o", out, "--parts", "train=0.5,test=0.5", "--group", "patient")
    assert code == 0, text
    parts = json.loads(out.read_text())["parts"]
    assert sorted(entry["image"] for part in parts.values() for entry in part) == ["a", "b", "c", "d"]
    code, text = run("data", "split", folder, "-o", out, "--few", 2, "--size", 16)
    assert code == 0, text
    assert [entry["box"][2] - entry["box"][0] for entry in json.loads(out.read_text())["parts"]["train"]] == [16, 16]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--parts", "train"], 2, "expected parts like train=0.8,test=0.2"),
        (["--few", 2, "--group", "patient"], 2, "--few spreads its patches by itself"),
        (["--parts", "a=0.9,b=0.9"], 1, "add up to 1 at most"),
        (["--stratify", "stain"], 1, "have no 'stain'"),
        (["--few", 99], 1, "99 are wanted"),
    ],
)
def test_split_command_refuses(tmp_path, options, code, message):
    done, text = run("data", "split", write_set(tmp_path / "set"), "-o", tmp_path / "split.json", *options)
    assert (done, message in " ".join(text.split())) == (code, True), text
    assert not (tmp_path / "split.json").exists()
