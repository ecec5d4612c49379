"""Images of haematoxylin alone as if eosin had been added.

Some annotated images show nuclei and nothing else, since their tissue was stained with haematoxylin
alone. Their nuclei, many of which touch, are worth learning from, but on slides everything around
nuclei is pink. So the eosin of another image is laid over them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.datasets.augmentation.augment import EOSIN, STAINS, UNMIX, density, grey_levels

INSIDE = 0.3
"""Share of the eosin that is seen in nuclei, which keep little of it."""
_SOFTNESS = 1.0  # px, standard deviation of the step at a nucleus' border
_HAEMATOXYLIN = (0.7, 1.1)  # factor drawn for the image's own density
_EOSIN = (0.6, 1.3)  # factor drawn for the donor's eosin


def counterstained(
    image: NDArray[np.uint8], labels: NDArray[np.int32], donor: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The image with the eosin of a random part of another one; glass of the donor adds nothing.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``, haematoxylin alone.
    labels
        int32 ``(h, w)``, 0 is background.
    donor
        RGB uint8 of any size, H&E; mirrored where it is smaller.

    Returns
    -------
    A new image of the same shape.
    """
    height, width = labels.shape
    eosin = (density(donor).reshape(-1, 3) @ UNMIX)[:, EOSIN].reshape(donor.shape[:2]).clip(0)
    missing = [(0, max(0, side - own)) for side, own in zip((height, width), eosin.shape, strict=True)]
    eosin = np.pad(eosin, missing, mode="symmetric")
    y, x = (int(rng.integers(own - side + 1)) for own, side in zip(eosin.shape, (height, width), strict=True))
    inside = ndimage.gaussian_filter((labels > 0).astype(np.float32), _SOFTNESS)
    around = eosin[y : y + height, x : x + width] * (1 - (1 - INSIDE) * inside)
    # The order of the two draws is part of what a seed gives.
    own = density(image) * rng.uniform(*_HAEMATOXYLIN)
    mixed = own + (around * rng.uniform(*_EOSIN))[..., None] * STAINS[EOSIN]
    return grey_levels(mixed)
