"""Ordinary images as slides of one level: PNG, JPEG and plain TIFF.

Such a file is decoded whole, at the first read, and kept as it is stored; boxes become RGB as they
are read. So an image takes no more memory than its own samples, which are counted, with what a
progressive JPEG needs besides, before anything is decoded. A photo's dots per inch say nothing
about the microscope and are not looked at; an OME or Aperio header is.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin

from wsinuc.errors import SlideError
from wsinuc.grid import Box
from wsinuc.slides.base import Slide, SlideHeader, local_file
from wsinuc.slides.dialect import Dialect, bits_note
from wsinuc.slides.tiff.layout import read_layout
from wsinuc.slides.tiff.reader import header_of, is_tiff, open_tiff, understood
from wsinuc.slides.tiff.segments import SegmentReader
from wsinuc.slides.turn import exif_orientation
from wsinuc.urls import Place

MAX_PIXELS = 2**29
"""Largest image that is decoded whole: 23,170 x 23,170 pixels."""
MAX_BYTES = 3 * MAX_PIXELS
"""Most memory that its samples may take, 1.6 GB: that many pixels in RGB, fewer with transparency or 16 bits."""
MAX_INFLATION = {"png": 1100, "jpeg": 4000}
"""Bytes of samples that one byte of a file can hold at most: deflate's limit, and a JPEG of one colour."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type, once decoded
_JPEG_SAMPLES = {"L": 1, "RGB": 3, "CMYK": 4}
_JPEG_END = b"\xff\xd9"  # EOI
_START_OF_SCAN = 0xDA  # second byte of SOS; sizes and tables stand before it
_PNG_BITS = 24  # offset of the bit depth in a PNG file; the colour type follows


class ImageSlide(Slide):
    """A PNG, JPEG or plain TIFF; without an OME or Aperio header its resolution must be given."""

    reader = "image"

    def __init__(self, path: Place, *, mpp: float | None = None) -> None:
        self._dialect = Dialect()
        super().__init__(local_file(path), mpp=mpp)

    def _open(self) -> Any:
        """The whole image as it is stored, ``(h, w, samples)``."""
        assert isinstance(self.path, Path)
        if is_tiff(self.path):
            return _decode_tiff(self.path)
        return _decode_image(self.path)

    def _describe(self) -> SlideHeader:
        assert isinstance(self.path, Path)
        if is_tiff(self.path):
            header, self._dialect = _describe_tiff(self.path)
            return header
        stored = _look_at(self.path)
        notes: tuple[str, ...] = ()
        self._dialect = stored.dialect
        # How many bits of 16 mean something shows in the pixels only.
        if stored.sample_bytes > 1:
            largest = int(self._acquire().max())
            bits = max(8, largest.bit_length())
            self._dialect = replace(self._dialect, bits=bits)
            notes = (bits_note(bits, 16, f"the largest in the image is {largest}"),)
        return SlideHeader(
            vendor=stored.kind,
            level_shapes=(self._dialect.turn.shape(stored.shape),),
            dialect="rgb" if self._dialect.is_plain else self._dialect.identity,
            notes=(*notes, *self._dialect.notes),
        )

    def _decode(self, handle: Any, box: Box, level: int) -> NDArray[np.uint8]:
        turn = self._dialect.turn
        stored = turn.stored_box(box, handle.shape[:2])
        return np.array(turn.apply(self._dialect.to_rgb(handle[stored.slices])), order="C")


def check_size(name: str, shape: tuple[int, int], bytes_per_pixel: float) -> None:
    """Raise SlideError for an image that is too large to be decoded whole.

    Parameters
    ----------
    bytes_per_pixel
        Memory that decoding takes at its peak.
    """
    pixels = math.prod(shape)
    if pixels > MAX_PIXELS or pixels * bytes_per_pixel > MAX_BYTES:
        raise SlideError(
            f"{name}: {pixels / 1e6:,.0f} million pixels of {bytes_per_pixel:.3g} bytes in a plain image, at most "
            f"{MAX_PIXELS / 1e6:,.0f} million and {MAX_BYTES / 1e9:.1f} GB are decoded at once: "
            "convert it to a tiled, pyramidal TIFF"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the header of a PNG or JPEG says."""

    kind: str
    shape: tuple[int, int]
    dialect: Dialect
    sample_bytes: int = 1
    inverted: bool = False
    """Inks are stored as what they leave of the light, as Adobe's programs do."""


def _look_at(path: Path) -> _Stored:
    """The header of an image; raises ValueError or SlideError when it is of another kind, or too large."""
    with path.open("rb") as file:
        start = file.read(_PNG_BITS + 2)
    size = path.stat().st_size
    if start.startswith(_PNG_MAGIC) and len(start) == _PNG_BITS + 2:
        with PngImagePlugin.PngImageFile(path) as image:
            return _look_at_png(image, start[_PNG_BITS], start[_PNG_BITS + 1], path.name, size)
    if start.startswith(_JPEG_MAGIC):
        # By its class: Image.open refuses large but honest images.
        with JpegImagePlugin.JpegImageFile(path) as image:
            return _look_at_jpeg(image, path, size)
    raise ValueError("neither PNG nor JPEG nor TIFF")


def _look_at_png(image: Image.Image, bits: int, color_type: int, name: str, size: int) -> _Stored:
    samples = _PNG_SAMPLES[color_type]
    # A tRNS chunk makes one colour, or entries of the palette, transparent: the decoder adds a channel.
    if color_type in (0, 2, 3) and "transparency" in image.info:
        samples += 1
    shape = image.height, image.width
    # Of a palette the indices are stored.
    stored = 1 if color_type == 3 else _PNG_SAMPLES[color_type]
    row = math.ceil(image.width * bits * stored / 8)
    _check_inflation(name, row * image.height, size, "png")
    check_size(name, shape, samples * (2 if bits == 16 else 1))
    # Pillow's getexif may decode the whole image.
    orientation = exif_orientation(image.info.get("exif"))
    dialect = Dialect(
        color="grey" if samples < 3 else "rgb",
        bits=max(bits, 8),
        alpha="straight" if samples in (2, 4) else "none",
        orientation=orientation,
    )
    return _Stored(kind="png", shape=shape, dialect=dialect, sample_bytes=2 if bits == 16 else 1)


def _look_at_jpeg(image: JpegImagePlugin.JpegImageFile, path: Path, size: int) -> _Stored:
    name = path.name
    samples = _JPEG_SAMPLES[image.mode]
    shape = image.height, image.width
    _check_inflation(name, math.prod(shape), size, "jpeg")
    # A baseline file may have several scans, too, one for each colour; both kinds need all coefficients at once.
    several = bool(image.info.get("progressive")) or _first_scan(path)[0] != samples
    check_size(name, shape, samples + (_coefficients(image) if several else 0))
    color = {1: "grey", 3: "rgb", 4: "cmyk"}[samples]
    dialect = Dialect(color=color, orientation=exif_orientation(image.info.get("exif")))
    return _Stored(kind="jpeg", shape=shape, dialect=dialect, inverted=samples == 4 and "adobe" in image.info)


def _first_scan(path: Path) -> tuple[int, int]:
    """How many colours the first scan of a JPEG holds, and where it begins; 0 colours when that cannot be told."""
    with path.open("rb") as file:
        file.seek(2)
        while True:
            marker = file.read(2)
            length = int.from_bytes(file.read(2), "big")
            if len(marker) < 2 or marker[0] != 0xFF or length < 2:
                return 0, 2
            if marker[1] == _START_OF_SCAN:
                return int.from_bytes(file.read(1), "big"), file.tell()
            file.seek(length - 2, 1)


def _coefficients(image: JpegImagePlugin.JpegImageFile) -> float:
    """Bytes per pixel that the decoder keeps besides the image, all coefficients, where they come in several scans."""
    # Colour is often stored with half the resolution along each axis, so a channel has a share of the largest one's.
    areas = [across * down for _, across, down, _ in image.layer]
    largest = max(across for _, across, _, _ in image.layer) * max(down for _, _, down, _ in image.layer)
    return 2 * sum(areas) / largest


def _check_inflation(name: str, declared: int, size: int, kind: str) -> None:
    # The constant is for small honest images, whose headers outweigh their pixels.
    if declared > MAX_INFLATION[kind] * size + 2**16:
        raise SlideError(
            f"{name}: claims {declared:,} bytes of pixels, more than a file of {size:,} bytes can hold: "
            "damaged or incomplete"
        )


def _decode_image(path: Path) -> NDArray[Any]:
    stored = _look_at(path)
    if stored.kind == "png":
        decode = imagecodecs.png_decode
    else:
        decode = imagecodecs.jpeg8_decode
    # Mapped, so that the compressed bytes are not copied into memory beside the pixels.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # The decoder paints what is missing grey; an end that belongs to a thumbnail stands before the first scan.
        if stored.kind == "jpeg" and data.rfind(_JPEG_END) < _first_scan(path)[1]:
            raise ValueError("the end of the JPEG is missing")
        samples = decode(data)
    if samples.shape[:2] != stored.shape:
        raise ValueError(f"expected {stored.shape} pixels, got {samples.shape[:2]}")
    if stored.inverted:
        np.subtract(255, samples, out=samples)
    return samples.reshape(*stored.shape, samples.size // math.prod(stored.shape))


def _describe_tiff(path: Path) -> tuple[SlideHeader, Dialect]:
    with open_tiff(path) as tiff:
        layout = read_layout(tiff, path.name)
        first = layout.first
        if len(layout.levels[0]) > 1:
            samples = len(layout.levels[0])
        else:
            samples = first.samplesperpixel
        check_size(path.name, (first.imagelength, first.imagewidth), samples * layout.sample_bytes)
        layout = replace(layout, levels=layout.levels[:1])
        dialect, notes = understood(layout, SegmentReader(tiff, keep=0), path.name)
        return header_of(layout, dialect, notes), dialect


def _decode_tiff(path: Path) -> NDArray[Any]:
    with open_tiff(path) as tiff:
        layout = read_layout(tiff, path.name)
        # Nothing is kept of what was decoded: each strip is wanted once.
        whole = Box.of_shape((layout.first.imagelength, layout.first.imagewidth))
        return SegmentReader(tiff, keep=0).read(layout.levels[0], whole, layout.dialect)
