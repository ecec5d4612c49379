"""What the watershed's maps should be for known instances: the targets that networks are trained on.

Targets are computed from labels *after* augmentation, never flipped or rotated themselves: H changes its sign under a
flip, and copying its pixels would not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.synthesis.structures import hv_maps

__all__ = ["centre_distance", "hv_maps"]


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
