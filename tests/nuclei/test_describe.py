"""Descriptors of nuclei: what they say of simple ones, and that they do not depend on what was read around."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import disk

from helpers.files.point_sets import MPP, DarkSegmenter, draw
from wsinuc.nuclei.classes import REACH_UM
from wsinuc.nuclei.describe import DENSITY_STEPS, DESCRIPTORS, describe, stain_levels

AT = {name: i for i, name in enumerate(DESCRIPTORS)}


def described(image):
    foreground = np.where(image[..., 0] < 190, 255, 0).astype(np.uint8)
    labels = DarkSegmenter().separate(foreground[None])
    return labels, describe(labels, foreground, stain_levels(image), MPP)


def test_pure_haematoxylin_has_its_density_and_no_eosin():
    density = 1.2 * np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
    pixel = np.round(256 * np.exp(-density) - 1).astype(np.uint8)
    h, e = stain_levels(np.full((2, 3, 3), pixel))[:, 0, 0]
    assert abs(int(h) - 1.2 * DENSITY_STEPS) <= 2
    assert e <= 2
    assert not stain_levels(np.full((2, 2, 3), 255, np.uint8)).any()


def test_stains_of_a_batch_are_those_of_its_images():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    assert np.array_equal(stain_levels(images), np.stack([stain_levels(image) for image in images]))


def test_what_is_said_of_a_disc():
    labels = np.zeros((80, 80), np.int32)
    labels[disk((40, 40), 10)] = 1
    foreground = np.where(labels > 0, 255, 0).astype(np.uint8)
    stains = np.stack([np.where(labels > 0, 120, 10), np.full((80, 80), 30)]).astype(np.uint8)
    row = describe(labels, foreground, stains, MPP)[0]
    assert row[AT["log_area"]] == pytest.approx(np.log((labels > 0).sum() * MPP**2))
    assert row[AT["axis_ratio"]] > 0.9
    assert row[AT["h_mean"]] == 120
    assert row[AT["h_spread"]] == 0
    assert row[AT["ring_h"]] == 10
    assert row[AT["contrast"]] == 110
    assert row[AT["near_e"]] == row[AT["far_e"]] == 30
    assert row[AT["neighbours_per_mm2"]] == 0


def test_neighbours_are_counted_within_reach():
    labels = np.zeros((60, 300), np.int32)
    step = round(REACH_UM / MPP)
    for i, x in enumerate((30, 30 + step, 30 + 2 * step + 2)):
        labels[28:33, x - 2 : x + 3] = i + 1
    zero = np.zeros(labels.shape, np.uint8)
    counts = describe(labels, zero, np.stack([zero, zero]), MPP)[:, AT["neighbours_per_mm2"]]
    assert (counts > 0).tolist() == [True, True, False]


def test_no_nuclei_no_rows():
    zero = np.zeros((20, 20), np.uint8)
    assert describe(np.zeros((20, 20), np.int32), zero, np.stack([zero, zero]), MPP).shape == (0, len(DESCRIPTORS))


@settings(max_examples=8, deadline=None)
@given(top=st.integers(0, 40), left=st.integers(0, 40), seed=st.integers(0, 3))
def test_a_nucleus_gets_the_same_numbers_in_every_crop_that_holds_its_surroundings(top, left, seed):
    image, *_ = draw((280, 280), seed)
    labels, whole = described(image)
    part, cropped = described(image[top : 280 - left, left : 280 - top])
    reach, checked = int(REACH_UM / MPP) + 30, 0
    for y, x in np.argwhere(labels > 0)[::50]:
        if top + reach <= y < 280 - left - reach and left + reach <= x < 280 - top - reach:
            same = cropped[part[y - top, x - left] - 1]
            assert np.array_equal(whole[labels[y, x] - 1], same)
            checked += 1
    assert checked
