"""Parts of a data set by attribute and by share, and a slide whose annotations are named apart."""

from __future__ import annotations

from pathlib import Path

import pytest

import wsinuc
from helpers.files.datasets import write_set
from wsinuc.errors import ConfigError, DataError

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
SLIDE = EXAMPLES / "CMU-1-Small-Region.svs"
DRAWN = EXAMPLES / "CMU-1-Small-Region.nuclei.geojson"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> wsinuc.Dataset:
    return wsinuc.open_dataset(write_set(tmp_path_factory.mktemp("data") / "set", images=6))


def test_conditions_are_texts_or_lists_of_them(dataset: wsinuc.Dataset) -> None:
    assert dataset.where({"patient": "p1"}).names == ("i1",)
    assert dataset.where({"patient": ["p1", "p4"]}).names == dataset.where({"patient": {"p4", "p1"}}).names
    assert dataset.where(unwanted={"patient": ("p0", "p1", "p2", "p3")}).names == ("i4", "i5")
    with pytest.raises(DataError, match=r'expected texts as values of patient, such as \["09", "10"\], got 4 \(int\)'):
        dataset.where({"patient": 4})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="no image has patient=p9; the values are: p0, p1"):
        dataset.where({"patient": ["p9"]})


def test_a_split_by_shares_is_that_of_the_command(dataset: wsinuc.Dataset) -> None:
    from wsinuc.datasets.sampling.split import split_images

    shares = {"train": 0.5, "test": 1 / 3}
    parts = dataset.split(shares, group="patient", seed=3)
    expected = split_images(dataset, shares, group="patient", seed=3)
    assert list(parts) == ["train", "test"]
    assert [len(part) for part in parts.values()] == [3, 2]
    assert {name: part.names for name, part in parts.items()} == {
        name: expected.of(dataset, name).names for name in parts
    }
    assert not set(parts["train"].names) & set(parts["test"].names)
    with pytest.raises(ConfigError, match="shares above 0"):
        dataset.split({"train": 1.5})


def test_annotations_may_be_named_apart_from_their_slide(dataset: wsinuc.Dataset) -> None:
    apart = wsinuc.open_dataset(SLIDE, annotations=DRAWN)
    joined = wsinuc.open_dataset(f"{SLIDE}={DRAWN}")
    assert apart.rows == joined.rows
    assert apart.classes == joined.classes
    with pytest.raises(ConfigError, match=r"annotations are those of one slide, and .* is none"):
        wsinuc.open_dataset(dataset.path, annotations=DRAWN)
    with pytest.raises(DataError, match=r"nowhere\.svs is no folder"):
        wsinuc.open_dataset("nowhere.svs", annotations=DRAWN)
