"""What the watershed's maps should be for known instances: the targets that networks are trained on.

Targets are computed from labels *after* augmentation, never flipped or rotated themselves: H changes its sign under a
flip, and copying its pixels would not.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage


def centre_distance(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Distance to the own border over its maximum in the nucleus: 1 at the innermost pixels, towards 0 at the border.

    Distances run from pixel centres to the crack between the nucleus and its surroundings, so a border pixel has 0.5
    px before it is divided. The array's edge is no border: a nucleus that it cuts goes on beyond.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, 0 is background.

    Returns
    -------
    float32 ``(h, w)`` in [0, 1], 0 in the background.

    Examples
    --------
    >>> centre_distance(np.array([[0, 1, 1, 1, 2]], dtype=np.int32)).round(2)
    array([[0.  , 0.33, 1.  , 0.33, 1.  ]], dtype=float32)
    """
    target = np.zeros(labels.shape, np.float32)
    for label, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in place)
        mask = labels[around] == label
        if mask.all():  # it fills the array: there is no border to measure from
            target[around] = 1.0
            continue
        distance = np.asarray(ndimage.distance_transform_edt(mask)) - 0.5
        target[around][mask] = distance[mask] / distance.max()
    return target


def hv_maps(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """HoVer-Net's maps: where each pixel lies between its nucleus' sides, -1 left to +1 right, -1 top to +1 bottom.

    Zero is the centroid, to a fraction of a pixel (the released code rounds it, and shifts it by one). The two sides
    are scaled apart, so both ends are reached exactly.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, 0 is background.

    Returns
    -------
    float32 ``(2, h, w)`` in [-1, 1]: H, then V; 0 in the background.

    Examples
    --------
    >>> hv_maps(np.array([[0, 3, 3, 3]], dtype=np.int32))[0].tolist()
    [[0.0, -1.0, 0.0, 1.0]]
    """
    labels = np.ascontiguousarray(labels, dtype=np.int32)
    return np.stack([_signed_positions(labels.T).T, _signed_positions(labels)])


@njit(nogil=True, cache=True)
def _signed_positions(labels):
    """Row of each pixel relative to its label's centroid, each side scaled to 1."""
    count = labels.max() + 1 if labels.size else 1
    area, total = np.zeros(count, np.int64), np.zeros(count, np.int64)
    lowest, highest = np.full(count, labels.shape[0], np.int64), np.zeros(count, np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            area[label] += 1
            total[label] += y
            lowest[label] = min(lowest[label], y)
            highest[label] = max(highest[label], y)
    maps = np.zeros(labels.shape, np.float32)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            # Times the area, so that positions are integers and mirrored labels give mirrored maps exactly.
            offset = y * area[label] - total[label]
            if label > 0 and offset != 0:
                end = lowest[label] if offset < 0 else highest[label]
                maps[y, x] = offset / abs(end * area[label] - total[label])
    return maps
