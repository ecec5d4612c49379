"""Ink, folds and dust that training images are given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsinuc.datasets.augmentation.artefacts import ARTEFACTS, dusty, folded, marked, with_artefact
from wsinuc.datasets.augmentation.augment import Augmentation, augmented_crop
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError

GLASS = np.full((96, 96, 3), 240, np.uint8)
ALL = np.ones((96, 96), np.int32)
SEEDS = st.integers(0, 2**32)


@pytest.mark.parametrize("draw", ARTEFACTS)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_same_seed_draws_the_same_and_leaves_its_input_alone(draw, seed):
    image = np.random.default_rng(seed).integers(0, 256, (96, 96, 3), np.uint8)
    before = image.copy()
    first, labels = draw(image, ALL, 0.25, np.random.default_rng(seed))
    again, others = draw(image, ALL, 0.25, np.random.default_rng(seed))
    assert np.array_equal(first, again)
    assert np.array_equal(labels, others)
    assert np.array_equal(image, before)
    assert first.dtype == np.uint8
    assert labels.dtype == np.int32
    assert ALL.all()


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_ink_and_folds_never_make_anything_brighter(seed):
    image = np.random.default_rng(seed).integers(0, 256, (96, 96, 3), np.uint8)
    for draw in (marked, folded):
        drawn, _ = draw(image, ALL, 0.25, np.random.default_rng(seed))
        assert (drawn <= image).all()


def test_a_marker_colours_glass_and_hides_what_lies_under_thick_ink():
    drawn = [marked(GLASS, ALL, 0.25, np.random.default_rng(seed)) for seed in range(40)]
    for image, labels in drawn:
        dark = image.mean(axis=2) < 0.19 * 240
        clear = image.mean(axis=2) > 0.21 * 240
        assert not labels[dark].any()
        assert labels[clear].all()
    assert any((labels == 0).any() for _, labels in drawn)
    assert any((image.astype(int).max(axis=2) - image.min(axis=2) > 60).any() for image, _ in drawn)


def test_a_fold_of_glass_is_nearly_glass_and_hides_nothing():
    image, labels = folded(GLASS, ALL, 0.25, np.random.default_rng(1))
    assert image.min() >= 225
    assert labels.all()


def test_a_fold_of_tissue_has_twice_the_density_and_no_labels():
    tissue = np.full((96, 96, 3), (160, 100, 160), np.uint8)
    image, labels = folded(tissue, ALL, 0.25, np.random.default_rng(1))
    assert (labels == 0).any()
    inside = image[labels == 0].min(axis=0)
    assert np.abs(inside - np.square([160, 100, 160]) / 255).max() < 3
    assert (image[labels == 1] > np.array([100, 39, 100])).all()


def test_dust_is_grey():
    image, _ = dusty(GLASS, ALL, 0.25, np.random.default_rng(3))
    assert (image != GLASS).any()
    assert np.ptp(image, axis=2).max() <= 1


def test_sizes_follow_the_resolution():
    """At half the resolution a stroke covers half the pixels across, so as large a share of the same field."""
    fine = np.full((192, 192, 3), 240, np.uint8)
    shares = []
    for image, mpp in ((fine, 0.25), (GLASS, 0.5)):
        labels = np.ones(image.shape[:2], np.int32)
        drawn = [marked(image, labels, mpp, np.random.default_rng(seed))[0] for seed in range(30)]
        shares.append(np.mean([(each.min(axis=2) < 200).mean() for each in drawn]))
    assert shares[0] == pytest.approx(shares[1], rel=0.02)


def test_a_training_sees_them_as_often_as_it_says():
    sample = LabelledImage(name="glass", image=GLASS, labels=ALL, mpp=0.25, classes=None, attributes={})
    still = Augmentation(zoom=1.0, stain=0.0)
    always = Augmentation(zoom=1.0, stain=0.0, artefacts=1.0)
    plain, _ = augmented_crop(sample, 0.25, np.random.default_rng(0), size=96, augmentation=still)
    assert np.abs(plain.astype(int) - 240).max() <= 1
    seen = [augmented_crop(sample, 0.25, np.random.default_rng(i), size=96, augmentation=always)[0] for i in range(20)]
    assert sum(np.abs(each.astype(int) - 240).max() > 3 for each in seen) >= 12


def test_a_probability_is_one():
    with pytest.raises(ConfigError, match="probabilities"):
        Augmentation(artefacts=1.5)


def test_every_kind_is_drawn():
    rng = np.random.default_rng(0)
    tissue = np.full((96, 96, 3), (160, 100, 160), np.uint8)
    kinds = {with_artefact(tissue, ALL, 0.25, rng)[0].tobytes() for _ in range(30)}
    assert len(kinds) > 20
