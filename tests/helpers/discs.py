"""Squares of tissue that any method should learn: dark discs on light ground."""

from __future__ import annotations

import numpy as np

from wsinuc.datasets.base import LabelledImage

SIDE = 64


def square(number: int, image: str) -> LabelledImage:
    """Four discs of 12 px, one number each, at 0.25 um per px."""
    rng = np.random.default_rng(number)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), np.int32)
    for nucleus, (y, x) in enumerate(rng.integers(8, SIDE - 8, (4, 2)), start=1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 36] = nucleus
    pixels = np.where(labels[..., None] > 0, 60, 220) + rng.integers(-10, 10, (SIDE, SIDE, 3))
    return LabelledImage(
        name=f"{image}_{number}", image=pixels.astype(np.uint8), labels=labels, attributes={"image": image}, mpp=0.25
    )
