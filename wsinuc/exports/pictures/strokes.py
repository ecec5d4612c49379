"""Smooth closed lines drawn into a picture: each pixel is covered as far as it is near to a line.

A whole slide shows tens of thousands of outlines. A drawing library takes each of them from Python, several times as
large, and shrinks the result; here a compiled loop goes over all of them at once, at the size that is shown.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel


def edge_midpoints(
    outlines: NDArray[np.int32], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Middles of the pixel edges along rings: the same outlines with their stairs cut to slopes.

    Parameters
    ----------
    outlines, offsets
        Corners (y, x) of all rings, as `wsinuc.labels.trace_outlines` returns them.

    Returns
    -------
    points
        (y, x) of all middles, ring after ring.
    offsets
        Ring i is ``points[offsets[i] : offsets[i + 1]]``.
    """
    following = np.arange(1, len(outlines) + 1)
    following[offsets[1:] - 1] = offsets[:-1]
    step = outlines[following] - outlines
    lengths = np.abs(step).sum(axis=1)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    along = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths) + 0.5
    points = np.repeat(outlines, lengths, axis=0) + np.repeat(np.sign(step), lengths, axis=0) * along[:, None]
    return points, ends[offsets]


def every_nth(
    points: NDArray[np.float64], offsets: NDArray[np.int64], step: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rings of every ``step``-th point, the first one of each ring among them.

    Examples
    --------
    >>> points, offsets = every_nth(np.arange(14.0).reshape(7, 2), np.array([0, 4, 7]), 2)
    >>> points[:, 0].tolist(), offsets.tolist()
    ([0.0, 4.0, 8.0, 12.0], [0, 2, 4])
    """
    counts = np.diff(offsets)
    places = np.arange(len(points)) - np.repeat(offsets[:-1], counts)
    return points[places % step == 0], np.concatenate([[0], np.cumsum((counts + step - 1) // step)])


def stroke(
    points: NDArray[np.float64],
    offsets: NDArray[np.int64],
    colors: NDArray[np.uint8],
    overlay: NDArray[np.uint8],
    *,
    width: float,
    opacity: int,
) -> None:
    """Draw closed lines into ``overlay``; where several cover a pixel, the most opaque is seen.

    Parameters
    ----------
    points, offsets
        (y, x) in pixels of the overlay, from its upper left corner, as `edge_midpoints` returns them.
    colors
        RGB ``(n, 3)``, one per line.
    overlay
        RGBA ``(h, w, 4)``, drawn into.
    width
        In pixels.
    opacity
        1 to 255, where a line covers a pixel whole.
    """
    _stroke(points, offsets, colors, width / 2, float(opacity), overlay)


@kernel
def _stroke(
    points: NDArray[np.float64],
    offsets: NDArray[np.int64],
    colors: NDArray[np.uint8],
    radius: float,
    opacity: float,
    overlay: NDArray[np.uint8],
) -> None:
    height, width = overlay.shape[0], overlay.shape[1]
    reach = radius + 0.5
    for ring in range(len(offsets) - 1):
        first, stop = offsets[ring], offsets[ring + 1]
        for i in range(first, stop):
            j = i + 1 if i + 1 < stop else first
            ay, ax = points[i, 0], points[i, 1]
            dy, dx = points[j, 0] - ay, points[j, 1] - ax
            square = dy * dy + dx * dx
            top = max(0, math.floor(min(ay, ay + dy) - reach))
            bottom = min(height, math.ceil(max(ay, ay + dy) + reach))
            left = max(0, math.floor(min(ax, ax + dx) - reach))
            right = min(width, math.ceil(max(ax, ax + dx) + reach))
            for y in range(top, bottom):
                for x in range(left, right):
                    py, px = y + 0.5 - ay, x + 0.5 - ax
                    share = 0.0
                    if square > 0:
                        share = min(1.0, max(0.0, (py * dy + px * dx) / square))
                    distance = math.hypot(py - share * dy, px - share * dx)
                    # A pixel half a pixel beyond the rim is untouched, and one half a pixel within is covered whole.
                    alpha = np.uint8(min(1.0, max(0.0, reach - distance)) * opacity)
                    if alpha > overlay[y, x, 3]:
                        for channel in range(3):
                            overlay[y, x, channel] = colors[ring, channel]
                        overlay[y, x, 3] = alpha
