"""What is held out together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsinuc.workflows.training.folds import LEVELS, Kin, fold_of, kin_of

ROWS = st.lists(
    st.fixed_dictionaries({name: st.sampled_from(["", "1", "2", "3"]) for name in LEVELS} | {"shows": st.booleans()}),
    min_size=2,
    max_size=9,
)


@given(ROWS, st.integers(2, 5), st.none() | st.integers(0, 3))
def test_no_fold_splits_what_belongs_together_and_each_model_has_nuclei_to_learn(rows, folds, seed) -> None:
    shows = [row.pop("shows") for row in rows]
    kin = kin_of(rows, shows)
    fold = fold_of(kin, shows, folds, seed)
    assert len(set(zip(kin.groups, fold, strict=True))) == kin.count
    assert set(fold) == set(range(min(folds, kin.count)))
    attribute = {level: name for name, level in LEVELS.items()}.get(kin.level)
    if attribute is None:
        assert kin.count == len(rows)
    else:
        for value in {row[attribute] for row in rows} - {""}:
            assert len({group for group, row in zip(kin.groups, rows, strict=True) if row[attribute] == value}) == 1
    if sum(shows) >= 2:
        assert all(any(shows[i] for i in np.flatnonzero(fold != number)) for number in set(fold))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("a", "s1"), ("b", "s2"), ("a", "s3")], "2 patients, each whole"),
        (
            [("a", "s1"), ("a", "s2"), ("a", "s1")],
            "2 slides, each whole, all of one patient: nothing says",
        ),
        ([("", "s1"), ("", "s2"), ("", "s1")], "2 slides, each whole; patients are not known"),
        ([("", "s1"), ("", "s1"), ("", "s1")], "3 windows, all of one slide: nothing says"),
        ([("", ""), ("", ""), ("", "")], "3 windows; patients are not known"),
    ],
)
def test_the_coarsest_that_leaves_something_to_learn_is_held_out(rows: list[tuple[str, str]], says: str) -> None:
    attributes = [{"patient": p, "slide": s, "name": str(i)} for i, (p, s) in enumerate(rows)]
    assert str(kin_of(attributes, [True] * len(rows))).startswith(says)


def test_a_column_may_be_written_with_capitals() -> None:
    rows = [{"Patient": "a", "SLIDE": "1"}, {"Patient": "b", "SLIDE": "2"}, {"Patient": "a", "SLIDE": "3"}]
    assert kin_of(rows, [True] * 3) == Kin((0, 1, 0), "patient")


def test_patches_of_an_image_stay_together_where_there_are_several_images() -> None:
    patches = [{"name": "a"}, {"name": "a"}, {"name": "b"}]
    assert kin_of(patches, [True] * 3) == Kin((0, 0, 1), "image")
    assert kin_of(patches[:2], [True] * 2) == Kin((0, 1), "window", "image")
    assert kin_of(patches, [True, True, False]) == Kin((0, 1, 2), "window", "image"), "b teaches nothing"


def test_folds_are_as_large_as_can_be_and_the_same_again() -> None:
    def dealt(count: int) -> list[int]:
        return fold_of(Kin(tuple(range(count)), "window"), [True] * count, 4, seed=3).tolist()

    assert sorted(dealt(4)) == [0, 1, 2, 3]
    assert np.bincount(dealt(10)).tolist() == [3, 3, 2, 2]
    order = np.random.default_rng(3).permutation(10)
    assert np.array(dealt(10))[order].tolist() == [0, 1, 2, 3] * 2 + [0, 1], "dealt out in turn"
