"""Pixels of one resolution to pixels of another, the same bits whatever box they are asked for in.

Output pixel ``i`` (counted from the view's origin) has its centre at ``(i + 0.5) * scale`` source pixels. Its weights
are a triangle as wide as the larger of the two pixel sizes, which is what Pillow and most microscopy tools call
anti-aliased bilinear. They follow from ``i`` alone and all sums are integer sums, so neither the box nor the
processor's vector width can change a bit: a pixel in two blocks' halos is the same pixel. Beyond the source's edge the
weights are renormalised over what exists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel

_WEIGHT_BITS = 14  # the sum of one pixel's weights is 2**14 exactly, so that white stays white
_KEPT_BITS = 8  # fraction bits kept between the two passes: 8 + 8 + 14 bits fit an int32


@dataclass(frozen=True, slots=True)
class Taps:
    """For every output pixel of one axis: the first source pixel, and integer weights from there on."""

    first: NDArray[np.int64]
    """(n,) index of the first source pixel."""
    weights: NDArray[np.int32]
    """(n, taps) summing to 2**14 in every row."""

    @property
    def start(self) -> int:
        """First source pixel that any output pixel needs."""
        return int(self.first[0])

    @property
    def stop(self) -> int:
        """One past the last source pixel that any output pixel needs."""
        return int(self.first[-1]) + int(self.weights.shape[1])


def taps_for(start: int, stop: int, scale: float, length: int) -> Taps:
    """Weights of output pixels ``start`` to ``stop`` along an axis of ``length`` source pixels.

    Parameters
    ----------
    scale
        Source pixels per output pixel; above 1 shrinks.
    """
    support = max(scale, 1.0)
    centre = (np.arange(start, stop, dtype=np.float64) + 0.5) * scale
    count = min(math.ceil(2 * support) + 1, length)
    first = np.floor(centre - support + 0.5).astype(np.int64).clip(0, length - count)
    position = first[:, None] + np.arange(count) + 0.5
    raw = np.maximum(0.0, 1.0 - np.abs(position - centre[:, None]) / support)
    share = np.cumsum(raw, axis=1) / raw.sum(axis=1, keepdims=True)
    # Rounding the running sum, not the weights, makes every row add up exactly.
    edges = np.rint(share * (1 << _WEIGHT_BITS)).astype(np.int32)
    weights = np.diff(edges, axis=1, prepend=np.int32(0))
    # Far ends of all rows may round to nothing; every tap costs a pass over the source.
    used = int(np.flatnonzero(weights.any(axis=0))[-1]) + 1
    return Taps(first=first, weights=np.ascontiguousarray(weights[:, :used]))


def resample(source: NDArray[np.uint8], rows: Taps, columns: Taps) -> NDArray[np.uint8]:
    """RGB ``(h, w, 3)`` at the taps' positions.

    Parameters
    ----------
    source
        RGB ``(h, w, 3)`` whose pixel (0, 0) is the source's pixel (rows.start, columns.start).
    rows, columns
        Weights of the output's rows and columns; see `taps_for`.
    """
    height, width = source.shape[:2]
    flat = np.ascontiguousarray(source).reshape(height, width * 3)
    narrow = _shrink_rows(flat, rows.first - rows.start, rows.weights)
    return _shrink_columns(narrow.reshape(len(rows.first), width, 3), columns.first - columns.start, columns.weights)


@kernel
def _shrink_rows(source: NDArray[np.uint8], first: NDArray[np.int64], weights: NDArray[np.int32]) -> NDArray[np.uint16]:
    """uint8 (h, k) to uint16 (n, k) with 8 fraction bits."""
    count = len(first)
    width = source.shape[1]
    out = np.empty((count, width), np.uint16)
    total = np.empty(width, np.int32)
    drop = _WEIGHT_BITS - _KEPT_BITS
    for j in range(count):
        # A half, so that cutting off the lowest bits rounds.
        total[:] = 1 << (drop - 1)
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
def _shrink_columns(
    source: NDArray[np.uint16], first: NDArray[np.int64], weights: NDArray[np.int32]
) -> NDArray[np.uint8]:
    """uint16 (n, w, 3) with 8 fraction bits to uint8 (n, m, 3)."""
    height = source.shape[0]
    count = len(first)
    taps = weights.shape[1]
    out = np.empty((height, count, 3), np.uint8)
    drop = _WEIGHT_BITS + _KEPT_BITS
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
