"""One walk over the directories of a TIFF, whatever follows it and whatever it claims."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsinuc.slides.identity.directory_bytes import tiff_directories
from wsinuc.slides.tiff import walk as module
from wsinuc.slides.tiff.directories import directories
from wsinuc.slides.tiff.walk import CircleError, TiffNumbers, read_header, walk

PIXELS = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture(params=[("<", False), (">", False), ("<", True)], ids=["little", "big-endian", "bigtiff"])
def pyramid(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two images, the first with two SubIFDs."""
    order, big = request.param
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as tiff:
        tiff.write(PIXELS, tile=(16, 16), photometric="rgb", subifds=2)
        tiff.write(PIXELS[::2, ::2], tile=(16, 16), photometric="rgb")
        tiff.write(PIXELS[::4, ::4], tile=(16, 16), photometric="rgb")
        tiff.write(PIXELS[:16, :16], photometric="rgb")
    return path


def test_the_walk_finds_what_tifffile_finds(pyramid: Path) -> None:
    with tifffile.TiffFile(pyramid) as tiff:
        first, last = tiff.pages
        below = [page.offset for page in first.pages]
        images = directories(tiff, "a.tif")
        assert [image.page.offset for image in images] == [first.offset, last.offset]
        assert [page.offset for page in images[0].below] == below
        assert images[1].below == ()
    with pyramid.open("rb") as file:
        header = read_header(file)
        assert header is not None
        found = [(raw.offset, raw.parent) for raw in walk(file, *header, nested=False)]
    assert found == [
        (first.offset, None),
        (below[0], first.offset),
        (below[1], first.offset),
        (last.offset, None),
    ]


def test_identity_and_images_have_one_limit(pyramid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pyramid.open("rb") as file:
        whole = list(tiff_directories(file))
        monkeypatch.setattr(module, "MAX_DIRECTORIES", 1)
        assert len(list(tiff_directories(file))) < len(whole)


def chained(offsets: list[int]) -> io.BytesIO:
    """A file whose empty directories lie 6 bytes apart from 8 on, with these offsets to the next ones."""
    body = b"".join(struct.pack("<HI", 0, offset) for offset in offsets)
    return io.BytesIO(struct.pack("<2sHI", b"II", 42, 8) + body + bytes(16))


def test_a_circle_is_refused_or_passed_over() -> None:
    numbers = TiffNumbers("<", big=False)
    with pytest.raises(CircleError, match="at 8 comes again"):
        list(walk(chained([14, 8]), numbers, 8, nested=False))
    assert [raw.offset for raw in walk(chained([14, 8]), numbers, 8, nested=True)] == [8, 14]


def test_the_offsets_of_large_ndpi_have_64_bits() -> None:
    numbers = TiffNumbers("<", big=False, wide_next=True)
    file = io.BytesIO(bytes(8) + struct.pack("<HQ", 0, 18) + struct.pack("<HQ", 0, 0))
    assert [raw.offset for raw in walk(file, numbers, 8, nested=False)] == [8, 18]
