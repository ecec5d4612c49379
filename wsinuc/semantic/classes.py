"""What the values of a map of classes are called, by the way in which a model tells nuclei apart.

Most models say at every pixel which class it is. Others name whole nuclei when these are separated
and measured (`wsinuc.segmenters.base.Classifying`, `wsinuc.segmenters.base.ByMeasurement`): of their
pixels the scores tell nucleus from background alone. A pixel of nucleus then has the class of the
nucleus that it belongs to, and one that belongs to none is unclassified.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.base import ByMeasurement, Classifying, Tiled
from wsinuc.semantic.verdict import class_map, nucleus_map

UNCLASSIFIED = "Unclassified"
"""Name of what is nucleus and belongs to none that has a class."""
GREY = (128, 128, 128)


def names_whole_nuclei(segmenter: Tiled) -> bool:
    """Whether classes are those of whole nuclei, instead of pixels."""
    return isinstance(segmenter, Classifying | ByMeasurement)


def map_classes(segmenter: Tiled) -> tuple[NucleusClass, ...]:
    """Names and colours of the values 1, 2, ... of the segmenter's maps.

    The first are its classes; one that names whole nuclei has `UNCLASSIFIED` behind them.
    """
    if not names_whole_nuclei(segmenter):
        return segmenter.classes
    names = {each.name for each in segmenter.classes}
    unclassified = UNCLASSIFIED
    while unclassified in names:
        # Two values must not have one name.
        unclassified += " pixel"
    return (*segmenter.classes, NucleusClass(unclassified, GREY))


def pixel_map(segmenter: Tiled, scores: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the scores ``(channels, h, w)`` of a segmenter say of each pixel.

    Returns
    -------
    uint8 ``(h, w)``: 0 is background, else 1 + index of the class; 1 for every pixel of nucleus of a segmenter that
    names whole nuclei, which `with_nuclei` gives its class.
    """
    if names_whole_nuclei(segmenter):
        return nucleus_map(scores)
    return class_map(scores, len(segmenter.classes))


def with_nuclei(
    pixels: NDArray[np.uint8], nucleus_classes: NDArray[np.integer], unclassified: int
) -> NDArray[np.uint8]:
    """Pixels of nucleus with the class of the nucleus that they belong to.

    Parameters
    ----------
    pixels
        ``(h, w)``, not 0 where a pixel is nucleus.
    nucleus_classes
        ``(h, w)``, 1 + index of the class of the nucleus that a pixel belongs to, 0 where it belongs to none.
    unclassified
        Value of pixels of nucleus that belong to none.

    Examples
    --------
    >>> with_nuclei(np.array([[0, 1, 1]], np.uint8), np.array([[2, 2, 0]]), 3).tolist()
    [[0, 2, 3]]
    """
    named = np.where(nucleus_classes > 0, nucleus_classes, unclassified)
    return np.where(pixels > 0, named, 0).astype(np.uint8)
