"""The images of a TIFF file, and whether what it claims of them can be.

A file of a kilobyte can claim a billion pixels a side; libraries then allocate, or loop. What a file claims is held
against sane bounds and against its own size here, before any library decodes a pixel of it. The directories themselves
are followed by ``walk``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import BinaryIO, cast

import tifffile
from tifffile import PLANARCONFIG

from wsinuc.errors import RemoteError, SlideError
from wsinuc.slides.tiff.walk import MAX_DIRECTORIES, CircleError, TiffNumbers, walk

MAX_SIDE = 4_000_000
"""Largest side of an image in pixels: a metre of glass at 0.25 um per pixel."""
MAX_TILE_SIDE = 65_536
"""Largest side of a tile in pixels."""
MAX_SAMPLES = 64
"""Most samples of a pixel."""
MAX_SEGMENT = 2**29
"""Largest strip or tile in bytes after unpacking, 512 MiB: a strip is unpacked whole."""


class DirectoryError(SlideError):
    """A TIFF claims what no honest file holds; no reader should touch it."""


@dataclass(frozen=True, slots=True)
class Directory:
    """One image of a TIFF file."""

    page: tifffile.TiffPage
    below: tuple[tifffile.TiffPage, ...] = ()
    """Those that its SubIFDs tag lists, as a rule smaller versions of it."""


def directories(tiff: tifffile.TiffFile, name: str) -> tuple[Directory, ...]:
    """The images of a TIFF file; none of their pixels is read.

    Directories that cannot be read end the list, as the end of an incomplete copy does.

    Raises
    ------
    DirectoryError
        Directories in a circle, too many of them, or a size that is absurd or at odds with what the file lists.
    """
    images: dict[int, tuple[tifffile.TiffPage, list[tifffile.TiffPage]]] = {}
    count = 0
    try:
        for raw in walk(cast(BinaryIO, tiff.filehandle), _numbers(tiff), _first(tiff), nested=False):
            page = _page(tiff, raw.offset, index=len(images))
            if page is None and raw.parent is None:
                break
            if page is None:
                continue
            count += 1
            if count > MAX_DIRECTORIES:
                raise DirectoryError(f"{name}: more than {MAX_DIRECTORIES} images in one TIFF: no slide has so many")
            _check(page, tiff, name)
            if raw.parent is None:
                images[raw.offset] = (page, [])
            else:
                images[raw.parent][1].append(page)
    except CircleError:
        raise DirectoryError(
            f"{name}: its TIFF directories follow each other in a circle: damaged, copy it again"
        ) from None
    return tuple(Directory(page, tuple(below)) for page, below in images.values())


def _first(tiff: tifffile.TiffFile) -> int:
    """Offset of the first directory; 0 when it cannot be read."""
    try:
        return int(tiff.pages.first.offset)
    except RemoteError:
        raise
    except Exception:  # tifffile raises index, value, struct, key and its own errors
        return 0


def _numbers(tiff: tifffile.TiffFile) -> TiffNumbers:
    # tifffile knows NDPI by tags that Hamamatsu alone writes, and reads its offsets with 64 bits above 4 GiB.
    return TiffNumbers(tiff.byteorder, big=tiff.is_bigtiff, wide_next=tiff.tiff.offsetsize == 8)


def _page(tiff: tifffile.TiffFile, offset: int, index: int) -> tifffile.TiffPage | None:
    """The image of the directory at an offset; None where tifffile cannot read it."""
    if not 8 <= offset < tiff.filehandle.size:
        return None
    tiff.filehandle.seek(offset)
    try:
        return tifffile.TiffPage(tiff, index)
    except RemoteError:
        raise
    except Exception:  # as in _first
        return None


_ONE_NUMBER = ("imagewidth", "imagelength", "imagedepth", "tilewidth", "tilelength", "samplesperpixel", "rowsperstrip")


def _check(page: tifffile.TiffPage, tiff: tifffile.TiffFile, name: str) -> None:
    for attribute in _ONE_NUMBER:
        value = getattr(page, attribute)
        if not isinstance(value, int):
            raise DirectoryError(f"{name}: its {attribute} must be one whole number, got {str(value)[:60]}: damaged")
    width = page.imagewidth
    height = page.imagelength
    # From here on these are numbers, and libraries allocate by them.
    if max(width, height) > MAX_SIDE:
        raise DirectoryError(f"{name}: claims an image of {width} x {height} pixels: damaged, no glass is so large")
    if page.is_tiled and max(page.tilewidth, page.tilelength) > MAX_TILE_SIDE:
        raise DirectoryError(f"{name}: claims tiles of {page.tilewidth} x {page.tilelength} pixels: damaged")
    if page.samplesperpixel > MAX_SAMPLES or page.imagedepth > MAX_SIDE:
        raise DirectoryError(f"{name}: claims {page.samplesperpixel} samples for each pixel: damaged")
    if tiff.is_ndpi or not width or not height or page.dtype is None:
        return  # Hamamatsu lists its tiles in a way of its own
    # A reader that trusts the size would look for tiles beyond the end of these lists.
    needed = math.prod(page.chunked)
    if needed > len(page.dataoffsets):
        kind = "tiles" if page.is_tiled else "strips"
        raise DirectoryError(
            f"{name}: {width} x {height} pixels need {needed} {kind}, the file lists {len(page.dataoffsets)}: "
            "damaged or incomplete, copy it again"
        )


def check_segments(page: tifffile.TiffPage, name: str) -> None:
    """Raise DirectoryError when a strip or tile is too large to be unpacked; called for what will be decoded."""
    if page.is_tiled:
        rows = page.tilelength
    else:
        rows = min(page.rowsperstrip, page.imagelength)
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    if page.planarconfig == PLANARCONFIG.CONTIG:
        together = page.samplesperpixel
    else:
        together = 1
    size = rows * columns * together * (1 if page.dtype is None else page.dtype.itemsize)
    if size > MAX_SEGMENT and not reads_by_row(page):
        raise DirectoryError(
            f"{name}: one strip or tile unpacks to {size / 2**20:,.0f} MiB, at most {MAX_SEGMENT // 2**20} "
            "are read at once: "
            "convert it to a tiled TIFF"
        )


def reads_by_row(page: tifffile.TiffPage) -> bool:
    """Whether any rows of a strip can be read without the rest: not packed, whole bytes."""
    # FillOrder 2 mirrors the bits of every byte, and a predictor stores differences along rows.
    whole = page.bitspersample in (8, 16) and page.fillorder == 1
    return not page.is_tiled and page.compression == 1 and page.predictor == 1 and whole
