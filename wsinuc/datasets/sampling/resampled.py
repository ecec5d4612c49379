"""A data set as it would be at another resolution: what a coarser objective or scanner would have given.

Images go through the resampler that slides go through (anti-aliased); of labels each new pixel
takes the one at its centre, so they stay whole numbers and keep their classes. Annotation thinner
than a pixel may vanish.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Annotation, Dataset, Layout, Row
from wsinuc.errors import DataError
from wsinuc.grid import Box
from wsinuc.slides.array import ArraySlide

Value = TypeVar("Value", np.bool_, np.int32)

TOLERANCE = 0.05
"""Relative: images this near are taken as they are, as levels of slides are."""


def resampled(dataset: Dataset, mpp: float) -> Dataset:
    """The same images at ``mpp`` um per pixel; those within `TOLERANCE` of it stay as they are.

    Raises
    ------
    DataError
        An image is coarser than that: detail that was never recorded cannot be measured.
    MppError
        ``mpp`` is no resolution of a microscope.
    """
    return Dataset.open(ResampledLayout(dataset, mpp))


class ResampledLayout(Layout):
    """The images of a data set at one resolution."""

    name = "resampled"
    expected = "the images of another data set"

    def __init__(self, source: Dataset, mpp: float) -> None:
        super().__init__(source.path)
        self.source = source
        self.target = mpp
        self.classes = source.classes
        self.open_classes = source.layout.open_classes
        self.annotated = source.layout.annotated
        self.kind = source.layout.kind
        self.notes = source.layout.notes

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return False

    def scan(self) -> tuple[Row, ...]:
        return tuple(self._row(*each) for each in zip(self.source.rows, self.source.boxes, strict=True))

    def read(self, row: Row) -> Annotation:
        image = self.source[self._position[row["name"]]]
        scale = float(row["mpp"]) / image.mpp
        pixels = image.image
        labels = image.labels
        ignore = image.ignore
        if scale != 1:
            with ArraySlide(image.image, mpp=image.mpp) as slide:
                view = slide.at(self.target, tolerance=0)
                pixels = view.read(Box.of_shape(view.shape))
            labels = _nearest(labels, pixels.shape[:2], scale)
            if ignore is not None:
                ignore = _nearest(ignore, pixels.shape[:2], scale)
        points = image.points
        if points is not None and scale != 1:
            # Points count from the centre of the first pixel, and pixels are measured from their corners.
            points = (points + 0.5) / scale - 0.5
        return Annotation(
            image=pixels,
            labels=labels,
            classes=image.classes,
            points=points,
            point_classes=image.point_classes,
            ignore=ignore,
            notes=image.notes,
        )

    @cached_property
    def _position(self) -> dict[str, int]:
        return {row["name"]: index for index, row in enumerate(self.scan())}

    def _row(self, row: Row, box: Box | None) -> Row:
        own = self.source.resolution(row)
        if own > self.target * (1 + TOLERANCE):
            raise DataError(
                f"{row['name']} has {own:g} um per pixel, too coarse to be shown at {self.target:g}: detail "
                "that was not "
                f"recorded cannot be measured; ask for {own:g} or more"
            )
        if box is None:
            name = row["name"]
        else:
            name = f"{row['name']}_{box.y0}_{box.x0}"
        if abs(own / self.target - 1) <= TOLERANCE:
            real = own
        else:
            real = self.target
        # 17 digits give the same double when read back.
        return {**row, "name": name, "mpp": f"{real:.17g}"}


def _nearest(labels: NDArray[Value], shape: tuple[int, ...], scale: float) -> NDArray[Value]:
    """Labels (h, w) at the centres of the pixels of ``shape``, each ``scale`` labels wide."""
    rows, columns = (
        ((np.arange(new) + 0.5) * scale).astype(np.int64).clip(max=old - 1)
        for new, old in zip(shape, labels.shape, strict=True)
    )
    nearest: NDArray[Value] = labels[rows[:, None], columns]
    return nearest
