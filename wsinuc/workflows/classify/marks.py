"""Outlined nuclei with classes as points: what marks a nucleus for a classifier, whoever segments it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.datasets.base import LabelledImage
from wsinuc.workflows.evaluate.ignored import counted_image


def with_points(image: LabelledImage) -> LabelledImage:
    """The image with a point in every outlined nucleus beside the points that it has, and without what is ignored.

    A nucleus that has no class gives a point of no class.
    """
    image = counted_image(image)
    labels, places = innermost_pixels(image.labels)
    if image.classes is None:
        classes = np.zeros(len(labels), np.int32)
    else:
        classes = image.classes[labels].astype(np.int32)
    if image.points is None:
        return replace(image, points=places, point_classes=classes)
    if image.point_classes is None:
        known = np.zeros(len(image.points), np.int32)
    else:
        known = image.point_classes
    return replace(image, points=np.concatenate([places, image.points]), point_classes=np.concatenate([classes, known]))


def innermost_pixels(labels: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """(n,) numbers, ascending, and (n, 2) (y, x) of the pixel of each nucleus that is farthest from its border.

    Unlike the centroid it lies in the nucleus, however bent that is.

    Examples
    --------
    >>> innermost_pixels(np.array([[2, 2, 2, 0, 1]], np.int32))
    (array([1, 2]), array([[0., 4.],
           [0., 1.]]))
    """
    numbers = []
    places = []
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        # With a rim, so that the border is seen where the nucleus fills its box.
        depth = ndimage.distance_transform_edt(np.pad(labels[window] == number, 1))
        y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
        numbers.append(number)
        places.append((window[0].start + y - 1, window[1].start + x - 1))
    return np.array(numbers, np.intp), np.array(places, np.float64).reshape(-1, 2)
