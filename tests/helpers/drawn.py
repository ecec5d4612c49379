"""Drawn nuclei: crowded ellipses, and discs apart from each other on noise."""

from __future__ import annotations

import math

import cc3d
import numpy as np
from scipy import ndimage

from wsinuc.labels import fill_enclosed, relabel
from wsinuc.separation.watershed import (
    WatershedSettings,
)

HALF = WatershedSettings(mpp=0.5)


def ellipses(shape: tuple[int, int], count: int, seed: int, radius: tuple[float, float] = (6, 11)) -> np.ndarray:
    """Labels of crowded, touching ellipses; each pixel goes to the one whose middle is nearest in its own metric."""
    rng = np.random.default_rng(seed)
    best, labels = np.ones(shape), np.zeros(shape, np.int32)
    yy, xx = np.mgrid[: shape[0], : shape[1]] + 0.5
    placed: list[tuple[float, float]] = []
    for _ in range(20 * count):
        y, x = rng.uniform(0, shape)
        if any(math.hypot(y - a, x - b) < 1.5 * radius[0] for a, b in placed) or len(placed) == count:
            continue
        placed.append((y, x))
        angle, (a, b) = rng.uniform(0, np.pi), rng.uniform(*radius, 2)
        u = (xx - x) * np.cos(angle) + (yy - y) * np.sin(angle)
        v = (yy - y) * np.cos(angle) - (xx - x) * np.sin(angle)
        far = (u / a) ** 2 + (v / b) ** 2
        labels[far < best] = len(placed)
        best = np.minimum(best, far)
    return relabel(fill_enclosed(labels), 40)


SIDE = 96


def field(seed: int, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Discs of their own colour, apart from each other, on a noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    image = rng.integers(180, 240, (SIDE, SIDE, 3)).astype(np.uint8)
    labels = np.zeros((SIDE, SIDE), np.int32)
    for label in range(1, count + 1):
        disc = np.hypot(y - rng.integers(SIDE), x - rng.integers(SIDE)) < rng.integers(4, 9)
        if not labels[ndimage.binary_dilation(disc, iterations=2)].any():
            labels[disc] = label
            image[disc] = rng.integers(20, 120, 3)
    return image, labels


def pieces(labels: np.ndarray) -> int:
    return int(cc3d.connected_components(labels, connectivity=8).max())
