"""Labels without their spurs: what is narrower than a disc goes, the rest of each nucleus keeps its outline.

A network that hesitates beside a nucleus leaves thin tongues on it, and a flood that begins in one
nucleus may follow a rim into the next. No nucleus is that thin. So each label is opened by itself
(Serra 1982): it keeps the pixels that a disc covers which fits into it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel
from wsinuc.labels import table_length

Labels = NDArray[np.int32]


def open_labels(labels: Labels, radius: float) -> Labels:
    """Each label opened by a disc; one into which no disc fits stays as it is.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, 0 is background.
    radius
        Of the disc, in pixels; below 1 nothing changes.

    Returns
    -------
    int32 ``(h, w)`` with the same ids. A label may be in pieces where a neck was cut. Beyond the
    array's edge a label is taken to go on.

    Examples
    --------
    >>> spur = np.array([[0, 3, 3, 3, 0, 0], [0, 3, 3, 3, 3, 3], [0, 3, 3, 3, 0, 0]], np.int32)
    >>> open_labels(np.pad(spur, 1), 1.0)[1:-1, 1:-1].tolist()
    [[0, 0, 3, 3, 0, 0], [0, 3, 3, 3, 3, 0], [0, 0, 3, 3, 0, 0]]
    """
    if radius < 1:
        return labels
    opened: Labels = _opened(np.ascontiguousarray(labels, np.int32), disc(radius))
    return opened


def disc(radius: float) -> NDArray[np.int64]:
    """Offsets ``(k, 2)`` (y, x) of the pixels whose centres lie within ``radius`` of the middle one's."""
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    within = np.hypot(y, x) <= radius
    return np.stack([y[within], x[within]], axis=1).astype(np.int64)


@kernel
def _opened(labels: Labels, offsets: NDArray[np.int64]) -> Labels:
    height, width = labels.shape
    middles = np.zeros(labels.shape, np.bool_)
    fits = np.zeros(table_length(labels), np.bool_)
    for y in range(height):
        for x in range(width):
            own = labels[y, x]
            if own != 0 and _fits(labels, offsets, y, x):
                middles[y, x] = True
                fits[own] = True
    out = np.zeros_like(labels)
    for y in range(height):
        for x in range(width):
            own = labels[y, x]
            # Most pixels of a nucleus are the middle of a disc themselves.
            if own != 0 and (middles[y, x] or not fits[own] or _covered(labels, middles, offsets, y, x)):
                out[y, x] = own
    return out


@kernel
def _fits(labels: Labels, offsets: NDArray[np.int64], y: int, x: int) -> bool:
    """Whether the disc around a pixel lies in its label."""
    height, width = labels.shape
    for k in range(len(offsets)):
        row = y + offsets[k, 0]
        column = x + offsets[k, 1]
        if 0 <= row < height and 0 <= column < width and labels[row, column] != labels[y, x]:
            return False
    return True


@kernel
def _covered(labels: Labels, middles: NDArray[np.bool_], offsets: NDArray[np.int64], y: int, x: int) -> bool:
    """Whether a disc of the pixel's label covers it; a disc is its own mirror image."""
    height, width = labels.shape
    for k in range(len(offsets)):
        row = y + offsets[k, 0]
        column = x + offsets[k, 1]
        if 0 <= row < height and 0 <= column < width and middles[row, column] and labels[row, column] == labels[y, x]:
            return True
    return False
