"""Haematoxylin alone as if eosin had been added; dyes of other colours."""

from __future__ import annotations

import numpy as np
import pytest

from wsinuc.datasets.augmentation.augment import EOSIN, STAINS, UNMIX, Augmentation, density, mix_densities
from wsinuc.datasets.augmentation.counterstain import INSIDE, counterstained
from wsinuc.errors import ConfigError


def stained(haematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """RGB of tissue with these densities of the two dyes ``(h, w)``."""
    mixed = haematoxylin[..., None] * STAINS[0] + eosin[..., None] * STAINS[EOSIN]
    return np.rint(np.exp(-mixed) * 256 - 1).clip(0, 255).astype(np.uint8)


def dye(image: np.ndarray, which: int) -> np.ndarray:
    return (density(image).reshape(-1, 3) @ UNMIX)[:, which].reshape(image.shape[:2])


@pytest.fixture(name="nucleus")
def _nucleus() -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((60, 80), np.int32)
    labels[20:40, 30:50] = 1
    return stained(0.1 + 0.8 * (labels > 0), np.zeros(labels.shape)), labels


def test_eosin_lies_around_nuclei_and_little_of_it_in_them(nucleus: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = nucleus
    donor = stained(np.zeros((100, 100)), np.full((100, 100), 0.5))
    found = dye(counterstained(image, labels, donor, np.random.default_rng(0)), EOSIN)
    outside, inside = found[:15].mean(), found[25:35, 35:45].mean()
    assert 0.28 < outside < 0.68  # 0.5, times 0.6 to 1.3
    assert inside == pytest.approx(INSIDE * outside, abs=0.04)


def test_haematoxylin_changes_by_one_factor(nucleus: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = nucleus
    donor = stained(np.zeros((100, 100)), np.full((100, 100), 0.5))
    before, after = (dye(x, 0) for x in (image, counterstained(image, labels, donor, np.random.default_rng(1))))
    factors = after[after > 0.3] / before[after > 0.3]
    assert factors.min() > 0.65
    assert factors.max() < 1.15
    assert factors.std() < 0.05


def test_glass_adds_nothing_but_the_factor(nucleus: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = nucleus
    glass = np.full((50, 50, 3), 255, np.uint8)
    assert np.abs(dye(counterstained(image, labels, glass, np.random.default_rng(2)), EOSIN)).max() < 0.03


@pytest.mark.parametrize("side", [20, 61, 300])
def test_donors_of_any_size_do(nucleus: tuple[np.ndarray, np.ndarray], side: int) -> None:
    image, labels = nucleus
    before = image.copy()
    donor = np.random.default_rng(side).integers(100, 255, (side, side, 3), dtype=np.uint8)
    made = counterstained(image, labels, donor, np.random.default_rng(3))
    assert made.shape == image.shape
    assert made.dtype == np.uint8
    assert np.array_equal(made, counterstained(image, labels, donor, np.random.default_rng(3)))
    assert np.array_equal(image, before)


def test_dyes_of_no_other_colour_change_nothing_and_glass_stays_white() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.abs(mix_densities(image, np.random.default_rng(0), 0.0).astype(int) - image).max() <= 1
    changed = mix_densities(image, np.random.default_rng(0), 0.1)
    assert np.abs(changed.astype(int) - image).mean() > 3
    glass = np.full((4, 4, 3), 255, np.uint8)
    assert mix_densities(glass, np.random.default_rng(0), 0.1).min() >= 254
    with pytest.raises(ConfigError, match="dyes"):
        Augmentation(dyes=-0.1)
