"""Labelled subsets: typical windows of every cluster, nested in the fraction, the same every time."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsinuc.datasets.base import Annotation, Dataset, Layout, Row
from wsinuc.datasets.sampling.split import Split
from wsinuc.errors import ConfigError, DataError
from wsinuc.grid import Box
from wsinuc.workflows.data.subset import SubsetConfig, choose_subset

SIZE = {"size_px": 32, "stride": 16}


class Tissues(Layout):
    """Six images of three even colours with some spread, and nuclei of 3 x 3 px on a grid: 16 in each image."""

    name = "tissues"
    expected = "nothing on disk"
    mpp = 0.25

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return False

    def scan(self) -> tuple[Row, ...]:
        return tuple({"name": f"i{i}"} for i in range(6))

    def read(self, row: Row) -> Annotation:
        index = int(row["name"][1:])
        rng = np.random.default_rng(index)
        image = np.full((64, 64, 3), 60 + 60 * (index % 3), np.uint8) + rng.integers(0, 20, (64, 64, 1), np.uint8)
        labels = np.zeros((64, 64), np.int32)
        for label in range(16):
            y, x = 6 + 16 * (label // 4), 6 + 16 * (label % 4)
            labels[y : y + 3, x : x + 3] = label + 1
        return Annotation(image=image, labels=labels)


class Points(Tissues):
    kind = "points"

    def read(self, row: Row) -> Annotation:
        read = super().read(row)
        points = np.stack(np.nonzero(read.labels), axis=1)[::9].astype(np.float64)
        return Annotation(image=read.image, labels=np.zeros_like(read.labels), points=points)


class Colours:
    """A network that sees the mean colour, and writes down what it was shown."""

    name, description, width = "colours", "mean colours", 3

    def __init__(self, mpp: float | None = None) -> None:
        self.mpp = mpp
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, images):
        self.shapes.add(images.shape[1:])
        return SimpleNamespace(vectors=images.mean(axis=(1, 2)))


def tissues(layout: type[Layout] = Tissues) -> Dataset:
    return Dataset.open(layout(Path("tissues")))


def chosen(fraction: float = 0.2, *, clusters: int = 3, dataset: Dataset | None = None, **options):
    config = SubsetConfig(fraction=fraction, clusters=clusters, **(SIZE | options))
    return choose_subset(dataset or tissues(), Colours(), config)


def test_every_tissue_gives_the_same_share_of_its_windows():
    found = chosen(0.2)
    assert found.clusters == ((18, 4), (18, 4), (18, 4))  # 2 images of 9 windows each
    assert found.windows == 12
    kinds = [int(name[1:]) % 3 for name, _ in found.split.parts["train"]]
    assert sorted(kinds) == [0] * 4 + [1] * 4 + [2] * 4
    assert found.features == "colours"


def test_the_windows_nearest_to_the_centre_are_chosen():
    data = tissues()
    middle, taken, left = {}, {}, {}
    windows_chosen = set(chosen(0.3).split.parts["train"])
    for name, box in chosen(1.0).split.parts["train"]:
        image = data.patches([(name, box)])[0].image.mean()
        middle.setdefault(int(name[1:]) % 3, []).append(image)
        (taken if (name, box) in windows_chosen else left).setdefault(int(name[1:]) % 3, []).append(image)
    for kind, values in middle.items():
        centre = np.mean(values)
        assert max(abs(np.array(taken[kind]) - centre)) <= min(abs(np.array(left[kind]) - centre)) + 1e-9


def test_nuclei_are_counted_once_however_many_windows_hold_them():
    everything = chosen(1.0)
    assert everything.windows == 54
    assert everything.nuclei == 96
    assert everything.nuclei_share == 1.0
    few = chosen(0.1)
    data, reached = tissues(), set()
    for name, box in few.split.parts["train"]:
        reached |= {(name, int(i)) for i in np.unique(data.patches([(name, box)])[0].labels) if i}
    assert few.nuclei == len(reached)
    assert few.nuclei_share == len(reached) / 96


def test_points_are_counted_like_nuclei():
    assert chosen(1.0, dataset=tissues(Points)).nuclei == 96
    assert chosen(0.2, dataset=tissues(Points)).nuclei <= 96


@settings(max_examples=10, deadline=None)
@given(small=st.floats(0.01, 1), large=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_a_larger_fraction_holds_the_smaller_one(small, large, seed):
    small, large = sorted((small, large))
    few, many = chosen(small, seed=seed), chosen(large, seed=seed)
    assert set(few.split.parts["train"]) <= set(many.split.parts["train"])
    assert few.nuclei_share <= many.nuclei_share


@functools.cache
def all_shares() -> list[float]:
    """Share of nuclei for every share of windows there is."""
    return [chosen(step / 54).nuclei_share for step in range(1, 55)]


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.8, 1.0])
def test_by_nuclei_no_other_share_of_windows_comes_nearer(fraction):
    found = chosen(fraction, by="nuclei")
    assert abs(found.nuclei_share - fraction) == min(abs(share - fraction) for share in all_shares())
    assert found.nuclei_share == chosen(found.patch_fraction).nuclei_share
    assert found.patch_fraction <= fraction  # windows overlap, so they reach more nuclei than their share


def test_the_same_call_gives_the_same_split_and_it_can_be_read_back(tmp_path):
    first, second = chosen(0.3, seed=3), chosen(0.3, seed=3)
    assert first.split == second.split
    assert first.clusters == second.clusters
    first.split.save(tmp_path / "subset.json")
    loaded = Split.load(tmp_path / "subset.json")
    assert loaded == first.split
    assert len(loaded.of(tissues(), "train")) == first.windows


def test_patches_of_images_keep_their_place_in_the_image():
    part = tissues().patches([("i0", Box(16, 16, 64, 64)), ("i1", Box(16, 16, 64, 64))])
    found = chosen(1.0, clusters=2, dataset=part)
    assert {box for _, box in found.split.parts["train"]} == {
        Box(y, x, y + 32, x + 32) for y in (16, 32) for x in (16, 32)
    }
    assert found.nuclei == 18


def test_windows_are_shown_at_the_networks_resolution():
    for mpp, shape in ((None, (32, 32, 3)), (0.25, (32, 32, 3)), (0.125, (64, 64, 3)), (2.0, (32, 32, 3))):
        network = Colours(mpp)
        choose_subset(tissues(), network, SubsetConfig(fraction=0.5, clusters=3, **SIZE))
        assert network.shapes == {shape}


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_fractions_outside_0_to_1_are_refused(fraction):
    with pytest.raises(ConfigError, match="fraction must lie above 0"):
        SubsetConfig(fraction=fraction)


def test_other_errors():
    with pytest.raises(ConfigError, match="at least one cluster"):
        SubsetConfig(clusters=0)
    with pytest.raises(ConfigError, match="patches or nuclei, got 'area'"):
        SubsetConfig(by="area")
    with pytest.raises(DataError, match="54 windows of 32 px, too few for 55 clusters"):
        chosen(clusters=55)
    same = tissues().patches([("i0", None)] * 3)
    with pytest.raises(DataError, match="too alike"):
        choose_subset(same, Constant(), SubsetConfig(clusters=3, **SIZE))
    with pytest.raises(DataError, match="no annotated nucleus"):
        chosen(dataset=tissues(Empty))


class Constant(Colours):
    """A network that sees nothing."""

    def __call__(self, images):
        return SimpleNamespace(vectors=np.zeros((len(images), 3)))


class Empty(Tissues):
    def read(self, row: Row) -> Annotation:
        read = super().read(row)
        return Annotation(image=read.image, labels=np.zeros_like(read.labels))


def test_the_command_writes_a_split_and_says_what_was_chosen(tmp_path, monkeypatch):
    from click.testing import CliRunner
    from PIL import Image

    from wsinuc_cli.main import main

    for index, sample in enumerate(tissues()):
        for folder, pixels in (("images", sample.image), ("labels", sample.labels.astype(np.uint16))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"i{index}.png")
    monkeypatch.setattr("wsinuc.models.features.image_vectors.load_feature_network", lambda path, device: Colours())
    options = ["--mpp", "0.25", "--size", "32", "--stride", "16", "--clusters", "3", "--fraction", "0.2"]
    output = tmp_path / "subset.json"
    done = CliRunner().invoke(main, ["data", "subset", str(tmp_path), "-o", str(output), *options])
    assert done.exit_code == 0, done.output
    assert "cluster 3   4 of 18 windows" in done.output
    assert "12 of 54 windows (22.2%)" in done.output
    assert len(Split.load(output).parts["train"]) == 12
