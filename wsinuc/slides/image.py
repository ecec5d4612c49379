"""Ordinary images as slides of one level: PNG, JPEG and plain TIFF.

Such a file is decoded whole, at the first read; its size is checked before. Grey becomes RGB, transparency lies on
white, anything but 8 bits per channel is refused, because guessing how to squeeze it would change the stain. A photo's
dots per inch say nothing about the microscope and are not looked at; an OME or Aperio header is.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin

from wsinuc.errors import SlideError
from wsinuc.grid import Box
from wsinuc.slides.base import Slide, SlideHeader, local_file
from wsinuc.slides.resolution import mpp_from_ome
from wsinuc.urls import Place

MAX_PIXELS = 2**29
"""Largest image that is decoded whole: 23,170 x 23,170 pixels, 1.6 GB."""

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_BIT_DEPTH = 24  # offset of that byte in a PNG file
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")


class ImageSlide(Slide):
    """A PNG, JPEG or plain TIFF; without an OME or Aperio header its resolution must be given."""

    reader = "image"

    def __init__(self, path: Place, *, mpp: float | None = None) -> None:
        super().__init__(local_file(path), mpp=mpp)

    def _open(self) -> Any:
        assert isinstance(self.path, Path)
        if _magic(self.path)[:4] in _TIFF_MAGIC:
            return _decode_tiff(self.path)
        with _pillow(self.path) as image:
            return _on_white(image)

    def _describe(self) -> SlideHeader:
        assert isinstance(self.path, Path)
        header = _tiff_header(self.path) if _magic(self.path)[:4] in _TIFF_MAGIC else _image_header(self.path)
        pixels = math.prod(header.level_shapes[0])
        if pixels > MAX_PIXELS:
            raise SlideError(
                f"{self.name}: {pixels / 1e6:,.0f} million pixels in a plain image, at most {MAX_PIXELS / 1e6:,.0f} "
                "million are decoded at once: convert it to a tiled, pyramidal TIFF"
            )
        return header

    def _decode(self, handle: Any, box: Box, level: int) -> NDArray[np.uint8]:
        return handle[box.slices].copy()


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_PNG_BIT_DEPTH + 1)


def _pillow(path: Path) -> Image.Image:
    """The image, not yet decoded; by its class, since ``Image.open`` refuses large but honest images."""
    magic = _magic(path)
    if magic.startswith(_PNG_MAGIC):
        if magic[_PNG_BIT_DEPTH] > 8:
            raise ValueError("expected 8 bits per channel, got 16")
        image: Image.Image = PngImagePlugin.PngImageFile(path)
    elif magic.startswith(_JPEG_MAGIC):
        image = JpegImagePlugin.JpegImageFile(path)
    else:
        raise ValueError("neither PNG nor JPEG nor TIFF")
    if image.mode not in _MODES:
        raise ValueError(f"expected 8-bit RGB or grey, got mode {image.mode}")
    return image


def _image_header(path: Path) -> SlideHeader:
    with _pillow(path) as image:
        return SlideHeader(vendor=str(image.format).lower(), level_shapes=((image.height, image.width),))


def _on_white(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(image.convert("RGB"))


def _tiff_header(path: Path) -> SlideHeader:
    with tifffile.TiffFile(path) as tiff:
        page = _first_page(tiff)
        aperio = tifffile.tifffile.svs_description_metadata(page.description) if page.is_svs else {}
        mpp_yx, source = None, "none"
        if tiff.ome_metadata:
            mpp_yx, source = mpp_from_ome(tiff.ome_metadata), "OME PhysicalSizeX, PhysicalSizeY"
        elif "MPP" in aperio:
            mpp_yx, source = (float(aperio["MPP"]), float(aperio["MPP"])), "Aperio MPP"
        shape = (page.imagelength, page.imagewidth)
        return SlideHeader(vendor="tiff", level_shapes=(shape,), mpp_yx=mpp_yx, mpp_source=source)


def _first_page(tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    if not len(tiff.pages):
        raise ValueError("a TIFF file without an image")
    page = tiff.pages.first
    kinds = (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR, tifffile.PHOTOMETRIC.MINISBLACK)
    if page.dtype != np.uint8 or page.photometric not in kinds or page.samplesperpixel not in (1, 3, 4):
        raise ValueError(
            f"expected 8-bit RGB or grey, got {page.dtype} {tifffile.PHOTOMETRIC(page.photometric).name} "
            f"with {page.samplesperpixel} channels"
        )
    if len(tiff.series[0].pages) > 1 or page.imagedepth > 1:
        raise ValueError(f"expected one image, got a stack of {len(tiff.series[0].pages)}")
    return page


def _decode_tiff(path: Path) -> NDArray[np.uint8]:
    with tifffile.TiffFile(path) as tiff:
        page = _first_page(tiff)
        pixels = page.asarray()
        planar = page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    if planar:
        pixels = np.moveaxis(pixels, 0, -1)
    return _on_white(Image.fromarray(np.ascontiguousarray(pixels)))
