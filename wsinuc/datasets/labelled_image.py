"""One annotated image, as a layout reads it and as everybody else sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.grid import Box

Row = Mapping[str, str]
"""What is known of one image before it is read: ``name``, then any attributes (patient, organ, fold ...), all text."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Annotation:
    """One image and what its annotators said, as a layout reads it."""

    image: NDArray[np.uint8]
    """(h, w, 3) RGB."""
    labels: NDArray[np.int32]
    """(h, w) 0 is background, one number per nucleus; all 0 where only points are annotated."""
    classes: NDArray[np.int32] | None = None
    """(labels.max() + 1,) class of each label: position in the layout's ``classes`` plus 1, 0 where it is not known."""
    points: NDArray[np.float64] | None = None
    """(n, 2) (y, x) in pixels, of nuclei that are marked by a point and have no outline in ``labels``; the centre of
    the first pixel is (0, 0)."""
    point_classes: NDArray[np.int32] | None = None
    """(n,) class of each point, counted like ``classes``."""
    numbers: NDArray[np.int64] | None = None
    """(labels.max() + 1,) the number that each label has in its file; None where files number no nuclei."""
    ignore: NDArray[np.bool_] | None = None
    """(h, w) pixels that count in no loss and in no score, because nobody annotated them; None where all count."""
    notes: tuple[str, ...] = ()
    """What was done to make labels of what the file holds, see `wsinuc.datasets.label_values`."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class LabelledImage:
    """One annotated image of a data set; the fields it shares with `Annotation` mean the same."""

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    attributes: Row
    mpp: float
    """um per pixel."""
    classes: NDArray[np.int32] | None = None
    points: NDArray[np.float64] | None = None
    point_classes: NDArray[np.int32] | None = None
    ignore: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        height, width = self.labels.shape
        marked = int(self.labels.max(initial=0)) if self.points is None else len(self.points)
        kind = "labels up to" if self.points is None else "points:"
        return f"<wsinuc.LabelledImage {self.name}: {height} x {width} px of {self.mpp:g} um, {kind} {marked}>"

    @property
    def class_map(self) -> NDArray[np.int32]:
        """(h, w) class of each pixel, 0 is background; without classes every nucleus is of class 1."""
        if self.classes is None:
            return (self.labels > 0).astype(np.int32)
        return self.classes[self.labels]


def name_of(image: str, box: Box | None) -> str:
    """What a part of an image is called, and None the whole of it.

    Examples
    --------
    >>> name_of("tile", Box(0, 256, 256, 512)), name_of("tile", None)
    ('tile_0_256', 'tile')
    """
    return image if box is None else f"{image}_{box.y0}_{box.x0}"


def cut(image: LabelledImage, box: Box) -> LabelledImage:
    """The part of an image inside a box; points are moved along.

    Raises
    ------
    DataError
        The box does not lie in the image.
    """
    height, width = image.labels.shape
    if not (0 <= box.y0 < box.y1 <= height and 0 <= box.x0 < box.x1 <= width):
        raise DataError(f"{image.name} is {(height, width)} (h, w) and does not hold {box}: it is another image")
    window = (slice(box.y0, box.y1), slice(box.x0, box.x1))
    points = image.points
    classes = image.point_classes
    if points is not None:
        # Half-open as boxes are: a point on the border of two patches belongs to one of them.
        inside = ((points >= (box.y0, box.x0)) & (points < (box.y1, box.x1))).all(1)
        points = points[inside] - (box.y0, box.x0)
        if classes is not None:
            classes = classes[inside]
    return replace(
        image,
        name=name_of(image.name, box),
        image=image.image[window],
        labels=image.labels[window],
        points=points,
        point_classes=classes,
        ignore=None if image.ignore is None else image.ignore[window],
    )
