"""What a model sees of a field, and what it says of it: fitted to the field as `segment` fits it to a slide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wsinuc import tissue
from wsinuc.grid import Box, ceil_div
from wsinuc.pipeline.block import mirrored, score_box
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.segmenters.base import Segmenter
from wsinuc.segmenters.joint import JointSegmenter
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.slides.array import ArraySlide
from wsinuc.workflows.adapt.networks import Part
from wsinuc.workflows.adapt.windows import Field, Window

_GRID = 64  # tiles keep a multiple of this many pixels


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A field, and the model fitted to it."""

    field: Field
    fitted: TiledSegmenter

    @classmethod
    def of(cls, field: Field, segmenter: TiledSegmenter) -> Sight:
        """A model fitted to the field, or to the slide that it is a part of."""
        if field.samples is not None:
            return cls(field, _tiled(segmenter.calibrate(field.samples)))
        with ArraySlide(field.pixels, mpp=segmenter.mpp) as slide:
            view = slide.at(segmenter.mpp)
            return cls(field, _tiled(calibrated(view, segmenter, tissue.whole(view))))

    @property
    def colours(self) -> NDArray[np.float32] | None:
        """The table ``(256, 3)`` through which its networks see colours; None where they are left as they are."""
        if isinstance(self.fitted, JointSegmenter):
            return self.fitted.colours
        return None

    def sizes(self, part: Part) -> tuple[Fraction, ...]:
        """In which sizes a network sees the field, each once."""
        if part.member is None or not isinstance(self.fitted, JointSegmenter):
            return (Fraction(1),)
        return tuple(dict.fromkeys(Fraction(size) for size in self.fitted.sizes(part.member)))

    def scores(self) -> NDArray[np.uint8]:
        """What the model says of the whole field, ``(channels, h, w)``."""
        with ArraySlide(self.field.pixels, mpp=self.fitted.mpp) as slide:
            view = slide.at(self.fitted.mpp)
            box = Box.of_shape(view.shape)
            # Its own tiles where the field is larger: one tile of all would need memory without end.
            model = self._with_core(min(max(box.shape), self.fitted.tile - 2 * self.fitted.margin))
            return score_box(view, box, model, batch_size=1, tissue=tissue.whole(view))

    def scores_in(self, window: Window) -> NDArray[np.uint8]:
        """What it says of a window, ``(channels, h, w)`` in pixels of the field, with the tissue around as context."""
        model = self._with_core(max(window.box.shape))
        start = window.box.grow(model.margin)
        wanted = Box(start.y0, start.x0, start.y0 + model.tile, start.x0 + model.tile)
        inside = wanted.clip(Box.of_shape(self.field.pixels.shape[:2]))
        tile = mirrored(self.field.pixels[inside.slices], inside, wanted)
        height, width = window.box.shape
        scores: NDArray[np.uint8] = model.predict(np.ascontiguousarray(tile[None]))[0, :, :height, :width]
        return scores

    def _with_core(self, side: int) -> TiledSegmenter:
        """The model with tiles that are no larger than what is asked for."""
        return self.fitted.with_core(ceil_div(side, _GRID) * _GRID)


def sights_of(fields: Iterable[Field], segmenter: TiledSegmenter) -> list[Sight]:
    """A model fitted to each field; fields of one slide share what it is fitted to, which takes the time."""
    fitted: list[Sight] = []
    for field in fields:
        alike = next((each for each in fitted if _same_slide(each.field, field)), None)
        if alike is None:
            fitted.append(Sight.of(field, segmenter))
        else:
            fitted.append(Sight(field, alike.fitted))
    return fitted


def _same_slide(one: Field, other: Field) -> bool:
    return one.samples is not None and other.samples is not None and np.array_equal(one.samples, other.samples)


def _tiled(segmenter: Segmenter) -> TiledSegmenter:
    """What fitting gives, as the kind of every model that can be adapted."""
    assert isinstance(segmenter, TiledSegmenter)
    return segmenter
