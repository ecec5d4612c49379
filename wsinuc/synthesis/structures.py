"""What nuclei look like without tissue: the structure maps that method B generates first and paints over second.

A structure (Yu et al. 2023, section 2.1) has three channels: nucleus or background, and HoVer-Net's
H and V, which say where a pixel lies between its nucleus' left and right, top and bottom sides.
Touching nuclei meet where these jump from +1 to -1, and that is how they are told apart again.

H and V are directions: a mirrored image does not just move them but changes their sign, and a turn
by 90 degrees swaps them. `turned` does so. The released code moves pixels only, and so learns
structures of eight inconsistent orientations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel
from wsinuc.labels import table_length

SMALLEST_PX = 30
"""Nuclei with fewer pixels in a patch of 0.25 um per pixel get no H and V, as published."""


def structure_map(labels: NDArray[np.int32], *, smallest_px: int = SMALLEST_PX) -> NDArray[np.float32]:
    """The structure of instance labels.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, one number per nucleus, 0 is background.
    smallest_px
        Nuclei with fewer pixels keep H = V = 0; they are usually slivers that the patch's border left.

    Returns
    -------
    float32 ``(3, h, w)``: 1 in nuclei and 0 elsewhere; H; V, both in [-1, 1] and 0 in the background.

    Examples
    --------
    >>> structure_map(np.array([[0, 3, 3, 3]], dtype=np.int32), smallest_px=1)[:, 0].tolist()
    [[0.0, 1.0, 1.0, 1.0], [0.0, -1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    labels = np.ascontiguousarray(labels, dtype=np.int32)
    large = np.bincount(labels.ravel()) >= smallest_px
    h, v = hv_maps(labels) * large[labels]
    return np.stack([(labels > 0).astype(np.float32), h, v])


def turned(structure: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """A structure ``(3, h, w)`` as that of the nuclei turned by the flip or right-angle rotation ``k``, 0 to 7.

    Turning labels and then taking their structure gives the same. ``k`` counts as in `wsinuc.orientation.dihedral`:
    ``k % 4`` quarter turns anticlockwise, then for ``k >= 4`` left and right change places.
    """
    semantic, h, v = np.rot90(structure, k % 4, axes=(1, 2))
    for _ in range(k % 4):
        # A quarter turn anticlockwise: what pointed down points right, what pointed right points up.
        h, v = v, -h
    result = np.stack([semantic, h, v])
    if k >= 4:
        result = result[:, :, ::-1].copy()
        result[1] *= -1
    return result


def to_diffusion(structure: NDArray[np.float32]) -> NDArray[np.float32]:
    """Structures ``(..., 3, h, w)`` with all channels in [-1, 1], as the diffusion of stage 1 has them.

    Examples
    --------
    >>> to_diffusion(np.array([[[0.0]], [[0.0]], [[0.5]]], np.float32)).ravel()
    array([-1. ,  0. ,  0.5], dtype=float32)
    """
    result = np.array(structure, np.float32)
    result[..., 0, :, :] = 2 * result[..., 0, :, :] - 1
    return result


def from_diffusion(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """What stage 1 generated, ``(..., 3, h, w)``, as structures, each channel cut to its range.

    The first channel is not thresholded: 0.5 is the border between nucleus and background.
    """
    result = np.clip(np.asarray(x, np.float32), -1, 1)
    result[..., 0, :, :] = (result[..., 0, :, :] + 1) / 2
    return result


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
    # One kernel for both: columns are the rows of the transposed labels.
    return np.stack([_signed_positions(labels.T).T, _signed_positions(labels)])


@kernel
def _signed_positions(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Row of each pixel relative to its label's centroid, each side scaled to 1."""
    count = table_length(labels)
    area = np.zeros(count, np.int64)
    total = np.zeros(count, np.int64)
    lowest = np.full(count, labels.shape[0], np.int64)
    highest = np.zeros(count, np.int64)
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
                if offset < 0:
                    end = lowest[label]
                else:
                    end = highest[label]
                maps[y, x] = offset / abs(end * area[label] - total[label])
    return maps
