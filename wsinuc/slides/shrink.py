"""The weighted sums of `resample` as loops that numba compiles; a module of its own, for it takes long to load."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel
from wsinuc.slides.taps import KEPT_BITS, WEIGHT_BITS


@kernel
def shrink_rows(source: NDArray[np.uint8], first: NDArray[np.int64], weights: NDArray[np.int32]) -> NDArray[np.uint16]:
    """uint8 (h, k) to uint16 (n, k) with 8 fraction bits."""
    count = len(first)
    width = source.shape[1]
    out = np.empty((count, width), np.uint16)
    total = np.empty(width, np.int32)
    drop = WEIGHT_BITS - KEPT_BITS
    for j in range(count):
        total[:] = 1 << (drop - 1)  # a half, so that cutting off the lowest bits rounds
        for t in range(weights.shape[1]):
            weight = weights[j, t]
            if weight != 0:
                row = source[first[j] + t]
                for k in range(width):
                    total[k] += weight * np.int32(row[k])
        # Weights are never negative and sum to 2**14, so no sum leaves the 16 bits.
        for k in range(width):
            out[j, k] = total[k] >> drop
    return out


@kernel
def shrink_columns(
    source: NDArray[np.uint16], first: NDArray[np.int64], weights: NDArray[np.int32]
) -> NDArray[np.uint8]:
    """uint16 (n, w, 3) with 8 fraction bits to uint8 (n, m, 3)."""
    height = source.shape[0]
    count = len(first)
    taps = weights.shape[1]
    out = np.empty((height, count, 3), np.uint8)
    drop = WEIGHT_BITS + KEPT_BITS
    half = np.int32(1 << (drop - 1))
    for j in range(height):
        row = source[j]
        for i in range(count):
            red = green = blue = half
            start = first[i]
            for t in range(taps):
                weight = weights[i, t]
                red += weight * np.int32(row[start + t, 0])
                green += weight * np.int32(row[start + t, 1])
                blue += weight * np.int32(row[start + t, 2])
            out[j, i, 0] = red >> drop
            out[j, i, 1] = green >> drop
            out[j, i, 2] = blue >> drop
    return out
