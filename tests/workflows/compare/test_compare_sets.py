"""Comparing two sets: equal sets, what a change of the labels or the stain moves, and sets with too little in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from helpers.oracle import MPP, OracleSegmenter, plane, scores_of
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.split import Split
from wsinuc.errors import ConfigError, DataError, OutputError
from wsinuc.grid import Box
from wsinuc.models.features.image_vectors import ImageFeatures
from wsinuc.workflows.compare.patches import Cutting, cut_patches, measure_patch
from wsinuc.workflows.compare.run import compare_sets
from wsinuc_cli.commands.compare import compare

CUTTING = Cutting(size_px=64, mpp=MPP)


class Colors:
    """A feature network whose features can be checked by eye: mean and spread of each channel."""

    name, description, width, mpp = "colors", "means and deviations of channels", 6, None

    def __call__(self, images: np.ndarray) -> ImageFeatures:
        flat = images.reshape(len(images), -1, 3).astype(float)
        vectors = np.concatenate([flat.mean(1), flat.std(1)], axis=1).astype(np.float32)
        return ImageFeatures(vectors, np.tile(np.float32([0.5, 0.5]), (len(images), 1)))


class Unclassifying(Colors):
    def __call__(self, images: np.ndarray) -> ImageFeatures:
        return replace(super().__call__(images), probabilities=None)


def write_set(folder: Path, *, side=130, count=3, origin=0, gain=1.0, empty=False, classes="", mpp=MPP, shift=0):
    """A set of fields of the oracle's plane; ``shift`` moves labels away from their images."""
    for name in ("images", "labels", "classes"):
        (folder / name).mkdir(parents=True)
    (folder / "manifest.csv").write_text("name,mpp\n" + "".join(f"{i},{mpp}\n" for i in range(count)))
    if classes:
        (folder / "classes.csv").write_text("name\n" + "\n".join(classes.split(",")) + "\n")
    for i in range(count):
        pixels = plane((side, side), (origin + 200 * i, 40))
        labels = OracleSegmenter().separate(scores_of(pixels)) * (not empty)
        labels = np.roll(labels, shift, axis=1)
        Image.fromarray((pixels * gain).astype(np.uint8)).save(folder / "images" / f"{i}.png")
        Image.fromarray(labels.astype(np.uint16)).save(folder / "labels" / f"{i}.png")
        if classes:
            rows = [f"{label},{classes.split(',')[0]}" for label in np.unique(labels[labels > 0])[1:]]
            (folder / "classes" / f"{i}.csv").write_text("label,class\n" + "\n".join(rows) + "\n")
    return open_dataset(folder)


@pytest.fixture
def real(tmp_path):
    return write_set(tmp_path / "real")


def test_a_set_is_like_itself(real, tmp_path):
    comparison = compare_sets(real, real, Colors(), cutting=CUTTING, out=tmp_path / "out")
    for name, distance in comparison.distances.sets.items():
        assert distance.value <= 1e-6, name  # the unbiased kernel distance may lie below
    for each in comparison.distances.quantities.values():
        assert each.wasserstein.value == each.relative_mean.value == each.relative_median == 0
        assert each.real == each.synthetic
        assert each.wasserstein.floor > 0
    assert comparison.distances.half_size == 6
    assert comparison.inception == {"real": pytest.approx(1), "synthetic": pytest.approx(1)}
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "comparison.json",
        "distributions.png",
        "patches.png",
    }
    summary = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert summary["sets"]["real"] == summary["sets"]["synthetic"]
    assert summary["sets"]["real"]["patches"] == 12
    assert sum(summary["class_percent"]["real"].values()) == pytest.approx(100)
    with pytest.raises(OutputError, match="not empty"):
        compare_sets(real, real, Colors(), cutting=CUTTING, out=tmp_path / "out")


def test_a_stronger_disturbance_is_farther(real, tmp_path):
    """Darker images move features and densities, and leave labels where they are."""
    found = [
        compare_sets(real, write_set(tmp_path / f"{gain}", gain=gain), Unclassifying(), cutting=CUTTING)
        for gain in (0.9, 0.7)
    ]
    for name in ("frechet", "kernel"):
        assert found[0].distances.sets[name].value < found[1].distances.sets[name].value
    assert [each.distances.sets["fsd"].value for each in found] == [0, 0]
    od = [each.distances.quantities["od_red"] for each in found]
    assert 0 < od[0].relative_median < od[1].relative_median
    assert od[1].relative_mean.same_n > od[1].relative_mean.floor
    assert found[0].distances.quantities["area_um2"].wasserstein.value == 0
    assert any("no inception score: colors" in note for note in found[0].notes)


def test_the_segmenter_sees_labels_that_do_not_fit(real, tmp_path):
    moved = write_set(tmp_path / "moved", shift=4)
    found = compare_sets(real, moved, Colors(), cutting=CUTTING, segmenter=OracleSegmenter()).alignment
    assert found["real"]["aji"] > 0.99
    assert found["synthetic"]["aji"] < 0.8
    assert set(found["real"]) == {"dice", "aji", "f_detection"}


def test_without_nuclei(real, tmp_path):
    comparison = compare_sets(
        real, write_set(tmp_path / "empty", empty=True), Colors(), cutting=CUTTING, out=tmp_path / "out"
    )
    area = comparison.distances.quantities["area_um2"]
    assert area.synthetic.n == 0
    assert np.isnan(area.wasserstein.value)
    assert comparison.distances.quantities["nuclei_per_mm2"].synthetic.mean == 0
    assert any("no synthetic nucleus lies wholly" in note for note in comparison.notes)
    assert "NaN" not in (tmp_path / "out" / "comparison.json").read_text()


def test_one_patch_has_no_variance(real, tmp_path):
    one = write_set(tmp_path / "one", side=64, count=1)
    comparison = compare_sets(one, real, Colors(), cutting=CUTTING, out=tmp_path / "out")
    assert np.isnan(comparison.distances.sets["frechet"].value)
    assert np.isnan(comparison.distances.quantities["od_red"].wasserstein.floor)
    assert np.isnan(comparison.distances.quantities["od_red"].real.sd)
    assert any("has no variance" in note for note in comparison.notes)


def test_classes_are_matched_by_name(tmp_path):
    a = write_set(tmp_path / "a", classes="Tumor,Stroma")
    b = write_set(tmp_path / "b", classes="stroma,tumor")
    same = compare_sets(a, write_set(tmp_path / "c", classes="tumor,STROMA"), Colors(), cutting=CUTTING)
    assert same.classes == ("Tumor", "Stroma")
    assert same.distances.sets["fsd"].value == pytest.approx(0, abs=1e-9)
    shares = same.class_percent["real"]
    assert shares["Tumor"] > 0 == shares["Stroma"]
    assert sum(shares.values()) < 100  # the first nucleus of each image has no class
    swapped = compare_sets(a, b, Colors(), cutting=CUTTING)
    assert swapped.class_percent["synthetic"]["Stroma"] == pytest.approx(shares["Tumor"])
    assert swapped.distances.sets["fsd"].value > 1
    other = compare_sets(a, write_set(tmp_path / "d"), Colors(), cutting=CUTTING)
    assert other.classes == ("nucleus",)
    assert any("classes are not compared" in note and "Tumor, Stroma" in note for note in other.notes)


def test_resolutions_are_made_the_same(real, tmp_path):
    """Twice as many pixels of half the size show the same nuclei."""
    fine = tmp_path / "fine"
    for name in ("images", "labels"):
        (fine / name).mkdir(parents=True)
        for file in (real.path / name).glob("*.png"):
            Image.fromarray(np.asarray(Image.open(file)).repeat(2, 0).repeat(2, 1)).save(fine / name / file.name)
    finer = open_dataset(fine, mpp=MPP / 2)
    comparison = compare_sets(real, finer, Colors(), cutting=CUTTING)
    area = comparison.distances.quantities["area_um2"]
    assert area.relative_median == pytest.approx(0, abs=1e-6)
    assert comparison.distances.sets["fsd"].value == pytest.approx(0, abs=1e-6)
    magnified = compare_sets(finer, real, Colors(), cutting=replace(CUTTING, mpp=MPP / 2))
    assert any("synthetic images are as coarse as" in note for note in magnified.notes)


def test_patches_and_their_figures():
    labels = np.zeros((70, 150), np.int32)
    labels[10:20, 20:40], labels[0:4, 60:64], labels[40:50, 60:70] = 5, 9, 7
    image = LabelledImage(name="a", image=np.full((70, 150, 3), 255, np.uint8), labels=labels, attributes={}, mpp=0.5)
    patches = cut_patches(image, 3, CUTTING)
    assert [patch.labels.shape for patch in patches] == [(64, 64)] * 2
    again = cut_patches(image, 3, CUTTING)
    assert [p.name for p in patches] == [p.name for p in again]
    assert not cut_patches(image, 0, replace(CUTTING, size_px=80))
    found = measure_patch(replace(image, labels=labels[:64, 5:69], image=image.image[:64, 5:69]))
    assert found["nuclei_per_patch"] == 3
    assert found["nuclei_per_mm2"] == pytest.approx(2 / (0.032**2))  # the one at the upper edge is left out
    np.testing.assert_allclose(found["area_um2"], [50])  # the other one touches the right edge
    np.testing.assert_allclose(found["axis_ratio"], [0.5])
    np.testing.assert_allclose(found["ellipse_fill"], [3 / np.pi], rtol=1e-6)  # as of every rectangle
    assert len(found["neighbour_um"]) == 3
    assert found["od_red"] == pytest.approx(0)


@pytest.mark.parametrize("changes", [{"size_px": 4}, {"mpp": 0.0}])
def test_cuttings_that_make_no_sense(changes):
    with pytest.raises(ConfigError):
        Cutting(**changes)


def test_no_patch_fits(real):
    with pytest.raises(DataError, match=r"no image of .* holds a patch of 512 px"):
        compare_sets(real, real, Colors(), cutting=replace(CUTTING, size_px=512))


@pytest.mark.usefixtures("unpainted")
def test_command(real, tmp_path, monkeypatch):
    monkeypatch.setattr("wsinuc.models.features.image_vectors.load_feature_network", lambda path, device: Colors())
    options = [str(real.path), str(real.path), "--model", "none", "--patch", "64"]
    done = CliRunner().invoke(compare, [*options, "--patch-mpp", str(MPP), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    for text in ("features: colors", "Frechet distance", "FSD", "nuclei per mm²", "+0.0 %", "Written to"):
        assert text in done.output


@pytest.mark.usefixtures("unpainted")
def test_a_part_of_the_real_set_is_compared_as_if_it_were_a_folder(real, tmp_path, monkeypatch):
    """The windows that a generator was trained on need no copy on disk."""
    monkeypatch.setattr("wsinuc.models.features.image_vectors.load_feature_network", lambda path, device: Colors())
    split, copy = tmp_path / "tenth.json", tmp_path / "copy"
    places = [("0", Box(0, 0, 64, 80)), ("2", Box(30, 10, 120, 120))]
    Split(parts={"train": tuple(places), "test": (("1", None),)}, dataset="folder", seed=0).save(split)
    for kind in ("images", "labels"):
        (copy / kind).mkdir(parents=True)
        for name, box in places:
            pixels = np.asarray(Image.open(real.path / kind / f"{name}.png"))[box.slices]
            Image.fromarray(pixels).save(copy / kind / f"{name}.png")

    def compared(*chosen: object) -> dict:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        options = [str(chosen[0]), str(real.path), *map(str, chosen[1:]), "--mpp", str(MPP)]
        options += ["--model", "none", "--patch", "64", "--patch-mpp", str(MPP), "-o", str(out)]
        done = CliRunner().invoke(compare, options)
        assert done.exit_code == 0, done.output
        found = json.loads((out / "comparison.json").read_text())
        found["sets"]["real"].pop("folder")
        return found

    windows = compared(real.path, "--split", split)
    assert windows["sets"]["real"]["images"] == 2
    assert windows == compared(copy)
    assert compared(real.path, "--split", split, "--part", "test")["sets"]["real"]["images"] == 1


def test_a_part_needs_its_split():
    done = CliRunner().invoke(compare, ["a", "b", "--part", "test", "--model", "none"])
    assert done.exit_code == 2
    assert "--part is of a split file" in done.output
