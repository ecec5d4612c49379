"""Generated maps to instances: what clean maps hold comes back, whatever way round, in 8 bits or with noise."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from helpers.drawn import ellipses
from wsinuc.errors import ConfigError, DataError
from wsinuc.metrics.segmentation import aji_plus
from wsinuc.orientation import dihedral
from wsinuc.separation.contacts import settle_contacts
from wsinuc.separation.generated import SEPARATIONS, GeneratedMaps, separate, settings_for_maps
from wsinuc.separation.targets import hv_maps

FINE, COARSE = settings_for_maps(0.25), settings_for_maps(0.5)


@functools.cache
def crowd(seed: int, mpp: float = 0.25) -> np.ndarray:
    """Some 35 touching nuclei of 4.5 to 9 um."""
    return ellipses((180, 180), 36, seed, (9, 18)) if mpp == 0.25 else ellipses((128, 128), 50, seed, (5, 9))


def maps_of(labels: np.ndarray, classes: np.ndarray | None = None) -> GeneratedMaps:
    """The maps of labels, with the semantic map as classes if there are any."""
    distance, points = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, np.int32)
    for label, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        at = np.argwhere(labels[place] == label)
        away = np.hypot(*(at - at.mean(axis=0)).T)
        distance[place][tuple(at.T)] = 1 - away / max(away.max(), 1.0)
        points[place][tuple(at[away.argmin()])] = 1 if classes is None else classes[label]
    semantic = (labels > 0).astype(np.float32) if classes is None else classes[labels]
    return GeneratedMaps(semantic=semantic, hv=hv_maps(labels), distance=distance, points=points)


def changed(maps: GeneratedMaps, change) -> GeneratedMaps:
    return replace(
        maps, semantic=change(maps.semantic), hv=np.stack([change(m) for m in maps.hv]), distance=change(maps.distance)
    )


@pytest.mark.parametrize(("seed", "mpp"), [(0, 0.25), (0, 0.5), (13999, 0.25)])
def test_touching_nuclei_come_back_from_clean_hv(seed, mpp):
    truth = crowd(seed, mpp)
    found = separate("hv", maps_of(truth), settings_for_maps(mpp)).labels
    # In the third crowd one of 20 nuclei is lost, of two that curl round each other, see below.
    assert aji_plus(truth, found) >= 0.94
    assert aji_plus(truth, separate("components", maps_of(truth), settings_for_maps(mpp)).labels) < 0.8


@pytest.mark.parametrize(("method", "mpp"), [("hv", 0.25), ("hv", 0.5), ("points", 0.25), ("points", 0.5)])
def test_clean_maps_give_back_nearly_every_pixel(method, mpp):
    crowds = [crowd(seed, mpp) for seed in range(4)]
    scores = [aji_plus(t, separate(method, maps_of(t), settings_for_maps(mpp)).labels) for t in crowds]
    assert np.mean(scores) >= 0.99
    assert min(scores) >= 0.94


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_nucleus_with_its_point_comes_back(seed):
    truth = crowd(seed)
    maps = maps_of(truth)
    found = separate("points", maps, FINE).labels
    assert found.max() == truth.max()
    assert len(np.unique(found[maps.points > 0])) == truth.max()


def test_contacts_of_nuclei_with_points_stay_where_they_are():
    truth = crowd(11979)  # where contacts could wander by up to four pixels
    assert aji_plus(truth, separate("points", maps_of(truth), FINE).labels) >= 0.99


@pytest.mark.parametrize("method", SEPARATIONS)
@pytest.mark.parametrize("k", [1, 4, 6])
def test_separation_turns_with_the_maps(method, k):
    # Ties fall in raster order, which a turn changes: pixels at contacts may differ, and where
    # nuclei are so crowded the
    # distance to the blob's border is full of them.
    truth = crowd(3)
    straight = separate(method, maps_of(truth), FINE).labels
    turned = separate(method, maps_of(np.ascontiguousarray(dihedral(truth, k))), FINE).labels
    assert turned.max() == straight.max()
    assert aji_plus(dihedral(straight, k), turned) >= (0.95 if method == "distance" else 0.99)


def test_h_and_v_are_blind_where_a_tip_curls_round_a_nucleus():
    # Along that contact H and V grow from one nucleus into the other, so neither map holds a
    # border: a limit of the maps
    # themselves, which the distance to the centroids does not share.
    maps, truth = maps_of(crowd(3502)), crowd(3502)
    assert separate("hv", maps, FINE).labels.max() == truth.max() - 1
    assert separate("points", maps, FINE).labels.max() == truth.max()


def test_copied_pixels_of_h_and_v_are_no_turned_structure():
    truth = crowd(3)
    maps = maps_of(truth)
    wrong = changed(maps, lambda values: np.ascontiguousarray(values[:, ::-1]))
    assert aji_plus(truth[:, ::-1], separate("hv", wrong, FINE).labels) < 0.5


@pytest.mark.parametrize(("method", "lost"), [("hv", 0.002), ("points", 0.05)])
def test_8_bits_do_not_hurt_and_noise_costs_pixels_at_contacts_at_most(method, lost):
    for seed in range(3):
        truth, rng = crowd(seed), np.random.default_rng(seed)
        maps = maps_of(truth)
        clean = aji_plus(truth, separate(method, maps, FINE).labels)
        coarse = separate(method, changed(maps, lambda values: np.rint(values * 127.5) / 127.5), FINE).labels
        noisy = changed(maps, lambda values: values + 0.1 * rng.standard_normal(values.shape))  # noqa: B023
        assert aji_plus(truth, coarse) >= clean - 0.005
        found = separate(method, noisy, FINE).labels
        assert found.max() == truth.max()
        assert aji_plus(truth, found) >= clean - lost


def test_a_far_contact_changes_nothing_here():
    # HoVer-Net's normalisation by the tile's extremes fails this.
    truth = crowd(5)
    alone = separate("hv", maps_of(truth), FINE).labels
    beside = np.zeros((180, 260), np.int32)
    beside[:, :180] = truth
    beside[60:90, 220:235], beside[60:90, 235:250] = truth.max() + 1, truth.max() + 2
    found = separate("hv", maps_of(beside), FINE).labels
    np.testing.assert_array_equal(found[:, :180] > 0, alone > 0)
    assert aji_plus(alone, found[:, :180]) == 1.0
    assert found.max() == alone.max() + 2


def test_blobs_are_cut_at_their_neck_and_only_there():
    yy, xx = np.mgrid[:60, :90]
    blob = (np.hypot(yy - 30, xx - 30) < 14) | (np.hypot(yy - 30, xx - 54) < 14)
    found = separate("distance", GeneratedMaps(semantic=blob.astype(np.int32)), FINE).labels
    assert found.max() == 2
    assert found[30, 30] != found[30, 54]
    oval = GeneratedMaps(semantic=(np.hypot((yy - 30) / 10, (xx - 45) / 25) < 1).astype(np.int32))
    assert separate("distance", oval, FINE).labels.max() == 1
    assert separate("components", GeneratedMaps(semantic=blob.astype(np.int32)), FINE).labels.max() == 1


def discs(*places: tuple[int, int], shape: tuple[int, int] = (64, 96), radius: int = 9) -> np.ndarray:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for label, (y, x) in enumerate(places, start=1):
        labels[np.hypot(yy - y, xx - x) <= radius] = label
    return labels


def test_points_outside_are_ignored_and_nuclei_without_a_point_stay():
    truth = discs((20, 20), (20, 60))
    maps = maps_of(truth)
    points = np.zeros_like(maps.points)
    points[20, 20], points[50, 50] = 1, 1
    found = separate("points", replace(maps, points=points), FINE).labels
    np.testing.assert_array_equal(found, truth)


def test_classes_follow_the_point_else_the_majority():
    truth = discs((20, 20), (20, 60))
    classes = np.array([0, 1, 2], np.int32)
    maps = maps_of(truth, classes)
    semantic = maps.semantic.copy()
    semantic[20, 55:62] = 3  # a few pixels of another class
    points = maps.points.copy()
    points[20, 20] = 3
    points[20, 60] = 0
    maps = replace(maps, semantic=semantic, points=points)
    assert separate("points", maps, FINE).classes.tolist() == [0, 3, 2]
    for method in ("components", "distance", "hv"):
        found = separate(method, maps, FINE)
        assert found.classes.tolist() == [0, 1, 2]
        assert found.labels.dtype == found.classes.dtype == np.int32
    assert separate("components", replace(maps, semantic=(truth > 0) * 0.9), FINE).classes.tolist() == [0, 1, 1]


@pytest.mark.parametrize("method", SEPARATIONS)
def test_specks_go_and_empty_maps_stay_empty(method):
    truth = discs((20, 20))
    truth[50, 50:53] = 2
    assert separate(method, maps_of(truth), FINE).labels.max() == 1
    empty = separate(method, maps_of(np.zeros((32, 32), np.int32)), COARSE)
    assert not empty.labels.any()
    assert empty.classes.tolist() == [0]


@pytest.mark.parametrize("method", SEPARATIONS)
def test_a_nucleus_that_fills_the_patch_is_one(method):
    found = separate(method, maps_of(np.ones((40, 40), np.int32)), COARSE)
    np.testing.assert_array_equal(found.labels, 1)


@pytest.mark.parametrize("method", SEPARATIONS)
def test_the_same_maps_give_the_same_instances(method):
    maps = maps_of(crowd(8))
    first, second = (separate(method, maps, FINE).labels for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_is_missing_or_wrong_is_said():
    maps = GeneratedMaps(semantic=np.zeros((8, 8), np.int32))
    with pytest.raises(ConfigError, match="one of components, distance, hv, points, peaks, got 'watershed'"):
        separate("watershed", maps, FINE)
    with pytest.raises(ConfigError, match="points needs the maps semantic and distance and points"):
        separate("points", maps, FINE)
    with pytest.raises(DataError, match=r"hv must be \(2, 8, 8\)"):
        replace(maps, hv=np.zeros((8, 8, 2)))
    with pytest.raises(DataError, match="points must be integers"):
        replace(maps, points=np.zeros((8, 8)))
    with pytest.raises(DataError, match="distance map holds values that are no numbers"):
        replace(maps, distance=np.full((8, 8), np.nan))
    with pytest.raises(DataError, match=r"a semantic map is \(h, w\)"):
        GeneratedMaps(semantic=np.zeros((3, 8, 8)))


def test_settling_leaves_background_and_fixed_pixels_alone():
    truth = crowd(2)
    maps = maps_of(truth)
    shifted = np.where(truth > 0, np.maximum(np.roll(truth, 1, axis=1), 1), 0).astype(np.int32)
    settled = settle_contacts(shifted, maps.distance, fixed=np.zeros(truth.shape, bool))
    np.testing.assert_array_equal(settled > 0, truth > 0)
    assert (settled == truth).mean() > (shifted == truth).mean()
    np.testing.assert_array_equal(settle_contacts(shifted, maps.distance, fixed=np.ones(truth.shape, bool)), shifted)
