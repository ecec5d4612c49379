"""Which pixels lie within a distance of others: masks grown by a disc, for other kernels.

Distances are between centres of pixels. ``scipy.ndimage.binary_dilation`` with a disc gives the same; a nucleus is too
small for its start-up cost, and a row of pixels is grown at once here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel


def half_widths(radius: float) -> NDArray[np.int64]:
    """How far a disc reaches to both sides in each of its rows, int64 ``(2 * floor(radius) + 1,)``, in pixels.

    Examples
    --------
    >>> half_widths(2.0).tolist()
    [0, 1, 2, 1, 0]
    """
    reach = math.floor(radius)
    return np.array([math.floor(math.sqrt(radius**2 - row**2)) for row in range(-reach, reach + 1)], np.int64)


@kernel
def grown(mask: NDArray[np.bool_], disc: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels under a disc around any pixel of ``mask``, bool of its shape; ``disc`` is from `half_widths`."""
    height, width = mask.shape
    reach = len(disc) // 2
    # +1 where a row of a disc begins, -1 after its end: their sums along a row count the discs over a pixel.
    steps = np.zeros((height, width + 1), np.int32)
    for y in range(height):
        x = 0
        while x < width:
            if not mask[y, x]:
                x += 1
                continue
            begin = x
            while x < width and mask[y, x]:
                x += 1
            for row in range(max(0, y - reach), min(height, y + reach + 1)):
                half = disc[row - y + reach]
                steps[row, max(0, begin - half)] += 1
                steps[row, min(width, x + half)] -= 1
    covered = np.zeros((height, width), np.bool_)
    for y in range(height):
        discs = 0
        for x in range(width):
            discs += steps[y, x]
            covered[y, x] = discs > 0
    return covered
