"""Splits: deterministic, disjoint, stratified, readable; and few patches that stand for a whole data set."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsinuc.datasets.base import Annotation, Dataset, Layout, Row
from wsinuc.datasets.sampling.split import Split, few_patches, split_images, torn_apart
from wsinuc.errors import ConfigError, DataError, OutputError
from wsinuc.grid import Box
from wsinuc.nuclei.classes import NucleusClass

SIZE = 32


class Synthetic(Layout):
    """Images of 3 organs and 8 patients in memory; the further an image, the denser; class Rare is
    in image 17 alone."""

    name = "synthetic"
    expected = "nothing on disk"
    mpp = 0.25
    shape = (100, 70)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return False

    def scan(self) -> tuple[Row, ...]:
        organs = ["liver"] * 12 + ["colon"] * 6 + ["brain"] * 6
        return tuple({"name": f"i{i:02d}", "organ": organs[i], "patient": f"p{i // 3}"} for i in range(24))

    def read(self, row: Row) -> Annotation:
        index = int(row["name"][1:])
        labels = np.zeros(self.shape, np.int32)
        rng = np.random.default_rng(index)
        count = 1 + 2 * index
        places = rng.choice(labels.size, count, replace=False)
        labels.flat[places] = np.arange(1, count + 1)
        if index == 0:
            labels[:] = 0
        classes = np.ones(count + 1, np.int32)
        classes[0] = 0
        if index == 17:
            labels[:] = 0
            labels[40:44, 5:9] = 1
            classes = np.array([0, 2], np.int32)
        return Annotation(
            image=np.zeros((*self.shape, 3), np.uint8), labels=labels, classes=classes if self.classes else None
        )


class Classified(Synthetic):
    classes = (NucleusClass("Common", (1, 2, 3)), NucleusClass("Rare", (4, 5, 6)))


def dataset(layout: type[Layout] = Synthetic) -> Dataset:
    return Dataset.open(layout(Path("synthetic")))


def organs_of(split: Split, part: str) -> Counter[str]:
    organ = {row["name"]: row["organ"] for row in dataset().rows}
    return Counter(organ[name] for name, _ in split.parts[part])


# ---------------------------------------------------------------- few patches


@settings(max_examples=15)
@given(count=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_few_patches_lie_in_their_images_hold_nuclei_and_do_not_overlap(count, seed):
    whole = dataset()
    split = few_patches(whole, count, size_px=SIZE, seed=seed)
    places = split.parts["train"]
    assert len(places) == count
    for i, (name, box) in enumerate(places):
        assert box.shape == (SIZE, SIZE)
        assert not any(other == name and box.overlaps(elsewhere) for other, elsewhere in places[:i])
    assert all(image.labels.any() for image in split.of(whole, "train"))


@pytest.mark.parametrize("layout", [Synthetic, Classified])
def test_fewer_patches_are_the_first_of_more(layout):
    whole = dataset(layout)
    many = few_patches(whole, 20, size_px=SIZE, seed=3).parts["train"]
    assert few_patches(whole, 7, size_px=SIZE, seed=3).parts["train"] == many[:7]
    assert few_patches(whole, 20, size_px=SIZE, seed=3).parts["train"] == many
    assert few_patches(whole, 20, size_px=SIZE, seed=4).parts["train"] != many


@pytest.mark.parametrize("seed", range(5))
def test_few_patches_spread_over_organs_images_and_densities(seed):
    whole = dataset()
    split = few_patches(whole, 8, size_px=SIZE, seed=seed)
    assert set(organs_of(split, "train")) == {"liver", "colon", "brain"}
    assert organs_of(split, "train")["liver"] <= 5
    assert len({name for name, _ in split.parts["train"]}) == 8
    nuclei = sorted(len(np.unique(image.labels)) - 1 for image in split.of(whole, "train"))
    assert nuclei[0] <= 2
    assert nuclei[-1] >= 5


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_one_image_is_among_the_first(seed):
    split = few_patches(dataset(Classified), 2, size_px=SIZE, seed=seed)
    assert "i17" in dict(split.parts["train"])


def test_patches_of_patches_are_places_in_the_images():
    whole = dataset().patches([("i20", Box(10, 6, 80, 70)), ("i21", None)])
    split = few_patches(whole, 3, size_px=SIZE, seed=0)
    for name, box in split.parts["train"]:
        assert name == "i21" or (box.y0 >= 10 and box.x0 >= 6 and box.y1 <= 80 and box.x1 <= 70)
    assert all(image.labels.any() for image in split.of(dataset(), "train"))


def test_images_that_are_no_larger_than_a_patch_are_taken_whole():
    places = few_patches(dataset(), 5, size_px=512, seed=0).parts["train"]
    assert all(box is None for _, box in places)


@pytest.mark.parametrize(
    ("count", "size", "error", "message"),
    [
        (10**4, SIZE, DataError, r"has \d+ patches of 32 px with nuclei, 10000 are wanted; ask for fewer"),
        (0, SIZE, ConfigError, "at least 1, got 0 and 32"),
        (3, 0, ConfigError, "at least 1, got 3 and 0"),
    ],
)
def test_few_patches_refuses(count, size, error, message):
    with pytest.raises(error, match=message):
        few_patches(dataset(), count, size_px=size, seed=0)


# ---------------------------------------------------------------- whole images


@settings(max_examples=25)
@given(
    shares=st.lists(st.integers(2, 6), min_size=1, max_size=3),
    seed=st.integers(0, 10**6),
    group=st.sampled_from([None, "patient"]),
    stratify=st.sampled_from([None, "organ"]),
)
def test_every_image_is_in_one_part_and_groups_stay_together(shares, seed, group, stratify):
    fractions = {f"part{i}": share / sum(shares) for i, share in enumerate(shares)}
    whole = dataset()
    split = split_images(whole, fractions, stratify=stratify, seed=seed, group=group)
    names = [name for places in split.parts.values() for name, _ in places]
    assert sorted(names) == sorted(whole.names)
    if group:
        patient = {row["name"]: row["patient"] for row in whole.rows}
        parts = [{patient[name] for name, _ in places} for places in split.parts.values()]
        assert sum(map(len, parts)) == len(set.union(*parts))


@pytest.mark.parametrize(
    ("stratify", "group", "slack"),
    [(None, None, 1), ("organ", None, 2.5), (None, "patient", 3), ("organ", "patient", 3)],
)
def test_parts_have_about_the_sizes_that_were_asked_for(stratify, group, slack):
    whole = dataset()
    for seed, shares in enumerate([(1,), (2, 6), (5, 4), (2, 3, 6), (6, 2, 2), (4, 5, 6)]):
        fractions = {f"part{i}": share / sum(shares) for i, share in enumerate(shares)}
        split = split_images(whole, fractions, stratify=stratify, seed=seed, group=group)
        for part, share in fractions.items():
            assert abs(len(split.parts[part]) - 24 * share) <= slack


@pytest.mark.parametrize("seed", range(5))
def test_stratified_parts_have_the_organs_of_the_whole(seed):
    split = split_images(dataset(), {"train": 0.5, "test": 0.5}, stratify="organ", seed=seed)
    assert organs_of(split, "train") == {"liver": 6, "colon": 3, "brain": 3}


def test_what_is_missing_to_the_whole_is_left_out():
    split = split_images(dataset(), {"train": 0.25, "test": 0.25}, seed=0)
    assert [len(places) for places in split.parts.values()] == [6, 6]


def test_the_seed_decides_and_nothing_else():
    shares = {"train": 0.7, "test": 0.3}
    first = split_images(dataset(), shares, seed=1)
    assert first == split_images(dataset(), shares, seed=1)
    assert first.parts != split_images(dataset(), shares, seed=2).parts


@pytest.mark.parametrize(
    ("shares", "options", "error", "message"),
    [
        ({"a": 0.8, "b": 0.3}, {}, ConfigError, "add up to 1 at most, got a=0.8, b=0.3"),
        ({"a": 0.0, "b": 1.0}, {}, ConfigError, "shares above 0"),
        ({"a": float("nan")}, {}, ConfigError, "shares above 0"),
        ({"a": 0.5, "b": float("nan")}, {}, ConfigError, "shares above 0"),
        ({}, {}, ConfigError, "got none"),
        ({"a": 1.0}, {"stratify": "stain"}, DataError, "have no 'stain'; they have name, organ, patient"),
        ({"a": 0.98, "b": 0.02}, {"group": "organ"}, DataError, "part 'b' would be empty: 3 values of organ"),
    ],
)
def test_split_images_refuses(shares, options, error, message):
    with pytest.raises(error, match=message):
        split_images(dataset(), shares, seed=0, **options)


def test_patients_that_a_split_tears_apart_are_said():
    whole = dataset()
    shares = {"train": 0.5, "test": 0.5}
    torn = torn_apart(split_images(whole, shares, seed=0), whole)
    assert torn is not None
    assert re.fullmatch(r"\d of 8 patients lie in several parts, so .*: --group patient keeps them together", torn)
    assert torn_apart(split_images(whole, shares, seed=0, group="patient"), whole) is None
    # A part of all tears nothing, and of a single patient nothing can be kept together.
    named = tuple((name, None) for name in whole.names)
    assert torn_apart(Split(parts={"all": named, "test": named[:3]}, dataset="synthetic", seed=0), whole) is None
    alone = whole.where({"patient": "p0"})
    assert torn_apart(Split(parts={"a": named[:1], "b": named[1:3]}, dataset="synthetic", seed=0), alone) is None


def test_slides_are_said_where_patients_are_not_known():
    rows = tuple({"name": str(i), "SLIDE": str(i // 2)} for i in range(4))
    slides = replace(dataset(), rows=rows, boxes=(None,) * 4)
    parts = {"a": (("0", None), ("2", None)), "b": (("1", None), ("3", None))}
    torn = torn_apart(Split(parts=parts, dataset="synthetic", seed=0), slides)
    assert torn is not None
    assert torn.startswith("2 of 2 slides lie in several parts")
    assert torn.endswith("--group SLIDE keeps them together")


# ---------------------------------------------------------------- files


def test_a_saved_split_is_the_same_and_readable(tmp_path):
    whole = dataset()
    few = few_patches(whole, 3, size_px=SIZE, seed=5)
    split = Split(parts={**few.parts, "test": (("i01", None), ("i02", None))}, dataset="synthetic", seed=5)
    path = tmp_path / "split.json"
    split.save(path)
    assert Split.load(path) == split
    assert [image.name for image in Split.load(path).of(whole, "test")] == ["i01", "i02"]
    content = json.loads(path.read_text())
    assert (content["format"], content["version"], content["seed"]) == ("wsinuc-split", 1, 5)
    lines = path.read_text().splitlines()
    assert sum('"image"' in line for line in lines) == 5, "one line per place"


def test_a_split_of_another_data_set_is_refused():
    split = Split(parts={"train": (("elsewhere", None),)}, dataset="synthetic", seed=0)
    with pytest.raises(DataError, match="no image called 'elsewhere'"):
        split.of(dataset(), "train")
    with pytest.raises(DataError, match="no part 'test'; it has train"):
        split.of(dataset(), "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is missing; make a split with"),
        ("{", "is no JSON file"),
        ("[]", "is no split"),
        ('{"format": "other"}', "expected JSON with format 'wsinuc-split'"),
        ('{"format": "wsinuc-split", "version": 2}', "version 2, this wsinuc reads version 1"),
        ('{"format": "wsinuc-split", "version": 1}', "damaged split"),
        (
            '{"format": "wsinuc-split", "version": 1, "dataset": "x", "seed": 0, '
            '"parts": {"a": [{"image": "b", "box": [1]}]}}',
            "box: Expected `array` of length 4",
        ),
        ('{"format": "wsinuc-split", "version": 1, "dataset": "x", "seed": 0, "parts": {"a": ["b"]}}', "damaged split"),
    ],
)
def test_files_that_are_no_splits(tmp_path, text, message):
    path = tmp_path / "split.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        Split.load(path)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"train": ["a", "b", "c"], "validation": ["d"], "test": ["b", "e", "c"]},
            r"parts train and test share 2 places \(b, c\)",
        ),
        ({"train": ["a"], "test": [("a", 0, 0, 4, 4)]}, r"share 1 place \(a at y 0, x 0\)"),
        ({"train": [("a", 0, 0, 4, 4)], "test": [("a", 3, 3, 8, 8), "b"]}, r"share 1 place \(a at y 3, x 3\)"),
        ({"train": list("abcdef"), "test": list("abcdef")}, r"share 6 places \(a, b, c, \.\.\.\)"),
        ({"train": ["a", "b", "a"]}, "part train names a twice"),
        ({"train": ["a"], "test": [("b", 0, 4, 4, 8)], "all": ["a", "b", "c"]}, None),
        ({"train": [("a", 0, 0, 4, 4)], "test": [("a", 0, 4, 4, 8)]}, None),
        ({"train": [("a", 0, 0, 4, 4), ("a", 0, 2, 4, 6)]}, None),
    ],
)
def test_parts_of_a_file_made_by_hand_share_nothing(tmp_path, parts, message):
    def entry(place):
        return {"image": place} if isinstance(place, str) else {"image": place[0], "box": place[1:]}

    path = tmp_path / "split.json"
    content = {part: [entry(place) for place in places] for part, places in parts.items()}
    head = {"format": "wsinuc-split", "version": 1, "dataset": "x", "seed": 0}
    path.write_text(json.dumps(head | {"parts": content}))
    if message is None:
        assert list(Split.load(path).parts) == list(parts)
        return
    with pytest.raises(DataError, match=rf"split\.json: .*{message}"):
        Split.load(path)


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        Split(parts={}, dataset="x", seed=0).save(tmp_path / "nowhere" / "split.json")
