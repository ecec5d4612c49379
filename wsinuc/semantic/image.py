"""The label image ``semantic`` of a slide, drawn from the maps of its blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsinuc.grid import Block
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.base import Tiled
from wsinuc.semantic.classes import map_classes, names_whole_nuclei, with_nuclei

MapOf = Callable[[int], NDArray[np.uint8] | None]


def class_areas(pixels: zarr.Array[Any], blocks: Iterable[Block], classes: int) -> NDArray[np.int64]:
    """Pixels of each of the classes 1 to ``classes`` in those blocks of an image, int64 ``(classes,)``."""
    counts = np.zeros(classes + 1, np.int64)
    for block in blocks:
        counts += np.bincount(np.asarray(pixels[block.core.slices]).ravel(), minlength=classes + 1)
    return counts[1:]


@dataclass(frozen=True, slots=True)
class SemanticImage:
    """What is known of a slide's pixels, block by block; small, because it travels with every task."""

    map_of: MapOf
    """The map of a block's core by its index, see `wsinuc.semantic.classes.pixel_map`; None where all is background."""
    classes: tuple[NucleusClass, ...]
    """Names and colours of the values 1, 2, ..."""
    by_nucleus: bool
    """Whether pixels have the classes of the nuclei that they belong to."""

    @classmethod
    def of(cls, segmenter: Tiled, map_of: MapOf) -> SemanticImage:
        """The image of what a segmenter says."""
        return cls(map_of, map_classes(segmenter), names_whole_nuclei(segmenter))

    def draw(self, block: int, nucleus_classes: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Values ``(h, w)`` of a block's core; None where all is background.

        ``nucleus_classes`` ``(h, w)`` is what the label image of the nuclei's classes has there.
        """
        pixels = self.map_of(block)
        if pixels is None or not self.by_nucleus:
            return pixels
        return with_nuclei(pixels, nucleus_classes, len(self.classes))
