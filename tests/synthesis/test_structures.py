"""Structure maps follow their nuclei: whatever is done to the labels can be done to the maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wsinuc.orientation import dihedral
from wsinuc.synthesis.structures import from_diffusion, structure_map, to_diffusion, turned

LABELS = arrays.arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 4))


@given(labels=LABELS, k=st.integers(0, 7), smallest=st.integers(0, 12))
@settings(max_examples=200, deadline=None)
def test_turning_the_map_is_turning_the_nuclei(labels: np.ndarray, k: int, smallest: int) -> None:
    recomputed = structure_map(dihedral(labels, k), smallest_px=smallest)
    np.testing.assert_array_equal(turned(structure_map(labels, smallest_px=smallest), k), recomputed)


@given(labels=LABELS, smallest=st.integers(0, 12))
@settings(deadline=None)
def test_small_nuclei_lose_their_position_but_not_their_pixels(labels: np.ndarray, smallest: int) -> None:
    semantic, h, v = structure_map(labels, smallest_px=smallest)
    np.testing.assert_array_equal(semantic, labels > 0)
    for label in range(1, 5):
        mine = labels == label
        if mine.sum() < smallest:
            assert not h[mine].any()
            assert not v[mine].any()
        elif mine.any(axis=0).sum() > 1:
            assert h[mine].min() == -1
            assert h[mine].max() == 1


def test_the_default_is_the_published_30_px() -> None:
    labels = np.zeros((12, 12), np.int32)
    labels[:5, :6] = 1
    assert structure_map(labels)[1].any()
    labels[0, 0] = 0
    assert not structure_map(labels)[1:].any()


@given(labels=LABELS)
@settings(deadline=None)
def test_the_diffusion_variable_fills_its_range_and_goes_back(labels: np.ndarray) -> None:
    structure = structure_map(labels, smallest_px=1)
    x = to_diffusion(structure)
    assert set(np.unique(x[0])) <= {-1.0, 1.0}
    np.testing.assert_array_equal(x[1:], structure[1:])
    np.testing.assert_array_equal(from_diffusion(x), structure)
    np.testing.assert_array_equal(from_diffusion(np.stack([x, x]))[1], structure)


def test_samples_beyond_the_range_are_cut() -> None:
    wild = np.full((3, 1, 2), 1.7, np.float32) * np.array([-1, 1], np.float32)
    assert from_diffusion(wild)[:, 0].tolist() == [[0, 1], [-1, 1], [-1, 1]]


@pytest.mark.parametrize("shape", [(0, 0), (4, 0)])
def test_nothing_has_no_structure(shape: tuple[int, int]) -> None:
    assert structure_map(np.zeros(shape, np.int32)).shape == (3, *shape)
