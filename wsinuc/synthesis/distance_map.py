"""How far into its nucleus a pixel lies, seen from the nucleus' centroid: what tells touching nuclei apart in method C.

Min, Oh & Jeong (2024) describe a distance to the nearest centroid in [0, 1] and leave open which
end is the centroid, and what is normalised. Here each nucleus has its own cone: 1 at its centroid,
0 at its farthest pixel and outside. Cones of touching nuclei meet in a valley, so that a watershed
with the centroids as markers finds the border.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def centroid_distance(labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """``1 - r / r_max`` of each nucleus' pixels, ``(h, w)``; 0 in the background.

    r is the distance to the centroid and r_max the largest in the nucleus; a nucleus of one pixel is 1.

    Parameters
    ----------
    labels
        (h, w), 0 is background, one number per nucleus. Flips and right-angle turns of the labels turn the map along.

    Examples
    --------
    >>> centroid_distance(np.array([[0, 1, 1, 1]]))
    array([[0., 0., 1., 0.]], dtype=float32)
    """
    y, x = np.nonzero(labels)
    _, nucleus = np.unique(labels[y, x], return_inverse=True)
    count = np.bincount(nucleus)
    offset_y = y - (np.bincount(nucleus, y) / count)[nucleus]
    offset_x = x - (np.bincount(nucleus, x) / count)[nucleus]
    radius = np.hypot(offset_y, offset_x)
    largest = np.zeros(len(count))
    np.maximum.at(largest, nucleus, radius)
    cones = np.zeros(labels.shape, np.float32)
    cones[y, x] = 1 - radius / np.where(largest > 0, largest, 1)[nucleus]
    return cones
