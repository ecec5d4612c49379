"""Pixels of one resolution to pixels of another, the same bits whatever box they are asked for in.

Output pixel ``i`` (counted from the view's origin) has its centre at ``(i + 0.5) * scale`` source pixels. Its weights
are a triangle as wide as the larger of the two pixel sizes, which is what Pillow and most microscopy tools call
anti-aliased bilinear. They follow from ``i`` alone and all sums are integer sums, so neither the box nor the
processor's vector width can change a bit: a pixel in two blocks' halos is the same pixel. Beyond the source's edge the
weights are renormalised over what exists.

The sums are formed by loops that numba compiles (``shrink``), or by NumPy. Both give the same bits: NumPy is several
times slower, but loading numba and the compiled loops takes 0.35 s of CPU, more than a small picture is worth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.slides.taps import KEPT_BITS, WEIGHT_BITS, Taps


def resample(source: NDArray[np.uint8], rows: Taps, columns: Taps, *, compiled: bool = True) -> NDArray[np.uint8]:
    """RGB ``(h, w, 3)`` at the taps' positions.

    Parameters
    ----------
    source
        RGB ``(h, w, 3)`` whose pixel (0, 0) is the source's pixel (rows.start, columns.start).
    rows, columns
        Weights of the output's rows and columns; see `wsinuc.slides.taps.taps_for`.
    compiled
        Whether numba's loops or NumPy form the sums; the result is the same.
    """
    height, width = source.shape[:2]
    flat = np.ascontiguousarray(source).reshape(height, width * 3)
    first_rows = rows.first - rows.start
    first_columns = columns.first - columns.start
    if compiled:
        from wsinuc.slides.shrink import shrink_columns, shrink_rows

        narrow = shrink_rows(flat, first_rows, rows.weights)
        return shrink_columns(narrow.reshape(len(rows.first), width, 3), first_columns, columns.weights)
    narrow = _sum_rows(flat, first_rows, rows.weights)
    return _sum_columns(narrow.reshape(len(rows.first), width, 3), first_columns, columns.weights)


def _sum_rows(source: NDArray[np.uint8], first: NDArray[np.int64], weights: NDArray[np.int32]) -> NDArray[np.uint16]:
    """uint8 (h, k) to uint16 (n, k) with 8 fraction bits."""
    taps = weights.shape[1]
    # Every sum is a whole number below 2**22, which float32 holds exactly; of floats BLAS makes the product.
    exact = weights.astype(np.float32)
    out = np.empty((len(first), source.shape[1]), np.uint16)
    for j, start in enumerate(first.tolist()):
        total = exact[j] @ source[start : start + taps].astype(np.float32)
        out[j] = _without_bits(total, WEIGHT_BITS - KEPT_BITS)
    return out


def _sum_columns(source: NDArray[np.uint16], first: NDArray[np.int64], weights: NDArray[np.int32]) -> NDArray[np.uint8]:
    """uint16 (n, w, 3) with 8 fraction bits to uint8 (n, m, 3)."""
    taps = weights.shape[1]
    exact = weights.astype(np.float64)  # sums reach 2**30 here, too much for float32
    values = source.astype(np.float64)
    out = np.empty((len(source), len(first), 3), np.uint8)
    for i, start in enumerate(first.tolist()):
        total = np.einsum("htc,t->hc", values[:, start : start + taps], exact[i])
        out[:, i] = _without_bits(total, WEIGHT_BITS + KEPT_BITS)
    return out


def _without_bits(total: NDArray[np.floating], count: int) -> NDArray[np.int32]:
    """Sums of integers, rounded to where the lowest ``count`` bits are cut off."""
    return (total.astype(np.int32) + (1 << (count - 1))) >> count
