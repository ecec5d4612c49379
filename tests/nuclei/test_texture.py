"""Texture of haematoxylin: as scikit-image and mahotas have it, and by Haralick's definitions."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.feature import graycomatrix, graycoprops

from wsinuc.nuclei.measured_names import TEXTURE
from wsinuc.nuclei.stains import PER_OD, RUIFROK, density_level, density_tables
from wsinuc.nuclei.texture import DARKEST_OD, LEVELS, textures

MPP = 0.25
NAMES = [each.name for each in TEXTURE]


def field() -> tuple[np.ndarray, np.ndarray]:
    """Labels of three nuclei of odd forms, and pixels with a smooth and a rough texture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :120]
    labels = np.zeros((60, 120), np.int32)
    labels[np.hypot(y - 28, (x - 25) / 1.4) < 14] = 1
    labels[np.hypot((y - 30) / 1.6, x - 70) < 12] = 2
    labels[40:55, 90:112] = 3
    labels[48:55, 96:104] = 0
    shade = 90 + 50 * np.sin(x / 5)[..., None] + np.where(x > 60, 40, 8)[..., None] * rng.normal(size=(60, 120, 1))
    return labels, np.clip(shade + np.array([40, 0, 60]), 0, 255).astype(np.uint8)


def measured(labels: np.ndarray, pixels: np.ndarray) -> dict[str, np.ndarray]:
    ids = np.unique(labels[labels > 0]).astype(np.int64)
    places = [np.argwhere(labels == label) for label in ids]
    boxes = np.array([[*place.min(axis=0), *(place.max(axis=0) + 1)] for place in places])
    values = textures(labels, ids, boxes, pixels, density_tables(RUIFROK), MPP)
    return dict(zip(NAMES, values.T, strict=True))


def densities(pixels: np.ndarray) -> np.ndarray:
    table = density_tables(RUIFROK)[0]
    flat = [density_level(table, *map(int, pixel)) for pixel in pixels.reshape(-1, 3)]
    return np.array(flat).reshape(pixels.shape[:2]) / PER_OD


def quantised(labels: np.ndarray, pixels: np.ndarray, label: int) -> np.ndarray:
    """1 to LEVELS inside of the nucleus, 0 outside."""
    steps = np.clip(np.floor(np.round(densities(pixels) / (DARKEST_OD / LEVELS), 9)), 0, LEVELS - 1).astype(np.uint8)
    return np.where(labels == label, steps + 1, 0).astype(np.uint8)


def matrices(image: np.ndarray) -> np.ndarray:
    """Normalised, of pairs inside alone, (LEVELS, LEVELS, 1, 4)."""
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    counts = graycomatrix(image, [1], angles, levels=LEVELS + 1, symmetric=True)[1:, 1:].astype(float)
    return counts / counts.sum(axis=(0, 1), keepdims=True)


def test_features_are_those_of_scikit_image() -> None:
    labels, pixels = field()
    ours = measured(labels, pixels)
    names = {
        "haralick_asm": "ASM",
        "haralick_contrast": "contrast",
        "haralick_correlation": "correlation",
        "haralick_sum_of_squares": "variance",
        "haralick_inverse_difference_moment": "homogeneity",
    }
    for i, label in enumerate((1, 2, 3)):
        glcm = matrices(quantised(labels, pixels, label))
        for name, theirs in names.items():
            assert ours[name][i] == pytest.approx(graycoprops(glcm, theirs).mean(), rel=1e-9), name


def entropy(p: np.ndarray) -> float:
    return float(-(p[p > 0] * np.log2(p[p > 0])).sum())


def by_definition(p: np.ndarray) -> dict[str, float]:
    """Haralick's f6 to f13 from one matrix, written out; sums and differences of levels from 0."""
    i, j = np.mgrid[:LEVELS, :LEVELS]
    sums = np.bincount((i + j).ravel(), p.ravel())
    differences = np.bincount(abs(i - j).ravel(), p.ravel())
    k = np.arange(len(sums))
    d = np.arange(len(differences))
    px, py = p.sum(axis=1), p.sum(axis=0)
    product = np.outer(px, py)
    hxy1 = -(p[product > 0] * np.log2(product[product > 0])).sum()
    return {
        "haralick_sum_average": (k * sums).sum(),
        "haralick_sum_variance": ((k - (k * sums).sum()) ** 2 * sums).sum(),
        "haralick_sum_entropy_bits": entropy(sums),
        "haralick_entropy_bits": entropy(p),
        "haralick_difference_variance": ((d - (d * differences).sum()) ** 2 * differences).sum(),
        "haralick_difference_entropy_bits": entropy(differences),
        "haralick_imc1": (entropy(p) - hxy1) / max(entropy(px), entropy(py)),
        "haralick_imc2": np.sqrt(max(0.0, 1 - np.exp(-2 * (entropy(product) - entropy(p))))),
    }


def test_features_are_those_of_their_definitions() -> None:
    labels, pixels = field()
    ours = measured(labels, pixels)
    for i, label in enumerate((1, 2, 3)):
        glcm = matrices(quantised(labels, pixels, label))
        each = [by_definition(glcm[:, :, 0, k]) for k in range(4)]
        for name in each[0]:
            assert ours[name][i] == pytest.approx(np.mean([one[name] for one in each]), rel=1e-9), name


def test_features_are_those_of_mahotas() -> None:
    texture = pytest.importorskip("mahotas.features.texture")
    labels, pixels = field()
    ours = measured(labels, pixels)
    for i, label in enumerate((1, 2, 3)):
        image = quantised(labels, pixels, label)
        theirs = texture.haralick(image, ignore_zeros=True, return_mean=True, use_x_minus_y_variance=True)
        # Its levels begin at 1, so sums of two are 2 more.
        theirs[5] -= 2
        np.testing.assert_allclose([ours[name][i] for name in NAMES[:13]], theirs, rtol=1e-9)


def test_the_gradient_is_that_of_numpy() -> None:
    labels, pixels = field()
    ours = measured(labels, pixels)
    y, x = np.gradient(densities(pixels))
    steepness = np.hypot(y, x) / MPP
    for i, label in enumerate((1, 2, 3)):
        assert ours["gradient_mean_od_per_um"][i] == pytest.approx(steepness[labels == label].mean(), rel=1e-9)
        assert ours["gradient_std_od_per_um"][i] == pytest.approx(steepness[labels == label].std(), rel=1e-9)


def test_one_colour_has_no_texture() -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[2:7, 2:7] = 1
    ours = measured(labels, np.full((9, 9, 3), 120, np.uint8))
    assert ours["haralick_asm"] == [1.0]
    assert ours["haralick_correlation"] == [1.0]
    assert ours["haralick_entropy_bits"] == ours["haralick_contrast"] == ours["gradient_mean_od_per_um"] == [0.0]


def test_a_single_pixel_has_no_pairs() -> None:
    labels = np.zeros((5, 5), np.int32)
    labels[2, 2] = 1
    ours = measured(labels, np.full((5, 5, 3), 120, np.uint8))
    assert np.isnan(ours["haralick_contrast"]).all()
    assert ours["gradient_mean_od_per_um"] == [0.0]
