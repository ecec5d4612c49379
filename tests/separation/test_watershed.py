import dataclasses
import functools

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from helpers.drawn import HALF, ellipses
from wsinuc.errors import ConfigError
from wsinuc.labels import fill_enclosed, relabel
from wsinuc.separation.targets import centre_distance, contact_weights, hv_maps
from wsinuc.separation.watershed import (
    WatershedSettings,
    _fill_gaps,
    instances_from_distance,
    instances_from_hv,
    level_watershed,
    split_peaks,
)


def matched(truth: np.ndarray, found: np.ndarray) -> float:
    """Share of true instances that some found one overlaps with IoU of at least 0.8."""
    joint = np.zeros((truth.max() + 1, found.max() + 1))
    np.add.at(joint, (truth.ravel(), found.ravel()), 1)
    union = joint.sum(1, keepdims=True) + joint.sum(0, keepdims=True) - joint
    return float((joint / union)[1:, 1:].max(axis=1).__ge__(0.8).mean())


@functools.cache
def noisy_maps(seed: int, size: int = 420) -> tuple[np.ndarray, np.ndarray]:
    """Foreground and distance of crowded nuclei as a mediocre network would see them."""
    rng = np.random.default_rng(seed)
    truth = ellipses((size, size), size * size // 300, seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(2, size, size)), (0, 1.5, 1.5))
    foreground = ndimage.gaussian_filter((truth > 0).astype(float), 1.0) + noise[0]
    distance = ndimage.gaussian_filter(centre_distance(truth), 1.0) + 0.7 * noise[1]
    return tuple((255 * np.clip(m, 0, 1)).round().astype(np.uint8) for m in (foreground, distance))


@functools.cache
def whole(seed: int) -> np.ndarray:
    return instances_from_distance(*noisy_maps(seed), HALF)


def outlines_in_core(labels: np.ndarray, corner: tuple[int, int], core: tuple[slice, slice]) -> set[bytes]:
    """Pixels of every instance whose centroid lies in the core, all in the whole image's coordinates."""
    owned = set()
    for label, place in enumerate(ndimage.find_objects(labels), start=1):
        pixels = np.argwhere(labels[place] == label) + [side.start for side in place] + corner
        y, x = pixels.sum(axis=0) // len(pixels)
        if core[0].start <= y < core[0].stop and core[1].start <= x < core[1].stop:
            owned.add(pixels.tobytes())
    return owned


def test_the_blobs_of_these_tests_are_crowded_and_are_found():
    foreground, _ = noisy_maps(1)
    count = whole(1).max()
    assert count > 250
    assert cc3d.connected_components(foreground >= 128, connectivity=4).max() < 0.7 * count
    assert matched(ellipses((420, 420), 588, 1), whole(1)) > 0.7


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2]), st.integers(0, 340), st.integers(0, 340), st.integers(20, 200), st.integers(48, 70))
def test_a_nucleus_is_the_same_in_every_crop(seed, y0, x0, side, halo):
    core = slice(y0, min(y0 + side, 420)), slice(x0, min(x0 + side, 420))
    read = tuple(slice(max(s.start - halo, 0), min(s.stop + halo, 420)) for s in core)
    cropped = instances_from_distance(*(m[read] for m in noisy_maps(seed)), HALF)
    corner = read[0].start, read[1].start
    assert outlines_in_core(cropped, corner, core) == outlines_in_core(whole(seed), (0, 0), core)


def test_instances_are_simple_and_numbered_in_raster_order():
    labels = whole(1)
    np.testing.assert_array_equal(fill_enclosed(labels), labels)
    np.testing.assert_array_equal(relabel(labels), labels)
    assert np.bincount(labels.ravel())[1:].min() >= 20  # 5 um2 at 0.5 um per px


def test_level_watershed_agrees_with_scikit_image():
    foreground, distance = noisy_maps(1)
    mask = foreground >= 128
    smooth = ndimage.uniform_filter(distance, 3)
    markers = relabel(split_peaks(smooth, mask, 76, 25), 4)
    reference = watershed(255 - smooth, markers, mask=mask, connectivity=1)
    ours = level_watershed(255 - smooth, markers, mask)
    np.testing.assert_array_equal(ours > 0, reference > 0)
    assert (ours == reference)[mask].mean() >= 0.999


def test_level_watershed_fills_only_what_a_marker_reaches():
    mask = np.array([[1, 1, 0, 1], [0, 0, 1, 1]], bool)
    markers = np.array([[3, 0, 9, 0], [0, 0, 0, 0]], np.int32)
    assert level_watershed(np.zeros((2, 4), np.uint8), markers, mask).tolist() == [[3, 3, 0, 0], [0, 0, 0, 0]]


def test_a_ridge_between_two_markers_is_where_they_meet():
    levels = np.array([[0, 5, 9, 1, 1, 0]], np.uint8)
    markers = np.array([[1, 0, 0, 0, 0, 2]], np.int32)
    labels = level_watershed(levels, markers, np.ones((1, 6), bool))
    assert labels.tolist() == [[1, 1, 2, 2, 2, 2]]


@pytest.mark.parametrize(("height", "parts"), [(10, [1, 1, 1, 0, 2, 2, 2]), (51, [1] * 7)])
def test_peaks_are_split_where_both_rise_enough(height, parts):
    levels = np.array([[150, 200, 150, 140, 150, 190, 150]], np.uint8)
    split = split_peaks(levels, np.ones_like(levels, bool), 100, height)
    assert relabel(split).tolist() == [parts]


def test_there_are_as_many_parts_as_h_maxima():
    smooth = np.maximum(ndimage.gaussian_filter(noisy_maps(1)[1], 1), 1)
    found = relabel(split_peaks(smooth, np.ones_like(smooth, bool), 1, 25)).max()
    maxima = cc3d.connected_components(
        h_maxima(smooth, 25, np.ones((3, 3)) * [[0, 1, 0], [1, 1, 1], [0, 1, 0]]), connectivity=4
    )
    assert abs(int(found) - int(maxima.max())) <= 0.02 * found


def test_perfect_distance_maps_give_the_instances_back():
    truth = ellipses((300, 300), 220, 5)
    distance = (255 * centre_distance(truth)).round().astype(np.uint8)
    found = instances_from_distance(np.where(truth > 0, 255, 0).astype(np.uint8), distance, HALF)
    assert matched(truth, found) > 0.97
    assert (found > 0).sum() > 0.99 * (truth > 0).sum()


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_perfect_hv_maps_give_the_instances_back(mpp):
    zoom = round(0.5 / mpp)
    truth = ellipses((300 * zoom, 300 * zoom), 200, 6, radius=(6 * zoom, 11 * zoom))
    h, v = (127.5 + 127.5 * hv_maps(truth)).round().astype(np.uint8)
    found = instances_from_hv(np.where(truth > 0, 255, 0).astype(np.uint8), h, v, WatershedSettings(mpp=mpp))
    assert matched(truth, found) > 0.97


def test_hv_instances_do_not_depend_on_far_pixels():
    truth = ellipses((200, 200), 90, 7)
    maps = [np.where(truth > 0, 255, 0), *(127.5 + 127.5 * hv_maps(truth))]
    maps = [m.round().astype(np.uint8) for m in maps]
    full, part = instances_from_hv(*maps, HALF), instances_from_hv(*(m[20:, 30:] for m in maps), HALF)
    core = slice(70, 200), slice(80, 200)
    assert outlines_in_core(part, (20, 30), core) == outlines_in_core(full, (0, 0), core)


def test_foreground_without_a_marker_is_one_nucleus():
    foreground = np.zeros((30, 30), np.uint8)
    foreground[5:15, 5:15] = 255
    foreground[20:23, 20:23] = 255
    found = instances_from_distance(foreground, np.zeros_like(foreground), HALF)
    assert np.bincount(found.ravel()).tolist() == [800, 100]


def test_small_gaps_are_filled_and_large_ones_stay():
    foreground = np.full((60, 60), 255, np.uint8)
    foreground[:5] = foreground[-5:] = foreground[:, :5] = foreground[:, -5:] = 0
    foreground[10:14, 10:14] = 0
    foreground[12:48, 20:24] = foreground[12:48, 36:40] = foreground[12:16, 20:40] = foreground[44:48, 20:40] = 0
    labels = relabel(_fill_gaps(foreground >= 128, 40).astype(np.int32))
    assert labels[12, 12] == 1
    assert labels[14, 30] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (64, 64)])
@pytest.mark.parametrize("value", [0, 255])
def test_flat_maps(shape, value):
    flat = np.full(shape, value, np.uint8)
    expected = value == 255 and flat.size >= 40
    assert instances_from_distance(flat, flat, HALF).max() == expected
    assert instances_from_hv(flat, flat, flat, HALF).max() == expected


def test_settings_turn_micrometres_into_pixels():
    assert HALF.min_halo == 100
    assert WatershedSettings(mpp=0.25).min_halo == 200
    assert HALF.area_px(10.0) == 40
    assert [HALF.taps(s) for s in (0.0, 0.5, 1.0)] == [1, 5, 17]


@pytest.mark.parametrize(
    "wrong",
    [{"mpp": 0.0}, {"foreground_threshold": 1.2}, {"marker_height": 0.0}, {"min_area_um2": -1.0}, {"sobel_um": 0.0}],
)
def test_absurd_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        dataclasses.replace(HALF, **wrong)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_targets_turn_with_their_labels(turns, flip):
    labels = ellipses((90, 120), 25, 3)
    h, v = hv_maps(labels)
    distance = centre_distance(labels)
    if flip:
        labels, distance, h, v = labels[:, ::-1], distance[:, ::-1], -h[:, ::-1], v[:, ::-1]
    for _ in range(turns):  # counterclockwise: what pointed right points up, what pointed down points right
        labels, distance, h, v = np.rot90(labels), np.rot90(distance), np.rot90(v), -np.rot90(h)
    np.testing.assert_array_equal(hv_maps(labels), [h, v])
    np.testing.assert_array_equal(centre_distance(labels), distance)


def test_hv_maps_cross_zero_at_the_centroid_and_reach_both_ends():
    labels = np.zeros((9, 12), np.int32)
    labels[2:7, 3] = labels[6, 3:11] = 4
    h, v = hv_maps(labels)
    for values, axis in ((h, 1), (v, 0)):
        inside = values[labels > 0]
        assert (inside.min(), inside.max()) == (-1, 1)
        position = np.argwhere(labels > 0)[:, axis]
        np.testing.assert_array_equal(np.sign(inside), np.sign(position - position.mean()))


def test_distance_is_one_inside_and_small_at_the_border():
    labels = np.zeros((40, 40), np.int32)
    labels[5:26, 5:26] = 1
    labels[5:26, 26:40] = 2  # touches the first and goes on beyond the edge
    distance = centre_distance(labels)
    assert distance[15, 15] == 1
    assert distance[15, 25] == pytest.approx(0.5 / 10.5)
    assert distance[15, 26] == pytest.approx(0.5 / 10.5, abs=0.01)
    assert distance[15, 39] == 1
    assert (distance[labels == 0] == 0).all()
    assert (centre_distance(np.ones((3, 3), np.int32)) == 1).all()


@given(seed=st.integers(0, 10_000), mpp=st.sampled_from([0.25, 0.4, 0.5]), strength=st.floats(0, 10))
@settings(max_examples=40, deadline=None)
def test_weights_of_contacts_are_those_of_the_published_equation(seed, mpp, strength):
    labels = ellipses((48, 60), 9, seed)
    found = contact_weights(labels, mpp, strength=strength, sigma_um=0.75)
    numbers = [i for i in np.unique(labels) if i]
    if len(numbers) < 2:
        assert (found == 1).all()
        return
    distances = np.sort([ndimage.distance_transform_edt(labels != i) * mpp for i in numbers], axis=0)
    wanted = 1 + strength * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * 0.75**2))
    np.testing.assert_allclose(found, wanted, atol=0.012 * strength + 1e-6)  # what lies beyond three sigma is left out


def test_only_what_lies_near_two_nuclei_weighs_more():
    labels = np.zeros((40, 80), np.int32)
    labels[10:30, 10:30], labels[10:30, 31:50], labels[10:30, 70:78] = 1, 2, 3
    weights = contact_weights(labels, 0.25, strength=4.0)
    assert weights[20, 30] > 4  # the gap
    assert weights[20, 29] > 4  # a border that faces the other
    assert weights[20, 20] == weights[20, 60] == pytest.approx(1, abs=0.02)
    assert weights[20, 10] == pytest.approx(1, abs=0.02)  # a border that faces none
