"""Scores as targets: what they say, and that they turn with the image as if it had been scored after turning."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.orientation import dihedral
from wsinuc.separation.soft_targets import soft_target
from wsinuc.separation.targets import centre_distance, hv_maps


def picture(seed: int) -> NDArray[np.float64]:
    """Blobs in [0, 1]."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(48, 48)), 3)
    return np.interp(noise, (noise.min(), noise.max()), (0, 1))


def scored(image: NDArray[np.float64], separation: str) -> NDArray[np.uint8]:
    """Scores of a segmenter that sees every orientation alike: two classes that share the nucleus 3 to 1."""
    labels = cc3d.connected_components(image > 0.6, connectivity=4).astype(np.int32)
    maps = hv_maps(labels) / 2 + 0.5 if separation == "hv" else centre_distance(labels)[None]
    stack = np.stack([image, 0 * image, image * 0.75, image * 0.25, *maps])
    return (stack * 255).round().astype(np.uint8)


@pytest.mark.parametrize("separation", ["distance", "hv"])
@pytest.mark.parametrize("k", range(8))
def test_turning_scores_is_scoring_the_turned_image(k: int, separation: str) -> None:
    image = picture(k)
    turned = soft_target(scored(image, separation), 2, separation).turned(k)
    expected = soft_target(scored(np.ascontiguousarray(dihedral(image, k)), separation), 2, separation)
    np.testing.assert_allclose(turned.probabilities, expected.probabilities, atol=1e-6)
    inside = turned.probabilities[0] < 0.4  # H and V mean nothing outside
    step = 2 / 255 + 1e-6
    np.testing.assert_allclose(turned.maps[:, inside], expected.maps[:, inside], atol=step)


@pytest.mark.parametrize("separation", ["distance", "hv"])
def test_probabilities_sum_to_one_and_follow_the_foreground(separation: str) -> None:
    scores = scored(picture(0), separation)
    target = soft_target(scores, 2, separation)
    np.testing.assert_allclose(target.probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(1 - target.probabilities[0], scores[0] / 255, atol=1e-6)
    strong = scores[0] > 128
    ratio = target.probabilities[1][strong] / target.probabilities[2][strong]
    assert np.abs(ratio - 3).max() < 0.1
    low = -1 if separation == "hv" else 0
    assert target.maps.min() >= low
    assert target.maps.max() <= 1
    assert len(target.maps) == (2 if separation == "hv" else 1)


def test_classes_that_say_nothing_share_evenly() -> None:
    scores = np.zeros((5, 2, 2), np.uint8)
    scores[0] = 200
    target = soft_target(scores, 2, "distance")
    np.testing.assert_allclose(target.probabilities[1], target.probabilities[2])
    np.testing.assert_allclose(target.probabilities.sum(0), 1, atol=1e-6)
