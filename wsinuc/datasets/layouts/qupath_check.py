"""Do outlines belong to the pixels that they are laid over? Nuclei are darker than what lies around them.

A file of annotations does not name its slide, and coordinates that fit one slide fit most. But laid over another
slide, or shifted, outlines hold pixels that are as often light as dark. In 482 windows of 256 px with at least 20
nuclei, of TNBC, MoNuSeg, NuInsSeg and the Data Science Bowl, a pixel of a nucleus has more dye than another pixel with
a chance of at least 0.73, by the density of haematoxylin or by that of all dyes; with the outlines of another window
both chances are below 0.6 in 97 to 99 of 100 cases.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.augmentation.augment import UNMIX, density
from wsinuc.metrics.calibration import area_under_roc

FEWEST_NUCLEI = 20
"""With fewer outlines nothing is said: they may happen to lie on light pixels."""
LEAST = 0.6
"""Chance that a pixel of a nucleus is darker than another, below which outlines are of something else."""
_PIXELS = 8000  # that are looked at: a chance is then known to about 0.01


def fits(pixels: NDArray[np.uint8], nuclei: NDArray[np.bool_], known: NDArray[np.bool_]) -> bool:
    """Whether pixels of nuclei are darker than the others.

    Parameters
    ----------
    pixels
        RGB ``(h, w, 3)``.
    nuclei, known
        ``(h, w)`` what is outlined, and which pixels are annotated at all.
    """
    step = max(1, int(known.sum()) // _PIXELS)
    rgb = pixels[known][::step]
    inside = nuclei[known][::step]
    # Where nearly everything or nearly nothing is outlined there is nothing to compare with.
    if not _PIXELS // 100 < inside.sum() < len(inside) - _PIXELS // 100:
        return True
    densities = density(rgb)
    haematoxylin = (densities @ UNMIX.astype(np.float32))[:, 0]
    chances = [area_under_roc(values, inside) for values in (haematoxylin, densities.sum(axis=1))]
    return max(chances) >= LEAST
