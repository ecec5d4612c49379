"""Tissue drawn together until nuclei touch: crowds whose borders are real, which few annotated images have.

Networks learn to part nuclei that touch from those that do. Where annotations come from sparse
tissue, or leave a gap between any two nuclei, there is nothing to learn it from. Here paths of
background that run from one side of the image to the other are taken out, the least conspicuous
first (seam carving: Avidan & Shamir 2007), and never one that crosses a nucleus: nuclei keep their
pixels, their own edge among them, and only come nearer to each other. (Copies pasted side by side,
see `wsinuc.datasets.augmentation.crowding`, bring a foreign edge along, and networks come to see
such edges inside large nuclei too.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.kernels import kernel

_NUCLEUS = np.float32(1e6)  # a path costs less than this unless it crosses a nucleus
_RIM = np.float32(10)  # of a pixel that touches a nucleus: the last to go
_FAR = 12  # px: from here on it does not matter how far the next nucleus is
_NEAR = np.float32(0.5)  # more per px away from it, so gaps between neighbours go before open ground
_EDGE = np.float32(0.1)  # per grey level that the background changes over a px: structures are kept
_GRAIN = 2.0  # random part: the same place is drawn together in another way each time


def compacted(
    image: NDArray[np.uint8], labels: NDArray[np.int32], rng: np.random.Generator, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The image with background taken out until it has ``size`` rows and columns, or no more can be taken.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``.
    labels
        int32 ``(h, w)``, 0 is background.
    size
        An axis that is no longer than this stays as it is.

    Returns
    -------
    tuple
        A new image and new labels, at most as large as those given. Every nucleus keeps its pixels.
    """
    # Columns, then rows, each as the columns of the transposed image.
    for _ in range(2):
        wanted = min(size, labels.shape[1])
        energy = _conspicuous(image, labels, rng)
        pixels = np.array(image, order="C")
        numbers = np.array(labels, order="C")
        width = _carve(pixels, numbers, energy, wanted, _NUCLEUS)
        image = np.swapaxes(pixels[:, :width], 0, 1)
        labels = np.swapaxes(numbers[:, :width], 0, 1)
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _conspicuous(image: NDArray[np.uint8], labels: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.float32]:
    """What it costs to take out each pixel."""
    # Without a nucleus there is nothing that distances could be measured from.
    if labels.any():
        away = ndimage.distance_transform_edt(labels == 0)
    else:
        away = np.full(labels.shape, np.inf)
    edges = ndimage.gaussian_gradient_magnitude(image.mean(axis=2, dtype=np.float32), 1.0)
    energy: NDArray[np.float32] = 1 + rng.uniform(0, _GRAIN, labels.shape).astype(np.float32) + _EDGE * edges
    energy += _NEAR * np.minimum(away, _FAR).astype(np.float32)
    energy[away <= 1] += _RIM
    energy[labels > 0] = _NUCLEUS
    return energy


@kernel
def _carve(
    image: NDArray[np.uint8], labels: NDArray[np.int32], energy: NDArray[np.float32], wanted: int, blocked: np.float32
) -> int:
    """Take out the cheapest paths from top to bottom, in place, until ``wanted`` columns are left.

    The first so many columns as it returns hold what is left.
    """
    height: int = labels.shape[0]
    width: int = labels.shape[1]
    while width > wanted:
        path, cost = _cheapest(energy[:, :width])
        if cost >= blocked:
            break
        width -= 1
        # What lies behind the path moves up by one; the last column is left as it is and does not count any more.
        for y in range(height):
            for x in range(path[y], width):
                image[y, x] = image[y, x + 1]
                labels[y, x] = labels[y, x + 1]
                energy[y, x] = energy[y, x + 1]
    return width


@kernel
def _cheapest(energy: NDArray[np.float32]) -> tuple[NDArray[np.int64], np.float32]:
    """Column of the cheapest 8-connected path in every row, and what it costs; of equally cheap ones the leftmost."""
    height, width = energy.shape
    cost = np.empty((height, width), np.float32)
    cost[0] = energy[0]
    for y in range(1, height):
        for x in range(width):
            least = cost[y - 1, x]
            if x > 0:
                least = min(least, cost[y - 1, x - 1])
            if x < width - 1:
                least = min(least, cost[y - 1, x + 1])
            cost[y, x] = energy[y, x] + least
    path = np.empty(height, np.int64)
    path[height - 1] = np.argmin(cost[height - 1])
    for y in range(height - 2, -1, -1):
        first = max(path[y + 1] - 1, 0)
        path[y] = first + np.argmin(cost[y, first : path[y + 1] + 2])
    return path, cost[height - 1, path[height - 1]]
