"""Nuclei as transparent pictures: outlines where they are large, dots where they are small, further out a density.

The density is what one would see of filled nuclei from far away: a pixel is as opaque as the share of it that nuclei
cover, lifted a little, so that the look does not change with the zoom and tissue stays visible.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsinuc.grid import Box
from wsinuc.workflows.view.tiles.style import Paint

OUTLINES_PX = 8.0
"""Pixels of a nucleus' diameter from which outlines are drawn."""
DOTS_PX = 2.5
"""Pixels of a nucleus' diameter from which single dots are drawn."""
LINE_PX = 1.8
_FILL_ALPHA = 90
_DOT_ALPHA = 235
_DENSITY_ALPHA = 215
_LIFT = 2.2
"""By how much the covered share is lifted: tissue of which a third is nuclei is half opaque."""
_SUPERSAMPLED = 2
_SPREAD = 0.35
_TRUNCATE = 3.0
_NOTHING = 1e-6
RGBA = NDArray[np.uint8]


def draw_nuclei(paint: Paint, box: Box, down: float) -> RGBA:
    """A transparent picture ``(h, w, 4)`` of the nuclei in a box.

    Parameters
    ----------
    paint
        Which nuclei, in which colours.
    box
        In pixels of the picture.
    down
        Level-0 pixels per pixel of the picture.

    Raises
    ------
    DataError
        A part of the table is damaged.
    """
    size = paint.table.diameter / down
    if size >= OUTLINES_PX:
        return _outlines(paint, box, down)
    if size >= DOTS_PX:
        return _dots(paint, box, down, size)
    return _density(paint, box, down, size)


def _outlines(paint: Paint, box: Box, down: float) -> RGBA:
    # Compiled, which is asked for when the first outlines are drawn.
    from wsinuc.exports.pictures.strokes import edge_midpoints, every_nth, stroke
    from wsinuc.labels import take_rings

    table = paint.table
    overlay = np.zeros((*box.shape, 4), np.uint8)
    scale = np.asarray(table.frame.downsample) / down
    corner = np.array((box.y0, box.x0), np.float64)
    for part in table.parts_in(*(edge * down for edge in (box.y0, box.x0, box.y1, box.x1))):
        rings = table.rings(part)
        near = (rings.boxes[:, :2] * scale < corner + box.shape) & (rings.boxes[:, 2:] * scale > corner)
        rows = paint.shown(table.starts[part] + np.flatnonzero(near.all(axis=1)))
        if not len(rows):
            continue
        outlines, offsets = take_rings(rings.corners, rings.offsets, (rows - table.starts[part]).astype(np.intp))
        points, offsets = edge_midpoints(outlines, offsets)
        # Points stay at most a pixel of the picture apart: closer ones cost time and show nothing.
        points, offsets = every_nth(points, offsets, max(1, int(1 / scale.max())))
        points = points * scale - corner
        colors = paint.colors[paint.indices(rows)]
        if paint.style.filled:
            _fill(points, offsets, colors, overlay)
        stroke(points, offsets, colors, overlay, width=LINE_PX, opacity=255)
    return overlay


def _fill(points: NDArray[np.float64], offsets: NDArray[np.int64], colors: NDArray[np.uint8], overlay: RGBA) -> None:
    """Fill rings of points (y, x), half transparent."""
    height, width = overlay.shape[:2]
    canvas = Image.new("RGBA", (width * _SUPERSAMPLED, height * _SUPERSAMPLED))
    draw = ImageDraw.Draw(canvas)
    corners = (points[:, ::-1] * _SUPERSAMPLED).tolist()
    ends = offsets.tolist()
    for number, color in enumerate(colors.tolist()):
        ring = [tuple(corner) for corner in corners[ends[number] : ends[number + 1]]]
        if len(ring) > 2:
            draw.polygon(ring, fill=(*color, _FILL_ALPHA))
    drawn = np.asarray(canvas.reduce(_SUPERSAMPLED))
    inside = drawn[..., 3] > overlay[..., 3]
    overlay[inside] = drawn[inside]


def _dots(paint: Paint, box: Box, down: float, size: float) -> RGBA:
    radius = max(1.0, 0.4 * size)
    reach = math.ceil(radius) + 1
    rows = _rows(paint, box.grow(reach), down)
    height, width = box.shape
    colors = paint.colors[paint.indices(rows)]
    # With room around it for dots whose centre lies outside.
    flat = np.zeros(((height + 4 * reach) * (width + 4 * reach), 4), np.uint8)
    stride = width + 4 * reach
    y = np.floor(paint.table.y[rows] / down).astype(np.int64) - box.y0 + 2 * reach
    x = np.floor(paint.table.x[rows] / down).astype(np.int64) - box.x0 + 2 * reach
    for dy, dx, alpha in _disc(round(radius, 1)):
        places = (y + dy) * stride + x + dx
        over = alpha > flat[places, 3]
        flat[places[over], :3] = colors[over]
        flat[places[over], 3] = alpha
    drawn = flat.reshape(height + 4 * reach, stride, 4)
    return np.ascontiguousarray(drawn[2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width])


@cache
def _disc(radius: float) -> list[tuple[int, int, int]]:
    """Steps (y, x) from the middle of a dot to its pixels, and how opaque each is."""
    reach = math.ceil(radius)
    pixels = []
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            alpha = round(_DOT_ALPHA * min(1.0, max(0.0, radius + 0.5 - math.hypot(dy, dx))))
            if alpha:
                pixels.append((dy, dx, alpha))
    return pixels


def _density(paint: Paint, box: Box, down: float, size: float) -> RGBA:
    # Takes a third of a second, which the first answer does without.
    from scipy import ndimage

    # Spread a little, as far as a nucleus is wide; the room around makes neighbouring tiles agree.
    sigma = _SPREAD * size
    room = math.ceil(_TRUNCATE * sigma)
    wide = box.grow(room)
    sums = sums_in(paint, _rows(paint, wide, down), wide, down)
    spread = ndimage.gaussian_filter(sums, (sigma, sigma, 0), truncate=_TRUNCATE)
    return covered(spread[room : room + box.shape[0], room : room + box.shape[1]], size)


def sums_in(paint: Paint, rows: NDArray[np.int64], box: Box, down: float) -> NDArray[np.float32]:
    """Nuclei in each pixel of a box, and the sums of their red, green and blue, float32 ``(h, w, 4)``."""
    height, width = box.shape
    y = (paint.table.y[rows] / np.float32(down)).astype(np.int32) - box.y0
    x = (paint.table.x[rows] / np.float32(down)).astype(np.int32) - box.x0
    # A centroid on an edge may be rounded to the next pixel.
    places = np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1)
    indices = paint.indices(rows)
    colors = paint.colors.astype(np.float32)
    sums = np.empty((height * width, 4), np.float32)
    sums[:, 0] = np.bincount(places, minlength=height * width)
    for channel in range(3):
        sums[:, 1 + channel] = np.bincount(places, colors[indices, channel], height * width)
    return sums.reshape(height, width, 4)


def covered(sums: NDArray[np.float32], size: float) -> RGBA:
    """A density as a picture.

    Parameters
    ----------
    sums
        (h, w, 4): nuclei in each pixel, and the sums of their red, green and blue.
    size
        Diameter of a nucleus in pixels.
    """
    count = sums[..., 0]
    picture = np.zeros((*count.shape, 4), np.uint8)
    picture[..., :3] = np.round(sums[..., 1:] / np.maximum(count, _NOTHING)[..., None])
    share = count * (math.pi / 4 * size**2)
    picture[..., 3] = np.round(_DENSITY_ALPHA * (1 - np.exp(-_LIFT * share)))
    return picture


def _rows(paint: Paint, box: Box, down: float) -> NDArray[np.int64]:
    return paint.shown(paint.table.rows_in(box.y0 * down, box.x0 * down, box.y1 * down, box.x1 * down))
