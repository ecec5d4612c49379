"""The table of nuclei: the one result that every other output is a view of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frame:
    """How the pixels of the view relate to the world."""

    mpp: float
    """um per view pixel, as really read (not as wished for)."""
    downsample: tuple[float, float]
    """Level-0 pixels per view pixel, (y, x)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nuclei:
    """Nuclei as a struct of arrays, sorted by id.

    Outlines run along pixel edges ("cracks"), so a polygon's area is exactly its pixel count and filling it gives
    the same pixels back. They are integers in view pixels; ``frame`` turns them into level-0 pixels.
    """

    frame: Frame
    class_names: tuple[str, ...]
    class_colors: tuple[tuple[int, int, int], ...]
    ids: NDArray[np.int64]
    """(n,) 1..N over the slide once numbered; 1..n within a block's shard."""
    centroids: NDArray[np.float64]
    """(n, 2) (y, x) mean of pixel centres, view pixels (pixel (0, 0) has its centre at 0.5, 0.5)."""
    areas_px: NDArray[np.int32]
    """(n,) pixels of the view."""
    outlines: NDArray[np.int32]
    """(m, 2) (y, x) corner points of all rings one after another, view pixels; rings are not closed (first != last)."""
    offsets: NDArray[np.int64]
    """(n + 1,) ring i is ``outlines[offsets[i] : offsets[i + 1]]``."""
    classes: NDArray[np.uint8]
    """(n,) index into ``class_names``: the class of highest mean probability."""
    class_probabilities: NDArray[np.float32]
    """(n, classes) mean over the nucleus' pixels, 0 to 1."""
    probabilities: NDArray[np.float32]
    """(n,) mean foreground probability over the nucleus' pixels, 0 to 1."""
    disagreements: NDArray[np.float32]
    """(n,) mean Jensen-Shannon disagreement over the nucleus' pixels, 0 to 1 (1 = log 2)."""
    measurements: dict[str, NDArray[np.float32]]
    """Shape of each nucleus: area_um2, length_um, circularity, solidity, max_diameter_um, min_diameter_um."""

    def __len__(self) -> int:
        return len(self.ids)
