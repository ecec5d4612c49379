"""Nuclei shown once more: nothing that was there changes, and every copy is a nucleus of its own."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from helpers.drawn import SIDE, field, pieces
from wsinuc.datasets.augmentation.augment import Augmentation, augmented_crop
from wsinuc.datasets.augmentation.crowding import OVERLAP, crowded
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError

REACH = 8  # px beyond which the fading around a copy cannot be seen in 8 bit


@given(seed=st.integers(0, 10_000), share=st.floats(0, 2))
@settings(max_examples=60, deadline=None)
def test_what_was_there_stays_and_copies_are_nuclei_of_their_own(seed: int, share: float) -> None:
    image, labels = field(seed)
    before = image.copy(), labels.copy()
    seen, found = crowded(image, labels, np.random.default_rng(seed), share)
    assert np.array_equal(image, before[0])
    assert np.array_equal(labels, before[1])
    assert np.array_equal(found[labels > 0], labels[labels > 0])
    assert set(np.unique(found)) == set(np.unique(labels))
    assert pieces(labels) <= pieces(found)
    far = ndimage.distance_transform_edt(found == labels) > REACH
    assert np.array_equal(seen[far], image[far])


def test_crowds_become_denser_and_copies_are_as_large_as_their_originals() -> None:
    grown = 0
    for seed in range(20):
        image, labels = field(seed)
        _, found = crowded(image, labels, np.random.default_rng(seed), 1.0)
        grown += pieces(found) - pieces(labels)
        # What stands before a copy may cut it in two.
        assert pieces(found) <= 4 * pieces(labels) + 1
        areas = np.bincount(labels.ravel(), minlength=9)
        new = cc3d.connected_components(np.where(found == labels, 0, found), connectivity=8).astype(int)
        for piece in range(1, new.max() + 1):
            whole = new == piece
            assert np.count_nonzero(whole) <= areas[found[whole][0]]
    assert grown >= 40
    assert 0 < OVERLAP < 0.5


def test_a_copy_has_the_colour_of_its_original() -> None:
    image, labels = field(3)
    seen, found = crowded(image, labels, np.random.default_rng(3), 1.0)
    new = (found != labels) & ndimage.binary_erosion(found != labels, iterations=3)
    assert new.any()
    for y, x in np.argwhere(new):
        original = image[labels == found[y, x]].astype(int)
        assert np.abs(original.mean(0) - seen[y, x]).max() <= 6


def test_the_same_chance_gives_the_same_crowd() -> None:
    image, labels = field(5)
    first, second = (crowded(image, labels, np.random.default_rng(9), 1.0) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("count", [0, 1])
def test_there_is_no_crowd_of_one(count: int) -> None:
    image, labels = field(1, count)
    seen, found = crowded(image, labels, np.random.default_rng(0), 1.0)
    assert np.array_equal(seen, image)
    assert np.array_equal(found, labels)


def test_crops_are_crowded_as_often_as_asked() -> None:
    image, labels = field(7)
    sample = LabelledImage(name="a", image=image, labels=labels, attributes={}, mpp=0.25)
    plain = {"zoom": 1.0, "stain": 0.0}

    def nuclei(crowd: float) -> list[int]:
        augmentation = Augmentation(**plain, crowd=crowd)
        crops = [
            augmented_crop(sample, 0.25, np.random.default_rng(k), size=SIDE, augmentation=augmentation)
            for k in range(20)
        ]
        return [pieces(found) for _, found in crops]

    none, often = nuclei(0.0), nuclei(1.0)
    assert set(none) == {pieces(labels)}
    assert sum(n > pieces(labels) for n in often) > 12
    with pytest.raises(ConfigError, match="crowd"):
        Augmentation(crowd=1.5)
