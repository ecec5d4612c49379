"""Outlines of nuclei over their pixels, as an array: what a notebook shows with ``plt.imshow``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.exports.pictures.strokes import edge_midpoints, stroke
from wsinuc.grid import Box
from wsinuc.labels import trace_outlines

LINE = 1.5
"""Width of an outline in pixels of the picture."""


def draw_outlines(
    pixels: NDArray[np.uint8],
    outlines: NDArray[np.int32],
    offsets: NDArray[np.int64],
    colors: NDArray[np.uint8],
    *,
    scale: tuple[float, float] = (1.0, 1.0),
) -> NDArray[np.uint8]:
    """A copy of pixels with outlines over them.

    Parameters
    ----------
    pixels
        RGB, uint8 ``(h, w, 3)``.
    outlines, offsets
        Corners (y, x) of all rings, as `wsinuc.labels.trace_outlines` returns them.
    colors
        RGB, uint8 ``(n, 3)``, one per ring.
    scale
        Pixels of the picture per unit of the corners, (y, x).

    Returns
    -------
    RGB, uint8 ``(h, w, 3)``.
    """
    lines = np.zeros((*pixels.shape[:2], 4), np.uint8)
    points, ends = edge_midpoints(outlines, offsets)
    stroke(points * np.asarray(scale), ends, np.ascontiguousarray(colors, np.uint8), lines, width=LINE, opacity=255)
    opacity = lines[..., 3:].astype(np.float32) / 255
    mixed = pixels * (1 - opacity) + lines[..., :3] * opacity
    picture: NDArray[np.uint8] = mixed.round().astype(np.uint8)
    return picture


def draw_labels(
    pixels: NDArray[np.uint8],
    box: Box,
    labels: NDArray[np.integer],
    classes: NDArray[np.uint8],
    around: Box,
    colors: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """A copy of pixels with the outlines of labels that are known of a larger box.

    Parameters
    ----------
    pixels
        RGB, uint8 ``(h, w, 3)`` of ``box``.
    labels, classes
        Ids, and 1 + index of the class, ``(h, w)`` of ``around``; 0 is background.
    colors
        RGB, uint8 ``(n, 3)``, one per class.

    Returns
    -------
    RGB, uint8 ``(h, w, 3)``.
    """
    # Ids of a slide reach millions, and memory grows with the largest.
    numbers, first, dense = np.unique(labels, return_index=True, return_inverse=True)
    ids = dense.reshape(labels.shape).astype(np.int32)
    if numbers[0] != 0:
        ids += 1
        first = np.concatenate([[0], first])
    found, outlines, offsets = trace_outlines(ids)
    indices = classes.ravel()[first[found]].astype(np.intp) - 1
    outlines += np.array([around.y0 - box.y0, around.x0 - box.x0], np.int32)
    return draw_outlines(pixels, outlines, offsets, colors[indices])
