"""What counts of labels where a part of an image is ignored, because nobody annotated it.

Annotated and predicted nuclei are treated alike: one that lies in ignored pixels for more than half does not count at
all, and of the others only the pixels count that are not ignored. So a nucleus that the edge of a region cuts is
compared by its part in the region.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import LabelledImage
from wsinuc.metrics.choosing import Judged

Number = TypeVar("Number", bound=np.integer)


def counted(labels: NDArray[Number], ignore: NDArray[np.bool_] | None) -> NDArray[Number]:
    """Labels (h, w) without what is ignored; the same numbers.

    Examples
    --------
    >>> labels = np.array([[1, 1, 1, 2, 2, 3]])
    >>> counted(labels, np.array([[True, False, False, True, True, False]])).tolist()
    [[0, 1, 1, 0, 0, 3]]
    """
    if ignore is None:
        return labels
    numbers, dense = np.unique(labels, return_inverse=True)
    dense = dense.reshape(labels.shape)
    areas = np.bincount(dense.ravel(), minlength=len(numbers))
    hidden = np.bincount(dense[ignore], minlength=len(numbers))
    return np.where(ignore | (2 * hidden > areas)[dense], 0, labels).astype(labels.dtype)


def counted_image(image: LabelledImage) -> LabelledImage:
    """An annotated image without the nuclei and points that do not count."""
    if image.ignore is None:
        return image
    points = image.points
    classes = image.point_classes
    if points is not None:
        y, x = np.floor(points + 0.5).astype(np.intp).clip(0, np.array(image.ignore.shape) - 1).T
        known = ~image.ignore[y, x]
        points = points[known]
        classes = None if classes is None else classes[known]
    return replace(image, labels=counted(image.labels, image.ignore), points=points, point_classes=classes)


def judge(image: LabelledImage, predicted: NDArray[np.integer]) -> Judged:
    """What predicted labels (h, w) of an annotated image come to, where one prediction is chosen over another."""
    return Judged.of(counted(image.labels, image.ignore), counted(predicted, image.ignore), image.ignore)


def faded(pixels: NDArray[np.uint8], ignore: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """RGB (h, w, 3) in which ignored pixels are half white."""
    if ignore is None:
        return pixels
    pale = (pixels // 2 + 128).astype(np.uint8)
    return np.where(ignore[..., None], pale, pixels)
