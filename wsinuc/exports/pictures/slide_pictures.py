"""What is shown of a slide, drawn once for all who show it: the whole with its nuclei, and fields close up.

Parts of the table are added one by one while they are at hand; then the whole slide and single
fields are read and finished. The preview and the report are made of the same pictures, so that no
pixel is read twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wsinuc.exports.pictures.drawing import Picture
from wsinuc.exports.pictures.fields import FieldTally
from wsinuc.exports.pictures.left_out import LegendEntry, hatch_left_out
from wsinuc.exports.pictures.region_line import draw_region
from wsinuc.grid import Box
from wsinuc.nuclei import Nuclei
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.tissue import Region, TissueMask

OVERVIEW = 1600
"""Pixels of the longer side of the whole slide."""
FIELD_MPP = 0.25
"""um per pixel of a field's picture: that of a scan at 40x. Coarser slides are enlarged, finer ones shrunk."""
OUTLINE_MPP = 2.0
"""um per overview pixel up to which a nucleus (about 8 um) is large enough to be outlined; coarser ones get dots."""

OVERVIEW_LINE = 1.2
"""Width of outlines on the whole slide, in its pixels."""
FIELD_LINE = 1.5
"""Width of outlines in a field, in its pixels."""

Near = Callable[[Box], Iterable[Nuclei]]
"""Parts of the table with all nuclei that reach into a box of the view, perhaps with others."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole slide with its nuclei."""

    picture: Image.Image
    mpp: float
    """um per pixel of the picture."""
    scale: float
    """Pixels of the picture per view pixel."""
    legend: list[LegendEntry]
    """What was left out, and how much of it."""


@dataclass(frozen=True, slots=True)
class FieldPictures:
    """A field without and with the outlines of its nuclei, of one size."""

    box: Box
    """In view pixels."""
    mpp: float
    """um per pixel of the pictures."""
    plain: Image.Image
    outlined: Image.Image
    nuclei: tuple[Nuclei, ...]
    """Parts of the table with the nuclei of the field, perhaps with others."""


class SlidePictures:
    """The pictures of a slide, for which parts of its table are added one by one.

    Parameters
    ----------
    view
        The slide as it was segmented.
    region
        The region of interest, whose border is drawn; None where the whole slide is of interest.
    """

    def __init__(self, view: SlideView, region: Region | None = None) -> None:
        self.view = view
        self.region = region
        self.tally = FieldTally(view.shape, view.mpp)
        # Never finer than the view itself: a small slide is shown as it is.
        mpp = view.mpp * max(1.0, max(view.shape) / OVERVIEW)
        if mpp > view.mpp:
            self._coarse = view.slide.at(mpp)
        else:
            self._coarse = view
        # As the coarse view turned out: its shape is whole pixels, so the wanted mpp is met nearly.
        self._mpp = view.mpp * max(view.shape) / max(self._coarse.shape)
        self._overview = Picture(self._coarse.shape, Box.of_shape(view.shape), line=OVERVIEW_LINE)
        self._finished: Overview | None = None
        self._fields: dict[Box, FieldPictures] = {}

    def add(self, part: Nuclei) -> None:
        """Count the nuclei of a part, and draw them on the whole slide."""
        self.tally.add(part)
        if self._mpp <= OUTLINE_MPP:
            self._overview.draw_outlines(part)
        else:
            self._overview.draw_dots(part)

    def overview(self, tissue: TissueMask | None = None) -> Overview:
        """The whole slide, read when it is first asked for.

        Parameters
        ----------
        tissue
            What was left out, for hatching; None draws nothing of the kind.
        """
        if self._finished is None:
            self._finished = self._draw_overview(tissue)
        return self._finished

    def field(self, box: Box, near: Near) -> FieldPictures:
        """A box of view pixels close up, with all the detail that the slide has."""
        if box not in self._fields:
            self._fields[box] = self._draw_field(box, near)
        return self._fields[box]

    def _draw_overview(self, tissue: TissueMask | None) -> Overview:
        view = self.view
        picture = self._overview.finish(read_resilient(self._coarse, Box.of_shape(self._coarse.shape))[0])
        legend: list[LegendEntry] = []
        if tissue:
            picture, legend = hatch_left_out(picture, tissue, slide_mm2(view))
        if self.region is not None:
            draw_region(picture, self.region, self._overview.box, view.downsample)
        return Overview(picture, self._mpp, self._overview.scale, legend)

    def _draw_field(self, box: Box, near: Near) -> FieldPictures:
        parts = tuple(near(box))
        zoom = self.view.mpp / FIELD_MPP
        shape = (max(1, round(box.shape[0] * zoom)), max(1, round(box.shape[1] * zoom)))
        outlines = Picture(shape, box, line=FIELD_LINE, rim=True)
        for part in parts:
            outlines.draw_outlines(part)
        plain = _magnified(self.view, box, shape)
        outlined = outlines.finish(np.asarray(plain))
        if self.region is not None:
            draw_region(outlined, self.region, box, self.view.downsample)
        return FieldPictures(box, self.view.mpp * box.shape[1] / shape[1], plain, outlined, parts)


def slide_mm2(view: SlideView) -> float:
    """Area of the whole slide."""
    return view.shape[0] * view.shape[1] * (view.mpp / 1000) ** 2


def resolution(view: SlideView) -> str:
    """The slide's own resolution, and that at which it was segmented where this is another one."""
    own = f"{view.slide.mpp:.3g} µm per pixel"
    if f"{view.slide.mpp:.3g}" == f"{view.mpp:.3g}":
        return own
    return f"{own}, segmented at {view.mpp:.3g}"


def _magnified(view: SlideView, box: Box, shape: tuple[int, int]) -> Image.Image:
    """A box of view pixels as a picture of another shape, read where the slide has as much detail."""
    fine = view.slide.at(max(view.slide.mpp, FIELD_MPP))
    dy, dx = (coarse / own for coarse, own in zip(view.downsample, fine.downsample, strict=True))
    y0, x0, y1, x1 = box.y0 * dy, box.x0 * dx, box.y1 * dy, box.x1 * dx
    whole = Box(math.floor(y0), math.floor(x0), math.ceil(y1), math.ceil(x1))
    image = Image.fromarray(read_resilient(fine, whole)[0])
    part = (x0 - whole.x0, y0 - whole.y0, x1 - whole.x0, y1 - whole.y0)
    return image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=part)
