"""The page of mistakes: what is missed, wrong and right stands there in its colour and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from wsinuc.exports.pictures.comparison import BOTH, PAIR_PX, PREDICTION, TRUTH, Comparison, write_mistakes

MISSED, WRONG, RIGHT = 1, 2, 3


def field(kinds: set[int], **more: object) -> Comparison:
    """Three nuclei of which some are annotated, predicted, or both."""
    truth, predicted = np.zeros((2, 64, 96), int)
    for kind in kinds:
        square = np.s_[10:40, 30 * kind - 25 : 30 * kind - 5]
        truth[square], predicted[square] = 7 * kind * (kind != WRONG), 9 * kind * (kind != MISSED)
    return Comparison(caption="field", image=np.zeros((64, 96, 3), np.uint8), truth=truth, predicted=predicted, **more)


def colours(path) -> list[bool]:
    page = np.asarray(Image.open(path))
    return [bool((page == colour).all(2).any()) for colour in (TRUTH, PREDICTION, BOTH)]


@pytest.mark.parametrize("kinds", [{MISSED}, {WRONG}, {RIGHT}, {MISSED, WRONG, RIGHT}, set()])
def test_each_kind_has_its_colour(kinds, tmp_path):
    write_mistakes(iter([field(kinds)]), 1, tmp_path / "page.png")
    assert colours(tmp_path / "page.png") == [MISSED in kinds, WRONG in kinds, RIGHT in kinds]


def test_pairs_stand_two_in_a_row(tmp_path):
    write_mistakes(iter([field({RIGHT})] * 3), 3, tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as page:
        assert page.width > 4 * PAIR_PX
        assert 2 * PAIR_PX < page.height < 3 * PAIR_PX


def test_points_are_not_judged(tmp_path):
    marked = field({RIGHT}, true_points=np.array([[20.0, 30.0]]))
    write_mistakes(iter([marked]), 1, tmp_path / "page.png")
    assert colours(tmp_path / "page.png")[:2] == [True, False]  # the dot; annotation and prediction agree to the pixel
