"""Annotated windows and the tissue around them.

A window is part of a field: the image that it was cut from, at the model's resolution. The field tells the model what
the colours are and how large nuclei are, gives its networks their context, and is the tissue on which they should
stay as they are. An image that is annotated as a whole is a field that is all window; tissue that nobody annotated is
a field without any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Dataset, LabelledImage, cut
from wsinuc.datasets.sampling.patches import area, corner
from wsinuc.datasets.sampling.pixels import Pixels, SlidePixels
from wsinuc.errors import DataError
from wsinuc.grid import Box
from wsinuc.pipeline.calibrate import tissue_samples
from wsinuc.slides.array import ArraySlide
from wsinuc.workflows.evaluate.ignored import counted

AROUND_PX = 2048
"""Side of the part of an image around its windows that is looked at, at most, in pixels of the image."""
REST_PX = 512
"""Side of a field of other tissue, in pixels of the model."""
REST_FIELDS = 16
"""So many of them are drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A part of a field in which every nucleus is annotated."""

    image: LabelledImage
    """The window alone, at its own resolution."""
    box: Box
    """Where it lies, in pixels of the field."""

    @property
    def nuclei(self) -> int:
        """How many it shows, without those that are ignored."""
        labels = counted(self.image.labels, self.image.ignore)
        return len(np.unique(labels[labels > 0]))


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Pixels at the model's resolution, and the windows in them."""

    pixels: NDArray[np.uint8]
    """RGB (h, w, 3)."""
    windows: tuple[Window, ...] = ()
    samples: NDArray[np.uint8] | None = None
    """RGB (n, side, side, 3) of the slide that it is a part of, to which a model is fitted; None takes the field."""
    covered: tuple[Box, ...] = ()
    """More of it that is annotated, in its pixels, and that therefore does not teach what the model says."""

    @property
    def annotated(self) -> tuple[Box, ...]:
        """All that is annotated."""
        return (*(window.box for window in self.windows), *self.covered)


def fields_of(dataset: Dataset, mpp: float) -> Iterator[Field]:
    """The images that the windows of a data set were cut from, each once, at ``mpp``.

    Raises
    ------
    DataError
        An image is damaged.
    """
    places: dict[str, list[int]] = {}
    for index, row in enumerate(dataset.rows):
        places.setdefault(row["name"], []).append(index)
    for name, indices in places.items():
        whole = dataset.patches([(name, None)])[0]
        yield field_of(whole, [dataset.boxes[index] or Box.of_shape(whole.labels.shape) for index in indices], mpp)


def field_of(whole: LabelledImage, boxes: Sequence[Box], mpp: float) -> Field:
    """Windows ``boxes`` of an annotated image, with what lies around them, at ``mpp``."""
    around = _around(boxes, Box.of_shape(whole.labels.shape))
    pixels = at_mpp(whole.image[around.slices], whole.mpp, mpp)
    # By the pixels that are there: a resolution that is near enough is taken as it is.
    scale = (pixels.shape[0] / around.shape[0], pixels.shape[1] / around.shape[1])
    windows = tuple(Window(cut(whole, box), _scaled(box.relative_to(around), scale)) for box in boxes)
    return Field(pixels, windows)


def in_classes(field: Field, count: int) -> Field:
    """The field for a model of so many classes: one of a single class knows every nucleus by it."""
    if count > 1:
        return field
    windows = tuple(replace(window, image=replace(window.image, classes=None)) for window in field.windows)
    return replace(field, windows=windows)


def rest_of(
    sources: Sequence[Pixels], seed: int, annotated: Callable[[Pixels], Sequence[Box]] = lambda source: ()
) -> list[Field]:
    """Fields of tissue on which a model should stay as it is, drawn by area from sources at the model's resolution.

    Parameters
    ----------
    annotated
        The parts of a source that are annotated, in its pixels.

    Raises
    ------
    DataError
        No source holds any tissue.
    """
    areas = np.array([area(source) for source in sources], np.float64)
    if not areas.sum():
        raise DataError("the tissue that should stay as it is has no pixel: check the sources of --rest")
    samples = [slide_samples(source) for source in sources]
    rng = np.random.default_rng(seed)
    fields = []
    for number in rng.choice(len(sources), REST_FIELDS, p=areas / areas.sum()):
        source = sources[number]
        height, width = (min(REST_PX, side) for side in source.shape[:2])
        y, x = (int(start) for start in corner(source, rng, height, width))
        box = Box(y, x, y + height, x + width)
        pixels = np.ascontiguousarray(source[box.slices])
        covered = tuple(each.clip(box).relative_to(box) for each in annotated(source) if each.overlaps(box))
        fields.append(Field(pixels, samples=samples[number], covered=covered))
    return fields


def slide_samples(source: Pixels) -> NDArray[np.uint8] | None:
    """The samples by which `segment` fits a model to a slide; None for an image, which is a field of its own."""
    if isinstance(source, SlidePixels):
        return tissue_samples(source.view, source.tissue)
    return None


def at_mpp(image: NDArray[np.uint8], given: float, wanted: float) -> NDArray[np.uint8]:
    """RGB at another um per pixel, resampled as slides are."""
    with ArraySlide(np.ascontiguousarray(image), mpp=given) as slide:
        view = slide.at(wanted)
        return view.read(Box.of_shape(view.shape))


def _around(boxes: Sequence[Box], extent: Box) -> Box:
    """The part of an image that holds all boxes, as much larger as `AROUND_PX` and the image let it be."""
    whole = Box(
        min(box.y0 for box in boxes),
        min(box.x0 for box in boxes),
        max(box.y1 for box in boxes),
        max(box.x1 for box in boxes),
    )
    room = max(0, AROUND_PX - max(whole.shape)) // 2
    return whole.grow(room).clip(extent)


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    """A box in pixels of another size, at least one pixel a side."""
    y0 = round(box.y0 * scale[0])
    x0 = round(box.x0 * scale[1])
    return Box(y0, x0, max(y0 + 1, round(box.y1 * scale[0])), max(x0 + 1, round(box.x1 * scale[1])))
