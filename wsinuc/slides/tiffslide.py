"""Slides that tiffslide reads: TIFFs in scanners' own formats, in Python, by way of tifffile.

It knows what makers write into them, reads them on object stores (it asks for the blocks of a file
that hold the tiles), opens some that OpenSlide refuses, and is the second opinion on the others.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import tiffslide
from numpy.typing import NDArray

from wsinuc.grid import Box
from wsinuc.slides.base import Slide, SlideHeader, bounds_from_properties, power_from_properties
from wsinuc.slides.resolution import mpp_from_ome, mpp_from_properties
from wsinuc.urls import Place, Url


class _LevelSlide(tiffslide.TiffSlide):
    """Takes locations in the level's own pixels, so that none is rounded."""

    def _read_region_loc_transform(self, location: tuple[int, int], level: int) -> tuple[int, int]:
        return location


class _Handle:
    """An open slide and whose turn it is; closes the file when the last reader lets go."""

    def __init__(self, slide: tiffslide.TiffSlide) -> None:
        self.slide = slide
        self.lock = threading.Lock()

    def __del__(self) -> None:
        self.slide.close()


class TiffSlideSlide(Slide):
    """A slide read by tiffslide; reads take turns, because it gains nothing from threads."""

    reader = "tiffslide"

    def __init__(self, path: Place, *, mpp: float | None = None) -> None:
        super().__init__(path, mpp=mpp)

    def _open(self) -> Any:
        assert self.path is not None
        if isinstance(self.path, Url):
            file: Any = self.path.open()
            slide = _LevelSlide(file, tifffile_options={"name": self.name})
        else:
            slide = _LevelSlide(str(self.path))
        handle = _Handle(slide)  # from here on the file closes whatever is raised
        _refuse_other_than_rgb(slide)
        return handle

    def _describe(self) -> SlideHeader:
        slide = self._acquire().slide
        properties = {key: str(value) for key, value in slide.properties.items() if value is not None}
        ome = slide.ts_tifffile.ome_metadata
        ome_mpp = None if ome is None else mpp_from_ome(ome)
        return SlideHeader(
            vendor=properties.get("tiffslide.vendor", "ome-tiff" if ome else "tiff"),
            level_shapes=tuple((height, width) for width, height in slide.level_dimensions),
            # tiffslide does not look at OME-XML.
            mpp_yx=ome_mpp or mpp_from_properties(properties, "tiffslide"),
            mpp_source="OME PhysicalSizeX, PhysicalSizeY" if ome_mpp else "tiffslide.mpp-x, tiffslide.mpp-y",
            objective_power=power_from_properties(properties, "tiffslide"),
            bounds=bounds_from_properties(properties, "tiffslide"),
            associated=tuple(slide.associated_images),
            properties=properties,
        )

    def _decode(self, handle: Any, box: Box, level: int) -> NDArray[np.uint8]:
        height, width = box.shape
        with handle.lock:
            pixels = handle.slide.read_region((box.x0, box.y0), level, (width, height), as_array=True, padding=False)
        if pixels.shape != (height, width, 3):
            raise ValueError(f"got {pixels.shape} instead of {(height, width, 3)}")
        return np.ascontiguousarray(pixels)


def _refuse_other_than_rgb(slide: tiffslide.TiffSlide) -> None:
    # Reading nothing tells type and channels, at no cost.
    sample = slide.read_region((0, 0), slide.level_count - 1, (0, 0), as_array=True, padding=False)
    if sample.dtype != np.uint8 or sample.shape[2] != 3:
        raise ValueError(f"expected 8-bit RGB, got {sample.dtype} with {sample.shape[2]} channels")
