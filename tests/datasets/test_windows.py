"""Windows cover an image to its border, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsinuc.datasets.sampling.windows import windows
from wsinuc.errors import ConfigError


def test_the_papers_images_give_49_windows():
    boxes = windows((1000, 1000), size_px=256, stride=128)
    assert len(set(boxes)) == 49
    assert {box.x0 for box in boxes} == {0, 128, 256, 384, 512, 640, 744}


@given(shape=st.tuples(st.integers(1, 90), st.integers(1, 90)), size=st.integers(1, 40), share=st.floats(0.01, 1))
def test_every_pixel_is_covered_by_windows_of_one_shape_inside_the_image(shape, size, share):
    boxes = windows(shape, size_px=size, stride=max(1, int(size * share)))
    covered = np.zeros(shape, bool)
    for box in boxes:
        assert box.shape == (min(size, shape[0]), min(size, shape[1]))
        assert box.y0 >= 0
        assert box.x0 >= 0
        assert covered[box.slices].shape == box.shape
        covered[box.slices] = True
    assert covered.all()
    assert len(set(boxes)) == len(boxes)


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (16, 0), (16, 17)])
def test_windows_that_leave_gaps_are_refused(size, stride):
    with pytest.raises(ConfigError, match="a stride from 1 to it"):
        windows((50, 50), size_px=size, stride=stride)
