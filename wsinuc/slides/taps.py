"""Which source pixels a resampled pixel is made of, and with what weights: integers that follow from its place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WEIGHT_BITS = 14
"""The sum of one pixel's weights is 2**14 exactly, so that white stays white."""
KEPT_BITS = 8
"""Fraction bits kept between the two passes: 8 + 8 + 14 bits fit an int32."""


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
    edges = np.rint(share * (1 << WEIGHT_BITS)).astype(np.int32)
    weights = np.diff(edges, axis=1, prepend=np.int32(0))
    # Far ends of all rows may round to nothing; every tap costs a pass over the source.
    used = int(np.flatnonzero(weights.any(axis=0))[-1]) + 1
    return Taps(first=first, weights=np.ascontiguousarray(weights[:, :used]))
