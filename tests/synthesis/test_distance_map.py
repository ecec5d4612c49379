"""The distance map turns with its nuclei and has one peak each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wsinuc.orientation import dihedral
from wsinuc.synthesis.distance_map import centroid_distance

LABELS = arrays.arrays(np.int32, (9, 12), elements=st.integers(0, 3))


@given(LABELS, st.integers(0, 7))
def test_it_turns_with_the_labels(labels: np.ndarray, k: int):
    turned = centroid_distance(np.ascontiguousarray(dihedral(labels, k)))
    np.testing.assert_allclose(turned, dihedral(centroid_distance(labels), k), atol=1e-6)


@given(LABELS, st.integers(1, 50))
def test_numbers_of_nuclei_and_room_around_them_do_not_matter(labels: np.ndarray, more: int):
    other = np.pad(np.where(labels > 0, labels * 7 + more, 0), 2)
    np.testing.assert_allclose(centroid_distance(other)[2:-2, 2:-2], centroid_distance(labels), atol=1e-6)


@given(LABELS)
def test_it_lies_between_0_and_1_and_is_0_outside(labels: np.ndarray):
    cones = centroid_distance(labels)
    assert cones.dtype == np.float32
    assert cones.min() >= 0
    assert cones.max() <= 1
    assert not cones[labels == 0].any()


def test_a_disc_is_a_cone():
    y, x = np.mgrid[-10:11, -10:11]
    radius = np.hypot(y, x)
    cones = centroid_distance((radius <= 10).astype(np.int32))
    np.testing.assert_allclose(cones[radius <= 10], 1 - radius[radius <= 10] / 10, atol=1e-6)


def test_each_of_two_touching_nuclei_has_its_own_peak():
    labels = np.repeat([[1] * 5 + [2] * 9], 5, axis=0).astype(np.int32)
    cones = centroid_distance(labels)
    assert cones[2, 2] == cones[2, 9] == 1
    assert cones[2, 4] == pytest.approx(1 - 2 / 8**0.5)


def test_nothing_and_a_single_pixel():
    assert not centroid_distance(np.zeros((3, 4), np.int32)).any()
    assert centroid_distance(np.array([[0, 5], [0, 0]])).tolist() == [[0, 1], [0, 0]]
