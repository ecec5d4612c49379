"""Where nuclei lie and of what class they are: the plan that a joint synthesis fills with tissue.

Method C (Min, Oh, Jeong 2024) conditions on a point map: one pixel per nucleus that holds its class, 0 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NucleusLayout:
    """Centroids of nuclei on a canvas."""

    shape: tuple[int, int]
    """(h, w) of the canvas in pixels."""
    points: NDArray[np.float64]
    """(n, 2) (y, x) in pixels; a point lies in the pixel that it rounds down to."""
    classes: NDArray[np.int32]
    """(n,) class of each nucleus, counted from 1."""

    @property
    def point_map(self) -> NDArray[np.int32]:
        """(h, w) class at the pixel of each nucleus, 0 elsewhere; of nuclei that share a pixel the last stays."""
        canvas = np.zeros(self.shape, np.int32)
        y, x = self.points.astype(np.intp).T if len(self.points) else np.zeros((2, 0), np.intp)
        canvas[y, x] = self.classes
        return canvas
