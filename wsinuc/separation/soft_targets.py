"""A segmenter's scores as what another network should learn: probabilities and maps, and how they turn with the image.

Labels are turned first and their maps made afterwards (`wsinuc.separation.targets`). Scores have no
labels behind them, so they are turned themselves: H and V change sign and place, everything else
only its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.orientation import dihedral
from wsinuc.separation.channels import FIRST_CLASS, FOREGROUND
from wsinuc.synthesis.structures import turned


@dataclass(frozen=True, slots=True, eq=False)
class SoftTarget:
    """What a network should put out for one image."""

    probabilities: NDArray[np.float32]
    """``(1 + classes, h, w)`` of background and classes; sums to 1."""
    maps: NDArray[np.float32]
    """``(1, h, w)`` distance in [0, 1], or ``(2, h, w)`` H and V in [-1, 1]."""

    def turned(self, k: int) -> SoftTarget:
        """The target of the image turned by ``dihedral`` k, 0 to 7."""
        probabilities = _turn_planes(self.probabilities, k)
        if len(self.maps) == 2:
            # H and V change place and sign as the halves of a structure do, which `turned` knows.
            nuclei = 1 - self.probabilities[:1]
            return SoftTarget(probabilities, turned(np.concatenate([nuclei, self.maps]), k)[1:])
        return SoftTarget(probabilities, _turn_planes(self.maps, k))


def soft_target(scores: NDArray[np.uint8], classes: int, separation: str) -> SoftTarget:
    """The target that a segmenter's scores stand for.

    Where a network tells nucleus from background apart from the classes (HoVer-Net), the classes
    share what the nucleus has.

    Parameters
    ----------
    scores
        uint8 ``(channels, h, w)``, see `wsinuc.separation.channels`.
    classes
        Number of classes of nuclei, without background.
    separation
        ``distance`` or ``hv``, the meaning of the last channels.

    Returns
    -------
    SoftTarget
        Probabilities that sum to 1, and maps in [0, 1] (``distance``) or [-1, 1] (``hv``).

    Examples
    --------
    >>> scores = np.array([204, 0, 51, 153, 255], np.uint8).reshape(5, 1, 1)
    >>> target = soft_target(scores, classes=2, separation="distance")
    >>> target.probabilities.ravel().round(2), target.maps.ravel()
    (array([0.2, 0.2, 0.6], dtype=float32), array([1.], dtype=float32))
    """
    values: NDArray[np.float32] = scores.astype(np.float32) / np.float32(255)
    foreground = values[FOREGROUND]
    # Where all classes are 0 they share alike.
    parts = values[FIRST_CLASS : FIRST_CLASS + classes] + np.float32(1e-6)
    shared = parts / parts.sum(0) * foreground
    maps = values[FIRST_CLASS + classes :]
    return SoftTarget(
        probabilities=np.concatenate([1 - foreground[None], shared]),
        maps=maps * np.float32(2) - np.float32(1) if separation == "hv" else maps,
    )


def _turn_planes(planes: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    return np.moveaxis(dihedral(np.moveaxis(planes, 0, 2), k), 2, 0)
