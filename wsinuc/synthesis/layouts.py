"""Where nuclei lie and of what class they are: the plan that a joint synthesis fills with tissue.

Method C (Min, Oh, Jeong 2024) conditions on a point map: one pixel per nucleus that holds its
class, 0 elsewhere. Layouts come from annotated images (`layout_of`), from files
(`wsinuc.synthesis.layout_files`) or from a point process fitted to either
(`wsinuc.synthesis.point_process`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NucleusLayout:
    """Centroids of nuclei on a canvas.

    Raises
    ------
    DataError
        Points lie outside the canvas, or points and classes are not of one length.
    """

    shape: tuple[int, int]
    """(h, w) of the canvas in pixels."""
    points: NDArray[np.float64]
    """(n, 2) (y, x) in pixels; a point lies in the pixel that it rounds down to."""
    classes: NDArray[np.int32]
    """(n,) class of each nucleus, counted from 1."""

    def __post_init__(self) -> None:
        if self.points.shape != (len(self.classes), 2):
            raise DataError(
                f"points must be (n, 2) with n classes, got {self.points.shape} and {len(self.classes)} classes"
            )
        if self.classes.min(initial=1) < 1:
            raise DataError(f"classes of nuclei count from 1, got {self.classes.min()}")
        # Negated, so that it is true for NaN as well.
        outside = ~((self.points >= 0) & (self.points < self.shape)).all(1)
        if outside.any():
            y, x = self.points[outside][0]
            raise DataError(
                f"{outside.sum()} of {len(self.points)} points lie outside the canvas of {self.shape[1]} x "
                f"{self.shape[0]} px, the first at x {x:g}, y {y:g}: are they of a larger image, or of "
                "another resolution?"
            )

    @property
    def point_map(self) -> NDArray[np.int32]:
        """(h, w) class at the pixel of each nucleus, 0 elsewhere; of nuclei that share a pixel the last stays."""
        canvas = np.zeros(self.shape, np.int32)
        if len(self.points):
            y, x = self.points.astype(np.intp).T
        else:
            y, x = np.zeros((2, 0), np.intp)
        canvas[y, x] = self.classes
        return canvas


def layout_of(labels: NDArray[np.int32], classes: NDArray[np.int32] | None = None) -> NucleusLayout:
    """The centroid and class of every annotated nucleus, in the order of their ids.

    The point of a nucleus always lies in one of its own pixels: where the centroid falls outside a
    concave nucleus (the published code loses those) it is the centre of the nucleus' pixel nearest
    to it. A nucleus in two pieces is one point.

    Parameters
    ----------
    labels
        (h, w) 0 is background, one number per nucleus.
    classes
        (labels.max() + 1,) class of each label, as in ``LabelledImage.classes``; without it every
        nucleus is of class 1. Nuclei of unknown class (0) are left out: they are background in
        ``LabelledImage.class_map`` too.

    Raises
    ------
    DataError
        ``classes`` is shorter than the largest label.

    Examples
    --------
    >>> layout_of(np.array([[0, 4, 4], [0, 0, 0]], np.int32)).points.tolist()
    [[0.5, 2.0]]
    """
    y, x = np.nonzero(labels)
    ids = labels[y, x]
    top = int(ids.max(initial=0))
    if classes is not None and len(classes) <= top:
        raise DataError(f"classes must have one entry per label up to {top} and one for 0, got {len(classes)}")
    areas = np.bincount(ids, minlength=top + 1)
    if classes is None:
        known = areas > 0
    else:
        known = (areas > 0) & (classes[: top + 1] > 0)
    nuclei = np.flatnonzero(known)
    # Pixel (y, x) covers [y, y + 1) x [x, x + 1), so its centre is half a pixel further.
    sums = np.stack([np.bincount(ids, weights=axis + 0.5, minlength=top + 1) for axis in (y, x)], axis=1)
    points = sums[nuclei] / areas[nuclei, None]
    inside = labels[tuple(points.astype(np.intp).T)] == nuclei
    for i in np.flatnonzero(~inside):
        own = ids == nuclei[i]
        pixels = np.stack([y[own], x[own]], axis=1) + 0.5
        points[i] = pixels[np.argmin(((pixels - points[i]) ** 2).sum(1))]
    if classes is None:
        kinds = np.ones(len(nuclei), np.int32)
    else:
        kinds = classes[nuclei].astype(np.int32)
    height, width = labels.shape
    return NucleusLayout(shape=(height, width), points=points, classes=kinds)
