"""What another laboratory would have done to the same tissue: stain, scale, orientation.

Functions take an array and a generator and return a new array; labels follow their image where geometry changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Optical density of haematoxylin, eosin and DAB per RGB channel (Ruifrok & Johnston 2001), unit rows.
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_UNMIX = np.linalg.inv(_STAINS)


def dihedral(array: NDArray, k: int) -> NDArray:
    """One of the eight flips and right-angle rotations of the first two axes; ``k`` 0 to 7, 0 changes nothing."""
    turned = np.rot90(array, k % 4)
    return turned[:, ::-1] if k >= 4 else turned


def jitter_stain(image: NDArray[np.uint8], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """The image ``(h, w, 3)`` as if stained and scanned elsewhere.

    Each stain's density is multiplied by ``1 + U(-strength, strength)`` and shifted by a fifth of that, then brightness
    is scaled by up to a fifth of ``strength``. 0 changes nothing (up to rounding).
    """
    density = -np.log((image.reshape(-1, 3).astype(np.float32) + 1) / 256)
    stains = density @ _UNMIX.astype(np.float32)
    gain = 1 + rng.uniform(-strength, strength, 3)
    shift = rng.uniform(-strength, strength, 3) / 5
    mixed = (stains * gain + shift).astype(np.float32) @ _STAINS.astype(np.float32)
    light = 1 + rng.uniform(-strength, strength) / 5
    return np.clip(np.exp(-mixed) * 256 * light - 1, 0, 255).reshape(image.shape).astype(np.uint8)
