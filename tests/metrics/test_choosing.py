"""What an image without nuclei weighs where one prediction is chosen over another."""

from __future__ import annotations

import numpy as np
import pytest

from wsinuc.metrics.choosing import Judged, mean_merit, usual_share
from wsinuc.metrics.segmentation import aji

NOTHING = np.zeros((10, 20), np.int32)


def blocks(*places: tuple[int, int]) -> np.ndarray:
    """Nuclei of 4 x 5 pixels."""
    labels = NOTHING.copy()
    for number, (y, x) in enumerate(places, start=1):
        labels[y : y + 4, x : x + 5] = number
    return labels


def test_an_image_without_nuclei_is_scored_as_if_it_showed_as_many_as_others_all_found() -> None:
    judged = Judged.of(NOTHING, blocks((6, 10)))
    beside = blocks((0, 0), (0, 10))
    both = blocks((0, 0), (0, 10), (6, 10))
    assert judged.merit(usual_share([0.2])) == pytest.approx(aji(beside, both))
    assert Judged.of(NOTHING, NOTHING).merit(0.2) == 1.0


def test_images_with_nuclei_keep_their_aji() -> None:
    truth, found = blocks((0, 0), (0, 10)), blocks((0, 0), (6, 10))
    assert Judged.of(truth, found).merit(0.3) == aji(truth, found)
    assert mean_merit([Judged.of(truth, found), Judged.of(truth, truth)]) == pytest.approx((aji(truth, found) + 1) / 2)


def test_pixels_that_are_ignored_make_no_share_smaller() -> None:
    ignore = np.zeros(NOTHING.shape, np.bool_)
    ignore[:, 10:] = True
    assert Judged.of(NOTHING, blocks((0, 0)), ignore).found == pytest.approx(0.2)
    assert Judged.of(NOTHING, blocks((0, 0))).found == pytest.approx(0.1)


def test_where_no_image_has_nuclei_the_score_is_all_or_nothing() -> None:
    assert mean_merit([Judged.of(NOTHING, blocks((0, 0))), Judged.of(NOTHING, NOTHING)]) == 0.5
