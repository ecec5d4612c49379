"""The border of the region of interest, drawn over a picture of the slide or of a part of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsinuc.grid import Box
from wsinuc.tissue import Region

REGION_COLOR = (0, 0, 0)

_HALO = (255, 255, 255)  # below the line, so that it shows on any tissue
_WIDTH = 2
_OUTSIDE = 1e6  # px beyond which a corner is moved inwards: the drawing library takes no larger numbers


def draw_region(picture: Image.Image, region: Region, box: Box, downsample: tuple[float, float]) -> None:
    """Draw the border of a region.

    Parameters
    ----------
    picture
        RGB of ``box`` at any size; drawn into.
    region
        Its polygons.
    box
        In view pixels.
    downsample
        Level-0 pixels per view pixel, (y, x).
    """
    rings = list(_rings(region, box, downsample, picture.width / box.shape[1], picture.height / box.shape[0]))
    draw = ImageDraw.Draw(picture)
    for width, color in ((_WIDTH + 2, _HALO), (_WIDTH, REGION_COLOR)):
        for ring in rings:
            draw.line([*ring, *ring[:2]], fill=color, width=width)


def _rings(
    region: Region, box: Box, downsample: tuple[float, float], scale_x: float, scale_y: float
) -> list[list[float]]:
    """Corners x, y, x, y, ... of each ring in pixels of the picture, at least a pixel apart."""
    outlines = region.outlines
    xy = (outlines.xy / (downsample[1], downsample[0]) - (box.x0, box.y0)) * (scale_x, scale_y)
    xy = np.clip(xy, -_OUTSIDE, _OUTSIDE)
    starts = np.concatenate([[0], outlines.ring_ends[:-1]])
    rings = (xy[start:stop] for start, stop in zip(starts, outlines.ring_ends, strict=True))
    return [_apart(ring).ravel().tolist() for ring in rings]


def _apart(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners without those that lie in the pixel of the one before: a brush leaves thousands of them."""
    pixels = np.floor(corners)
    is_new = np.ones(len(corners), np.bool_)
    is_new[1:] = (pixels[1:] != pixels[:-1]).any(axis=1)
    return corners[is_new]
