"""Slides in TIFF files of any dialect: OME-TIFF, channels in planes, 16 bits, turned, transparent.

tifffile reads the directories and decodes strips and tiles; what they mean is in ``layout`` and ``samples``.
Files on object stores are read where they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsinuc.errors import RemoteError, SlideError
from wsinuc.grid import Box, ceil_div
from wsinuc.slides.base import Slide, SlideHeader, one_line
from wsinuc.slides.dialect import Dialect, bits_note
from wsinuc.slides.tiff.layout import TiffLayout, check_pages, read_layout
from wsinuc.slides.tiff.samples import check_decodable, stated_bits
from wsinuc.slides.tiff.segments import SegmentReader
from wsinuc.urls import Place, Url

SAMPLE_BOXES = 64
"""How many places of the coarsest level are looked at for its largest sample."""
SAMPLE_SIDE = 512
"""Side of each in pixels."""

# Byte order, then 42 for TIFF or 43 for BigTIFF.
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiff(path: Place) -> bool:
    """Whether a file begins as a TIFF does.

    Raises
    ------
    OSError, RemoteError
        It cannot be read.
    """
    if isinstance(path, Url):
        return path.read(0, 4) in _TIFF_MAGIC
    with path.open("rb") as file:
        return file.read(4) in _TIFF_MAGIC


def open_tiff(path: Place) -> tifffile.TiffFile:
    """The file as tifffile opens it, read block by block where it is a URL.

    Raises
    ------
    Exception
        Whatever tifffile raises for damaged files: key, value, type, struct and its own errors.
    """
    if isinstance(path, Url):
        return tifffile.TiffFile(path.open(), name=path.name)
    return tifffile.TiffFile(str(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a TIFF's directories say of the slide in it."""

    header: SlideHeader
    """As the reader ``tiff`` sees it; the bits of a sample are not looked for."""
    is_vendors: bool
    """A scanner's maker wrote the file."""
    is_one_striped_image: bool
    """Nothing of it can be read without the rest: an ordinary image."""


def survey(path: Place) -> Survey:
    """Look at a TIFF without decoding a pixel.

    Raises
    ------
    DirectoryError
        It claims what cannot be.
    DialectError
        Its pixels cannot become RGB.
    SlideError
        tifffile cannot open it.
    RemoteError
        The URL cannot be reached.
    """
    try:
        with open_tiff(path) as tiff:
            layout = read_layout(tiff, path.name)
            header = header_of(layout, layout.dialect, ())
            return Survey(header=header, is_vendors=layout.is_vendors, is_one_striped_image=layout.is_one_striped_image)
    except (SlideError, RemoteError):
        raise
    except Exception as error:  # damaged metadata: key, value, type, struct and assertion errors
        raise SlideError(f"{path.name}: cannot read its TIFF directories ({one_line(error)})") from error


class TiffSlide(Slide):
    """A slide in a TIFF file; decoding scales with threads."""

    reader = "tiff"

    def __init__(self, path: Place, *, mpp: float | None = None) -> None:
        self._dialect = Dialect()
        super().__init__(path, mpp=mpp)

    def _open(self) -> Any:
        assert self.path is not None
        tiff = open_tiff(self.path)
        reader = SegmentReader(tiff)  # closes the file when it goes
        return reader, read_layout(tiff, self.name)

    def _describe(self) -> SlideHeader:
        reader, layout = self._acquire()
        self._dialect, notes = understood(layout, reader, self.name)
        return header_of(layout, self._dialect, notes)

    def _decode(self, handle: Any, box: Box, level: int) -> NDArray[np.uint8]:
        reader, layout = handle
        pages = layout.levels[level]
        turn = self._dialect.turn
        stored = turn.stored_box(box, (pages[0].imagelength, pages[0].imagewidth))
        samples = reader.read(pages, stored, self._dialect)
        return np.ascontiguousarray(turn.apply(self._dialect.to_rgb(samples)))


def header_of(layout: TiffLayout, dialect: Dialect, notes: tuple[str, ...]) -> SlideHeader:
    """What a layout says, for the upright image.

    Parameters
    ----------
    layout
        The slide in the file, as stored.
    dialect
        How its samples become RGB, with the bits that they really use.
    notes
        What a user should know of that.
    """
    # The tags speak of the stored image, and a turned one has its axes swapped.
    mpp = layout.mpp_yx
    if mpp is not None and dialect.turn.transposed:
        mpp = mpp[1], mpp[0]
    return SlideHeader(
        vendor=layout.vendor,
        level_shapes=tuple(dialect.turn.shape((pages[0].imagelength, pages[0].imagewidth)) for pages in layout.levels),
        mpp_yx=mpp,
        mpp_source=layout.mpp_source if mpp else "none",
        objective_power=layout.objective_power,
        associated=layout.associated,
        dialect="rgb" if dialect.is_plain else dialect.identity,
        notes=(*layout.notes, *notes),
    )


def understood(layout: TiffLayout, reader: SegmentReader, name: str) -> tuple[Dialect, tuple[str, ...]]:
    """The dialect with the bits that samples really use, and what a user should know of it.

    Parameters
    ----------
    layout
        The slide in the file.
    reader
        For a look at samples, where no tag says how many of their bits are used.
    name
        What messages call the slide.

    Raises
    ------
    DialectError
        tifffile does not decode such colours.
    DirectoryError
        A strip or tile is too large to be unpacked.
    """
    check_pages(layout, name)
    check_decodable(layout.first, name)
    dialect = layout.dialect
    notes = []
    first = layout.first
    # Cameras of 10, 12 or 14 bits store 16, and taken for 16 bits their images would be nearly black.
    if layout.sample_bytes > 1 and dialect.color != "palette":
        bits, why = stated_bits(first, layout.significant_bits) or _bits_in_use(layout, reader)
        dialect = replace(dialect, bits=bits)
        notes.append(bits_note(bits, layout.sample_bytes * 8, why))
    return dialect, (*notes, *dialect.notes)


def _bits_in_use(layout: TiffLayout, reader: SegmentReader) -> tuple[int, str]:
    """Bits of the largest sample of the coarsest level, all of it when it is small."""
    pages = layout.levels[-1]
    extent = Box.of_shape((pages[0].imagelength, pages[0].imagewidth))
    largest = max(int(reader.read(pages, box, layout.dialect).max()) for box in _sample_boxes(extent))
    if len(layout.levels) > 1:
        where = "the coarsest level"
    else:
        where = "the image"
    if max(extent.shape) > 8 * SAMPLE_SIDE:
        where = f"{SAMPLE_BOXES} places of {where}"
    # Not fewer than 8: a dark image in 16 bits is dark, not one of 6 bits.
    return max(8, largest.bit_length()), f"the largest in {where} is {largest}"


def _sample_boxes(extent: Box) -> list[Box]:
    """Up to 64 squares, spread evenly; they cover an image of at most 4096 pixels a side."""
    rows, columns = (_starts(length) for length in extent.shape)
    return [Box(y, x, y + SAMPLE_SIDE, x + SAMPLE_SIDE).clip(extent) for y in rows for x in columns]


def _starts(length: int) -> list[int]:
    count = min(8, ceil_div(length, SAMPLE_SIDE))
    last = max(0, length - SAMPLE_SIDE)
    return [round(last * i / max(1, count - 1)) for i in range(count)]
