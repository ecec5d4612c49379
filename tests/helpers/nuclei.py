"""Nuclei that have the measurements which a test says, and nuclei by where they lie."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsinuc.nuclei import Frame, Nuclei, empty

RED, BLUE = (255, 0, 0), (0, 0, 255)


def with_areas(areas: np.ndarray, classes: np.ndarray) -> Nuclei:
    """Nuclei ``(n,)`` of the classes a and b, all of whose measurements are their areas."""
    count = len(areas)
    nothing = empty(Frame(mpp=0.5, downsample=(1.0, 1.0)), ("a", "b"), (RED, BLUE))
    return dataclasses.replace(
        nothing,
        ids=np.arange(count),
        centroids=np.zeros((count, 2)),
        areas_px=np.ones(count, np.int32),
        outlines=np.zeros((4 * count, 2), np.int32),
        offsets=np.arange(0, 4 * count + 1, 4),
        classes=classes.astype(np.uint8),
        class_probabilities=np.ones((count, 2), np.float32),
        probabilities=np.linspace(0, 1, count, dtype=np.float32),
        disagreements=np.zeros(count, np.float32),
        measurements={name: areas.astype(np.float32) for name in nothing.measurements},
    )


def by_centroid(nuclei: Nuclei) -> dict[tuple[float, ...], bytes]:
    """Centroid of each nucleus -> all its measurements, to the bit."""
    rows = np.stack(list(nuclei.measurements.values()), axis=1)
    return {tuple(place): row.tobytes() for place, row in zip(nuclei.centroids.tolist(), rows, strict=True)}
