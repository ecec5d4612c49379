"""Boxes of samples from the strips or tiles of a TIFF image.

Only what a box touches is read and decoded: reading from the file takes turns, decoding does not. A strip holds whole
rows, so neighbouring boxes want the same ones: the last decoded strips are kept.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, PLANARCONFIG

from wsinuc.grid import Box
from wsinuc.recent import Recent
from wsinuc.slides.dialect import Dialect
from wsinuc.slides.tiff.directories import reads_by_row

KEPT_STRIPS = 2**27
"""Bytes of decoded strips that an open slide keeps, 128 MiB."""
ROWS_AT_ONCE = 2**24
"""Samples of an uncompressed strip that are read in one go."""

_JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY)


class SegmentReader:
    """Reads samples of an open TIFF, which it closes when it goes; safe to share between threads.

    Parameters
    ----------
    keep
        Bytes of decoded strips to keep.
    """

    def __init__(self, tiff: tifffile.TiffFile, keep: int = KEPT_STRIPS) -> None:
        self._tiff = tiff
        self._lock = threading.Lock()
        self._strips: Recent[NDArray[Any]] = Recent(keep)

    def __del__(self) -> None:
        # Pages and their file refer to each other, so it would stay open until a collection.
        self._tiff.close()

    def read(self, pages: tuple[tifffile.TiffPage, ...], box: Box, dialect: Dialect) -> NDArray[Any]:
        """Samples ``(h, w, samples)`` of a box inside a level; white where the file holds nothing.

        Parameters
        ----------
        pages
            One directory, or one for each channel.
        """
        if len(pages) > 1:
            samples = len(pages)
        else:
            samples = pages[0].samplesperpixel
        dtype = pages[0].dtype
        assert dtype is not None
        stored = np.empty((*box.shape, samples), dtype.newbyteorder("="))
        # Scanners leave tiles without tissue out of the file: what is not stored is glass.
        stored[:] = dialect.paper(samples, stored.dtype)
        for plane, page in enumerate(pages):
            self._fill(page, box, stored[..., plane : plane + 1] if len(pages) > 1 else stored)
        return stored

    def _fill(self, page: tifffile.TiffPage, box: Box, out: NDArray[Any]) -> None:
        height, width = _segment_shape(page)
        down = math.ceil(page.imagelength / height)
        across = math.ceil(page.imagewidth / width)
        # PlanarConfiguration 2: all tiles of the first sample, then all of the second, and so on.
        separate = page.planarconfig == PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
        for plane in range(page.samplesperpixel if separate else 1):
            if separate:
                target = out[..., plane : plane + 1]
            else:
                target = out
            for row in range(box.y0 // height, math.ceil(box.y1 / height)):
                for column in range(box.x0 // width, math.ceil(box.x1 / width)):
                    index = (plane * down + row) * across + column
                    extent = Box(row * height, column * width, (row + 1) * height, (column + 1) * width)
                    self._paste(
                        page, index, extent.clip(Box.of_shape((page.imagelength, page.imagewidth))), box, target
                    )

    def _paste(self, page: tifffile.TiffPage, index: int, extent: Box, box: Box, out: NDArray[Any]) -> None:
        wanted = extent.clip(box)
        if reads_by_row(page):
            self._paste_rows(page, index, extent, wanted, out[wanted.relative_to(box).slices])
            return
        # A decoder gives the whole tile, or its part inside the image; either begins at the extent's corner.
        pixels = self._segment(page, index)
        if pixels is not None:
            out[wanted.relative_to(box).slices] = pixels[wanted.relative_to(extent).slices]

    def _paste_rows(self, page: tifffile.TiffPage, index: int, extent: Box, wanted: Box, out: NDArray[Any]) -> None:
        """A part of an uncompressed strip, some rows at a time."""
        band = max(1, ROWS_AT_ONCE // max(1, page.imagewidth * page.samplesperpixel))
        for first in range(wanted.y0, wanted.y1, band):
            last = min(first + band, wanted.y1)
            pixels = self._rows(page, index, first - extent.y0, last - extent.y0)
            if pixels is not None:
                out[first - wanted.y0 : last - wanted.y0] = pixels[:, wanted.x0 : wanted.x1]

    def _segment(self, page: tifffile.TiffPage, index: int) -> NDArray[Any] | None:
        """Decoded samples ``(h, w, samples)`` of a strip or tile; None when the file holds nothing there."""
        key = (page.offset, index)
        recent = None if page.is_tiled else self._strips.get(key)
        if recent is not None:
            return recent
        data = self._bytes(page, index)
        if data is None:
            return None
        # JPEGTables (347): quantisation and Huffman tables stand once in the directory, not in every tile.
        tables: dict[str, Any] = {}
        if page.compression in _JPEG:
            tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        decoded, _, _ = page.decode(data, index, **tables)
        if decoded is None:
            return None
        pixels: NDArray[Any] = decoded[0]
        if not page.is_tiled:
            self._strips.keep(key, pixels, pixels.nbytes)
        return pixels

    def _bytes(self, page: tifffile.TiffPage, index: int) -> bytes | None:
        offset = page.dataoffsets[index]
        count = page.databytecounts[index]
        # This is how a sparse TIFF marks a tile that it does not hold.
        if offset == 0 or count == 0:
            return None
        return self._read(offset, count)

    def _rows(self, page: tifffile.TiffPage, index: int, first: int, last: int) -> NDArray[Any] | None:
        """Rows of an uncompressed strip, whatever its size."""
        if page.dataoffsets[index] == 0 or page.databytecounts[index] == 0:
            return None
        if page.planarconfig == PLANARCONFIG.CONTIG:
            together = page.samplesperpixel
        else:
            together = 1
        dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
        row = page.imagewidth * together * dtype.itemsize
        # The last strip holds fewer rows, but never fewer than the image needs of it.
        if last * row > page.databytecounts[index]:
            raise ValueError("a strip is shorter than its rows")
        data = self._read(page.dataoffsets[index] + first * row, (last - first) * row)
        return np.frombuffer(data, dtype).reshape(last - first, page.imagewidth, together)

    def _read(self, offset: int, count: int) -> bytes:
        file = self._tiff.filehandle
        if offset < 0 or count < 0 or offset + count > file.size:
            raise ValueError(f"{count} bytes at {offset} lie beyond the end of the file, {file.size} bytes")
        with self._lock:
            file.seek(offset)
            data = file.read(count)
        if len(data) != count:
            raise ValueError(f"expected {count} bytes at {offset}, got {len(data)}")
        return data


def _segment_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth
