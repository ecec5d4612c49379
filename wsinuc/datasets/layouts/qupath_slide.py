"""A slide with what somebody drew over it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.layouts.qupath_files import AnnotatedFile
from wsinuc.datasets.layouts.qupath_objects import Drawing
from wsinuc.errors import MppError
from wsinuc.grid import Box
from wsinuc.slides.isolation.isolated import open_isolated

if TYPE_CHECKING:
    from wsinuc.datasets.corrections.correction import Correction


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AnnotatedSlide:
    """A slide with its annotations, in level-0 pixels."""

    file: AnnotatedFile
    mpp: float | None
    """um per pixel as the slide says it."""
    shape: tuple[int, int]
    origin_yx: tuple[int, int]
    drawing: Drawing
    """In pixels of the file, which begin at ``origin_yx``."""
    correction: Correction | None = None
    """Of a result that was corrected: what was changed."""

    def pixels(self, box: Box) -> NDArray[np.uint8]:
        """RGB of a box in pixels of the file, from the finest level; raises ReadError where it cannot be decoded."""
        with open_isolated(self.file.slide) as slide:
            return slide.read(box.shift(*self.origin_yx))


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideHeader:
    """What annotations have to be told of their slide."""

    mpp: float | None
    """um per pixel as the slide says it."""
    shape: tuple[int, int]
    origin_yx: tuple[int, int]


def slide_header(slide: Path) -> SlideHeader:
    """What the header of a slide says; raises SlideError for what is none."""
    with open_isolated(slide) as opened:
        try:
            mpp = opened.mpp
        except MppError:
            mpp = None
        return SlideHeader(mpp=mpp, shape=opened.level_shapes[0], origin_yx=opened.origin)
