"""Distances between distributions: closed forms, what must not matter, and torchmetrics where it computes the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from wsinuc.errors import ConfigError, DataError
from wsinuc.metrics.distributions import (
    class_proportions,
    frechet_distance,
    inception_score,
    kernel_distance,
    relative_difference,
)

DISTANCES = (frechet_distance, kernel_distance)


def features(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)


def by_definition(a: np.ndarray, b: np.ndarray) -> float:
    """The formula as published, with a root of a matrix: fine where covariances are regular."""
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real))


@pytest.mark.parametrize(("n", "d"), [(200, 5), (60, 20), (31, 3)])
def test_frechet_is_the_published_formula(n, d):
    a, b = features(n, d), features(n + 7, d, seed=1)
    assert frechet_distance(a, b) == pytest.approx(by_definition(a, b), rel=1e-6)


def test_frechet_of_known_gaussians():
    """Independent axes: the sum of squared differences of means and of standard deviations."""
    rng = np.random.default_rng(0)
    a = rng.normal([0, 1], [1, 2], (200_000, 2))
    b = rng.normal([3, 1], [2, 5], (200_000, 2))
    assert frechet_distance(a, b) == pytest.approx(9 + 1 + 9, rel=0.01)


@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 40), st.integers(0, 99))
def test_frechet_needs_no_regular_covariance(n, m, d, seed):
    """Fewer images than features, where the root of a matrix goes wrong; turning features changes nothing."""
    a, b = features(n, d, seed), features(m, d, seed + 1)
    distance = frechet_distance(a, b)
    turn = np.linalg.qr(features(d, d, seed + 2))[0]
    assert np.isfinite(distance)
    assert distance >= 0
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-6, abs=1e-8)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(distance, rel=1e-6, abs=1e-6)
    assert frechet_distance(np.pad(a, ((0, 0), (0, 3))), np.pad(b, ((0, 0), (0, 3)))) == pytest.approx(
        distance, rel=1e-6
    )
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * distance, rel=1e-6, abs=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8 * (a**2).sum())
    assert frechet_distance(a, a + 2) == pytest.approx(4 * d, rel=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_order_of_images_does_not_matter(distance):
    a, b = features(40, 6), features(30, 6, seed=1)
    order = np.random.default_rng(2).permutation(40)
    assert distance(a[order], b) == pytest.approx(distance(a, b))


def test_the_kernel_distance_is_unbiased_and_the_frechet_distance_is_not():
    rng = np.random.default_rng(0)
    drawn = [(rng.standard_normal((20, 30)), rng.standard_normal((20, 30))) for _ in range(200)]
    kernel = np.array([kernel_distance(a, b) for a, b in drawn])
    assert abs(kernel.mean()) < 3 * kernel.std() / np.sqrt(len(kernel))
    assert kernel.min() < 0
    assert np.mean([frechet_distance(a, b) for a, b in drawn]) > 10


def test_distances_grow_with_the_shift():
    a, b = features(100, 8), features(100, 8)
    for distance in DISTANCES:
        values = [distance(a, b + shift) for shift in (0.5, 1, 2, 4)]
        assert values == sorted(values)


def test_torchmetrics_agrees():
    torch = pytest.importorskip("torch")
    fid = pytest.importorskip("torchmetrics.image.fid")
    kid = pytest.importorskip("torchmetrics.image.kid")
    a, b = features(50, 6), features(40, 6, seed=1)
    shaped = [torch.from_numpy(x) for x in (a, b)]
    (mean_a, cov_a), (mean_b, cov_b) = ((x.mean(0), torch.cov(x.T)) for x in shaped)
    assert frechet_distance(a, b) == pytest.approx(float(fid._compute_fid(mean_a, cov_a, mean_b, cov_b)), rel=1e-6)
    c = features(50, 6, seed=2)  # its kernel distance takes sets of one size
    assert kernel_distance(a, c) == pytest.approx(float(kid.poly_mmd(shaped[0], torch.from_numpy(c))), rel=1e-9)


def test_inception_score_of_known_probabilities():
    same = np.full((12, 4), 0.25)
    assert inception_score(same, 1) == pytest.approx((1, 0))
    assert inception_score(np.eye(5)[np.arange(50) % 5], 2) == pytest.approx((5, 0))
    mixed = np.array([[0.5, 0.5], [1.0, 0.0]])
    divergences = [0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25), np.log(1 / 0.75)]
    assert inception_score(mixed, 1)[0] == pytest.approx(np.exp(np.mean(divergences)))


@pytest.mark.parametrize(
    ("probabilities", "splits", "error"),
    [
        (np.ones((3, 2)), 1, DataError),
        (np.eye(3), 4, ConfigError),
        (np.eye(3), 0, ConfigError),
        (np.ones(3), 1, DataError),
    ],
)
def test_inception_score_refuses(probabilities, splits, error):
    with pytest.raises(error):
        inception_score(probabilities, splits)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (np.zeros((1, 2)), np.zeros((5, 2)), "at least two images"),
        (np.zeros((5, 2)), np.zeros((5, 3)), "of one width"),
        (np.zeros((5, 2)), np.full((5, 2), np.nan), "no numbers"),
    ],
)
def test_distances_refuse(distance, a, b, reason):
    with pytest.raises(DataError, match=reason):
        distance(a, b)


def test_proportions():
    labels = np.array([[0, 1, 1], [2, -1, 0]])
    np.testing.assert_allclose(class_proportions(labels, 3), np.array([2, 2, 1, 0]) / 6)
    with pytest.raises(DataError, match="up to 1, got 2"):
        class_proportions(labels, 1)


def test_relative_difference():
    assert relative_difference(50, 40) == pytest.approx(-0.2)
    assert np.isnan(relative_difference(0, 4))
    assert np.isnan(relative_difference(float("nan"), 4))
