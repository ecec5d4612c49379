"""Slides that OpenSlide reads: Aperio, Hamamatsu, Leica, MIRAX, Philips, DICOM, tiled TIFF and more.

OpenSlide addresses every level by level-0 coordinates and interpolates when such a coordinate falls between two of the
level's pixels, which it often does (32,914 rows become 8,228, so "4" is 4.00024). A pixel read in two different boxes
would then differ. Levels of that kind are therefore read in whole cells with a fixed position, and boxes are cut from
them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from wsinuc.grid import Box
from wsinuc.slides.base import Slide, SlideHeader, bounds_from_properties, local_file, power_from_properties
from wsinuc.slides.resolution import mpp_from_properties
from wsinuc.urls import Place

_CELL = 256  # level pixels; about a file's own tile, so that little is decoded in vain


class OpenSlideSlide(Slide):
    """A slide read by OpenSlide; reading scales with threads."""

    reader = "openslide"

    def __init__(self, path: Place, *, mpp: float | None = None) -> None:
        super().__init__(local_file(path), mpp=mpp)

    def _open(self) -> Any:
        return openslide.OpenSlide(str(self.path))

    def _describe(self) -> SlideHeader:
        slide = self._acquire()
        properties = dict(slide.properties)
        return SlideHeader(
            vendor=properties.get("openslide.vendor", "unknown"),
            level_shapes=tuple((height, width) for width, height in slide.level_dimensions),
            mpp_yx=mpp_from_properties(properties, "openslide"),
            mpp_source="openslide.mpp-x, openslide.mpp-y",
            objective_power=power_from_properties(properties, "openslide"),
            bounds=bounds_from_properties(properties, "openslide"),
            associated=tuple(slide.associated_images),
            properties=properties,
        )

    def _decode(self, handle: Any, box: Box, level: int) -> NDArray[np.uint8]:
        if float(handle.level_downsamples[level]).is_integer():
            return _region(handle, box, level)
        pixels = np.empty((*box.shape, 3), np.uint8)
        for y in range(box.y0 // _CELL * _CELL, box.y1, _CELL):
            # A cell reaches beyond the level at its end, where OpenSlide gives transparent pixels.
            for x in range(box.x0 // _CELL * _CELL, box.x1, _CELL):
                cell = Box(y, x, y + _CELL, x + _CELL)
                wanted = cell.clip(box)
                pixels[wanted.relative_to(box).slices] = _region(handle, cell, level)[wanted.relative_to(cell).slices]
        return pixels


def _region(handle: Any, box: Box, level: int) -> NDArray[np.uint8]:
    """RGB of a box of level pixels, transparent parts on white."""
    downsample = handle.level_downsamples[level]
    height, width = box.shape
    # OpenSlide takes corners in level-0 pixels, x first, at whatever level it reads.
    corner = (round(box.x0 * downsample), round(box.y0 * downsample))
    image = handle.read_region(corner, level, (width, height))
    # Compositing is slow, and nearly all regions are opaque. Transparent is what was not scanned (MIRAX, bounds).
    if image.getchannel("A").getextrema()[0] < 255:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
