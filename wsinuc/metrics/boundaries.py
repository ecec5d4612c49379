"""How far apart two masks lie at the most: the Hausdorff distance, its 95th percentile, and what method D reports.

**Hausdorff distance** of two sets of pixels: the distance from the centre of a pixel of one set to the
nearest of the other, the largest of all, both ways; what SciPy's ``directed_hausdorff`` gives on the
coordinates, and scikit-image's ``hausdorff_distance`` on the masks. One stray pixel decides it.

**95th percentile** (HD95): from each pixel of the boundary of one mask to the nearest of the other's
boundary, the 95th percentile of these distances each way, and the larger one; what MONAI gives.
Boundaries, because most pixels lie inside both masks and would have a distance of 0. A pixel is of the
boundary when one of its four neighbours is not of the mask, or lies outside the image.

**Distance of rows**: the code published with method D (Purma et al. 2025) hands whole masks to
``directed_hausdorff``, which takes each row of pixels for one point. It is no length, and is here
only so that figures can be compared with theirs.

Where both masks are empty there is nothing to measure: NaN, which enters no mean (scikit-image says
0). Where one is, the distance is the diagonal of the image, than which nothing is farther
(scikit-image and SciPy have no finite one); rows have a distance even then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError

PERCENTILE = 95.0

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ClassDistances:
    """Distances of one image, class by class; NaN for a class that occurs on neither side."""

    hausdorff: NDArray[np.float64]
    """(classes,) Hausdorff distance in units of the pixel that was given."""
    hausdorff_95: NDArray[np.float64]
    """(classes,) the 95th percentile of boundary distances, in the same units."""
    rows: NDArray[np.float64]
    """(classes,) the distance of rows; without units."""


def class_distances(
    truth: NDArray[np.integer | np.bool_],
    predicted: NDArray[np.integer | np.bool_],
    classes: int,
    *,
    pixel: float = 1.0,
) -> ClassDistances:
    """Distances between the pixels of each class in two maps of classes.

    Parameters
    ----------
    truth, predicted
        (h, w) class of each pixel, 0 is background, at most ``classes``.
    pixel
        Side of a pixel, such as um per pixel; distances are in its units.

    Raises
    ------
    DataError
        Shapes differ.

    Examples
    --------
    >>> found = class_distances(np.array([[1, 0, 0, 0]]), np.array([[0, 0, 0, 1]]), 2, pixel=0.5)
    >>> found.hausdorff.tolist(), found.hausdorff_95.tolist()
    ([1.5, nan], [1.5, nan])
    """
    if truth.shape != predicted.shape:
        raise DataError(f"truth and prediction must have one shape, got {truth.shape} and {predicted.shape}")
    pairs = [(truth == number, predicted == number) for number in range(1, classes + 1)]
    return ClassDistances(
        hausdorff=np.array([pixel * hausdorff(*pair) for pair in pairs]),
        hausdorff_95=np.array([pixel * hausdorff_95(*pair) for pair in pairs]),
        rows=np.array([hausdorff_of_rows(*pair) for pair in pairs]),
    )


def hausdorff(truth: Mask, predicted: Mask) -> float:
    """Hausdorff distance in pixels of two masks (h, w)."""
    undefined = _without_pixels(truth, predicted)
    if undefined is not None:
        return undefined
    # Pixels that both have lie at a distance of 0, and the nearest pixel of a mask is of its boundary.
    distances = (_farthest(truth & ~predicted, boundary(predicted)), _farthest(predicted & ~truth, boundary(truth)))
    return max(distances)


def hausdorff_95(truth: Mask, predicted: Mask) -> float:
    """The 95th percentile in pixels of the distances between the boundaries of two masks (h, w), the larger way."""
    undefined = _without_pixels(truth, predicted)
    if undefined is not None:
        return undefined
    one = boundary(truth)
    other = boundary(predicted)
    ways = (_nearest(one, other), _nearest(other, one))
    return max(float(np.percentile(distances, PERCENTILE)) for distances in ways)


def hausdorff_of_rows(truth: Mask, predicted: Mask) -> float:
    """What SciPy's ``directed_hausdorff`` makes of the masks (h, w) themselves, the larger way; NaN where both are
    empty."""
    if not truth.any() and not predicted.any():
        return math.nan
    one = truth.astype(np.float64)
    other = predicted.astype(np.float64)
    # Squared distances of all pairs of rows; whole numbers, so nothing is lost.
    squared = one.sum(axis=1)[:, None] + other.sum(axis=1)[None] - 2 * one @ other.T
    return math.sqrt(max(float(squared.min(axis=1).max()), float(squared.min(axis=0).max())))


def boundary(mask: Mask) -> Mask:
    """The pixels of a mask (h, w) of whose four neighbours one is not of it.

    Examples
    --------
    >>> int(boundary(np.ones((4, 4), bool)).sum())
    12
    """
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: Mask = mask & ~inside
    return edge


def _without_pixels(truth: Mask, predicted: Mask) -> float | None:
    """The distance where a mask is empty; None where neither is."""
    if truth.any() and predicted.any():
        return None
    if truth.any() or predicted.any():
        return math.hypot(*truth.shape)
    return math.nan


def _farthest(mask: Mask, target: Mask) -> float:
    """The largest distance from a pixel of a mask, which may be empty, to the nearest of another, which is not."""
    return float(_nearest(mask, target).max(initial=0.0))


def _nearest(mask: Mask, target: Mask) -> NDArray[np.float64]:
    """The distance from each pixel of a mask to the nearest of another one."""
    # SciPy's trees take a while to import, and most of what is measured does without.
    from scipy.spatial import cKDTree

    distances: NDArray[np.float64] = cKDTree(np.argwhere(target)).query(np.argwhere(mask))[0]
    return distances
