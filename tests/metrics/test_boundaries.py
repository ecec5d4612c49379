"""Distances of masks: by hand, and with SciPy, scikit-image and MONAI's definition as judges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist, directed_hausdorff
from skimage.metrics import hausdorff_distance

from wsinuc.errors import DataError
from wsinuc.metrics.boundaries import class_distances, hausdorff, hausdorff_95, hausdorff_of_rows

MASKS = arrays(np.bool_, (7, 9), elements=st.booleans()).filter(lambda mask: mask.any())


def monai_95(truth, predicted):
    """As monai.metrics.compute_hausdorff_distance(..., percentile=95) defines it."""
    one, other = (np.argwhere(mask ^ binary_erosion(mask)) for mask in (truth, predicted))
    distances = cdist(one, other)
    return max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))


def test_by_hand():
    truth = np.zeros((12, 30), bool)
    truth[3:11, 2:10] = True
    moved = np.roll(truth, 3, axis=1)
    assert hausdorff(truth, moved) == 3
    assert hausdorff_95(truth, truth) == 0
    stray = moved.copy()
    stray[0, 29] = True
    # From (0, 29) to the nearest annotated pixel, (3, 9).
    assert hausdorff(truth, stray) == math.hypot(3, 20)
    assert hausdorff_95(truth, stray) < 5


@settings(max_examples=30, deadline=None)
@given(MASKS, MASKS)
def test_scipy_scikit_image_and_monai_agree(truth, predicted):
    one, other = np.argwhere(truth), np.argwhere(predicted)
    expected = max(directed_hausdorff(one, other)[0], directed_hausdorff(other, one)[0])
    assert hausdorff(truth, predicted) == pytest.approx(expected)
    assert hausdorff(truth, predicted) == pytest.approx(hausdorff_distance(truth, predicted))
    assert hausdorff_95(truth, predicted) == pytest.approx(monai_95(truth, predicted))
    rows = max(directed_hausdorff(truth, predicted)[0], directed_hausdorff(predicted, truth)[0])
    assert hausdorff_of_rows(truth, predicted) == pytest.approx(rows)
    assert hausdorff(predicted, truth) == hausdorff(truth, predicted)


@pytest.mark.parametrize("measure", [hausdorff, hausdorff_95])
def test_empty_masks(measure):
    nothing = np.zeros((3, 4), bool)
    assert math.isnan(measure(nothing, nothing))
    assert measure(nothing, ~nothing) == measure(~nothing, nothing) == 5
    assert math.isnan(hausdorff_of_rows(nothing, nothing))
    assert hausdorff_of_rows(nothing, ~nothing) == 2


def test_classes_have_their_own_distances_in_the_units_of_the_pixel():
    truth, predicted = np.array([[1, 1, 0, 0, 2]]), np.array([[0, 1, 0, 2, 0]])
    found = class_distances(truth, predicted, 3, pixel=0.25)
    np.testing.assert_array_equal(found.hausdorff, [0.25, 0.25, np.nan])
    np.testing.assert_array_equal(found.rows, [1, math.sqrt(2), np.nan])
    with pytest.raises(DataError, match="one shape"):
        class_distances(truth, predicted.T, 3)
