"""Pixels as a slide of fewer shows them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wsinuc.datasets.augmentation.augment import Augmentation, distorted
from wsinuc.errors import ConfigError

PLAIN = Augmentation(zoom=1.0, stain=0.0)
COARSE = replace(PLAIN, coarse=1.0)


def test_single_pixels_blend_into_their_surroundings() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 200
    image = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    seen = distorted(image, 0.25, np.random.default_rng(1), COARSE)
    assert seen.shape == image.shape
    assert image.std() == pytest.approx(100)
    assert seen.std() < 40
    assert seen.mean() == pytest.approx(100, abs=2)


def test_what_is_wide_stays_where_it_is() -> None:
    image = np.full((96, 96, 3), 240, np.uint8)
    image[32:64, 32:64] = 60
    for seed in range(5):
        seen = distorted(image, 0.25, np.random.default_rng(seed), COARSE)
        dark = np.argwhere(seen[..., 0] < 150)
        assert dark.mean(0) == pytest.approx([47.5, 47.5], abs=0.8)
        assert len(dark) == pytest.approx(32**2, rel=0.08)


def test_off_it_changes_no_crop_of_a_training_without_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    noisy = replace(PLAIN, noise=5.0)
    one = distorted(image, 0.25, np.random.default_rng(3), noisy)
    np.testing.assert_array_equal(one, distorted(image, 0.25, np.random.default_rng(3), replace(noisy, coarse=0.0)))


def test_a_probability_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="coarse"):
        Augmentation(coarse=1.5)
