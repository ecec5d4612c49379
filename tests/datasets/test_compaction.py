"""Tissue drawn together: nuclei keep every pixel, come nearer to each other, and nothing but background goes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from helpers.drawn import field, pieces
from wsinuc.datasets.augmentation.augment import Augmentation, augmented_crop
from wsinuc.datasets.augmentation.compaction import compacted
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError


def drawn(seed: int, size: int, count: int = 8) -> tuple[np.ndarray, ...]:
    """A field before and after."""
    image, labels = field(seed, count)
    return image, labels, *compacted(image, labels, np.random.default_rng(seed), size)


def colours(image: np.ndarray, mask: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(map(tuple, image[mask].tolist()))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(40, 120))
def test_every_nucleus_keeps_its_pixels_and_only_background_goes(seed: int, size: int) -> None:
    image, labels, seen, found = drawn(seed, size)
    assert seen.shape == (*found.shape, 3)
    assert all(min(size, 96) <= side <= 96 for side in found.shape)
    np.testing.assert_array_equal(np.bincount(found.ravel())[1:], np.bincount(labels.ravel())[1:])
    for label in np.unique(labels)[1:]:
        assert colours(seen, found == label) == colours(image, labels == label)
    was, rest = colours(image, labels == 0), colours(seen, found == 0)
    assert len(was) - len(rest) == labels.size - found.size
    assert set(rest) <= set(was)


def test_a_nucleus_keeps_its_shape() -> None:
    # A path passes all rows of a nucleus on the same side, so they stay above each other.
    for seed in range(10):
        _, labels, _, found = drawn(seed, 64)
        assert pieces(found) <= pieces(labels)
        for label in np.unique(labels)[1:]:
            before, after = (np.argwhere(each == label) for each in (labels, found))
            np.testing.assert_array_equal(np.ptp(before, axis=0), np.ptp(after, axis=0))


def nearest_gap(labels: np.ndarray) -> float:
    """Mean over nuclei of the distance to the nearest other one."""
    gaps = []
    for label in np.unique(labels)[1:]:
        others = ndimage.distance_transform_edt((labels == 0) | (labels == label))
        gaps.append(others[labels == label].min())
    return float(np.mean(gaps))


def test_nuclei_come_nearer_until_they_touch() -> None:
    before, after, touching = [], [], 0
    for seed in range(10):
        _, labels, _, found = drawn(seed, 56)
        before.append(nearest_gap(labels))
        after.append(nearest_gap(found))
        near = ndimage.grey_dilation(found, footprint=ndimage.generate_binary_structure(2, 1))
        touching += np.count_nonzero((near != found) & (found > 0) & (near > 0))
    assert np.mean(after) < 0.5 * np.mean(before)
    assert touching > 0


def test_what_no_path_crosses_keeps_its_size() -> None:
    image, labels = field(1)
    labels[40:44] = 9  # from side to side: no column can go
    seen, found = compacted(image, labels, np.random.default_rng(0), 48)
    assert found.shape[1] == 96
    assert 48 <= found.shape[0] < 96
    assert np.count_nonzero(found == 9) == np.count_nonzero(labels == 9)
    full = np.ones_like(labels)
    assert compacted(image, full, np.random.default_rng(0), 48)[1].shape == (96, 96)
    assert seen.dtype == np.uint8


def test_what_is_small_enough_stays_and_empty_glass_may_go() -> None:
    image, labels = field(2)
    seen, found = compacted(image, labels, np.random.default_rng(0), 96)
    np.testing.assert_array_equal(seen, image)
    np.testing.assert_array_equal(found, labels)
    assert compacted(image, np.zeros_like(labels), np.random.default_rng(0), 50)[0].shape == (50, 50, 3)


def test_the_arguments_stay_as_they_are_and_the_generator_decides() -> None:
    image, labels = field(3)
    before = image.copy(), labels.copy()
    first, again, other = (compacted(image, labels, np.random.default_rng(seed), 60) for seed in (0, 0, 1))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(labels, before[1])
    np.testing.assert_array_equal(first[0], again[0])
    assert first[0].shape != other[0].shape or not np.array_equal(first[0], other[0])


def test_a_training_crop_is_drawn_together_when_asked_to() -> None:
    image, labels = field(4, count=14)
    sample = LabelledImage(name="a", image=image, labels=labels, attributes={}, mpp=0.25)
    still = Augmentation(zoom=1.0, stain=0.0)
    dense = Augmentation(zoom=1.0, stain=0.0, compact=1.0)
    share = {still: 0.0, dense: 0.0}
    for augmentation in share:
        for k in range(20):
            crop, found = augmented_crop(sample, 0.25, np.random.default_rng(k), size=48, augmentation=augmentation)
            assert crop.shape == (48, 48, 3)
            assert found.shape == (48, 48)
            share[augmentation] += float((found > 0).mean()) / 20
    assert share[dense] > 1.2 * share[still]


def test_a_probability_lies_between_nothing_and_one() -> None:
    with pytest.raises(ConfigError, match="compact"):
        Augmentation(compact=1.5)
