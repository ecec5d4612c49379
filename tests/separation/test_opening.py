"""Labels without their spurs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.separation.opening import disc, open_labels
from wsinuc.separation.settings import WatershedSettings
from wsinuc.separation.watershed import instances_from_distance

LABELS = arrays.arrays(np.int32, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 3))


def _reference(labels: NDArray[np.int32], radius: float) -> NDArray[np.int32]:
    """SciPy's opening of each label by itself, in an array that goes on with the label's own edge pixels."""
    reach = int(radius)
    shape = np.zeros((2 * reach + 1, 2 * reach + 1), bool)
    shape[tuple((disc(radius) + reach).T)] = True
    out = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        mask = labels == label
        core = ndimage.binary_erosion(mask, shape, border_value=1)
        opened = ndimage.binary_dilation(core, shape) & mask
        out[opened if core.any() else mask] = label
    return out


@given(LABELS, st.sampled_from([1.0, 1.5, 2.0, 3.0]))
def test_it_is_the_opening_of_each_label_by_itself(labels: NDArray[np.int32], radius: float) -> None:
    np.testing.assert_array_equal(open_labels(labels, radius), _reference(labels, radius))


@given(LABELS, st.sampled_from([1.0, 2.0]))
def test_opening_again_changes_nothing(labels: NDArray[np.int32], radius: float) -> None:
    once = open_labels(labels, radius)
    np.testing.assert_array_equal(open_labels(once, radius), once)


@given(LABELS)
def test_it_turns_and_mirrors_with_the_picture(labels: NDArray[np.int32]) -> None:
    np.testing.assert_array_equal(open_labels(labels[::-1].T, 2.0), open_labels(labels, 2.0)[::-1].T)


def test_a_label_smaller_than_the_disc_stays_as_it_is() -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[4, 2:7] = 5
    np.testing.assert_array_equal(open_labels(labels, 2.0), labels)


@pytest.mark.parametrize("radius", [0.0, 0.9])
def test_a_disc_of_one_pixel_changes_nothing(radius: float) -> None:
    labels = np.eye(5, dtype=np.int32)
    np.testing.assert_array_equal(open_labels(labels, radius), labels)


def test_a_nucleus_loses_its_tongue_and_keeps_its_body() -> None:
    foreground = np.zeros((40, 60), np.uint8)
    y, x = np.mgrid[:40, :60]
    body = (y - 20) ** 2 + (x - 20) ** 2 <= 10**2
    foreground[body] = 255
    foreground[19:21, 28:50] = 255
    distance = np.where(body, 255 - 12 * np.hypot(y - 20, x - 20), 0).clip(0).astype(np.uint8)
    distance[(foreground > 0) & (distance == 0)] = 10
    plain = instances_from_distance(foreground, distance, WatershedSettings(mpp=0.25))
    opened = instances_from_distance(foreground, distance, WatershedSettings(mpp=0.25, opening_um=0.5))
    assert plain.max() == opened.max() == 1
    assert plain[20, 45] == 1
    assert opened[20, 45] == 0
    assert (opened[body] == 1).mean() > 0.99
