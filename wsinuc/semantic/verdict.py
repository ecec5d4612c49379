"""From scores to the class of each pixel: the most probable of background and the classes.

The classes of a pixel share the probability that it is nucleus in proportion to their scores, and
the most probable of background and classes wins; of equals the first does, and background comes
before all. With the softmax of one network that is its argmax; with the mean of an ensemble's
members that of the mean; with their ballots the majority's verdict, as method A publishes it (Alexis
et al. 2024). HoVer-Net, which tells nuclei from background in a branch of its own, gets the classes
of its other branch there.

Everything is done in whole numbers, so that a pixel gets the same class wherever a block begins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.separation.channels import FIRST_CLASS, FOREGROUND

CERTAIN = 255
"""Score of what is certain."""


def class_map(scores: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """The class of each pixel.

    Parameters
    ----------
    scores
        uint8 ``(channels, h, w)``, see `wsinuc.separation.channels`.
    classes
        Number of classes that the scores tell apart.

    Returns
    -------
    uint8 ``(h, w)``: 0 is background, else 1 + index of the class.

    Examples
    --------
    >>> foreground = [[100, 160, 200, 255]]
    >>> scores = np.array([foreground, np.zeros((1, 4)), [[90, 80, 50, 1]], [[10, 80, 150, 254]]], np.uint8)
    >>> class_map(scores, 2).tolist()
    [[0, 0, 2, 2]]
    """
    result = np.zeros(scores.shape[1:], np.uint8)
    # No class has more than the foreground: where background has as much, it wins.
    at = np.flatnonzero(2 * scores[FOREGROUND].astype(np.int32) > CERTAIN)
    foreground = scores[FOREGROUND].ravel()[at].astype(np.int32)
    if classes == 1:
        result.ravel()[at] = 1
        return result
    shares = scores[FIRST_CLASS : FIRST_CLASS + classes].reshape(classes, -1)[:, at].astype(np.int32)
    best = shares.argmax(axis=0)
    total = shares.sum(axis=0)
    wins = foreground * shares.max(axis=0) > (CERTAIN - foreground) * total
    # A network that names no class at all leaves the first.
    result.ravel()[at] = np.where(wins | (total == 0), best + 1, 0)
    return result


def nucleus_map(scores: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 ``(h, w)``: 1 where a pixel is rather nucleus than background, whatever its class."""
    return class_map(scores, 1)
