"""The eight ways to lay a square: tissue has no up and no handedness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def dihedral(array: NDArray[Any], k: int) -> NDArray[Any]:
    """One of the eight flips and right-angle rotations of the first two axes; ``k`` 0 to 7, 0 changes nothing."""
    turned = np.rot90(array, k % 4)
    if k >= 4:
        return turned[:, ::-1]
    return turned
