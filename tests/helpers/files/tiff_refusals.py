"""TIFF files that must be refused in one line.

``REFUSED`` cannot be a brightfield slide; ``HOSTILE`` claim what no honest file holds. Each has a name, a function that
writes it, and a pattern that its one line must hold.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from helpers.files.tiff_dialects import TILE, grey_picture, ome, picture, shrunk, write


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A file that must be refused, with what its one line must say."""

    name: str
    write: Callable[[Path], None]
    says: str
    suffix: str = ".tif"


def _frames(axes: str, count: int, **metadata: Any) -> Callable[[Path], None]:
    def writer(path: Path) -> None:
        data = np.stack([grey_picture()] * count)
        tifffile.imwrite(path, data, photometric="minisblack", tile=TILE, metadata={"axes": axes, **metadata}, ome=True)

    return writer


def _stack(path: Path) -> None:
    tifffile.imwrite(path, np.stack([picture()] * 3), photometric="rgb", tile=TILE, metadata=None)


def _elsewhere(path: Path) -> None:
    """One file of an OME-TIFF in two files."""
    ome("CYX")(path)
    data = path.read_bytes()
    one = b'<TiffData IFD="0" PlaneCount="3"/>'
    assert one in data
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata
    split = f'<TiffData IFD="0" FirstC="0"><UUID FileName="{path.name}">urn:uuid:1</UUID></TiffData>'
    split += '<TiffData IFD="0" FirstC="1"><UUID FileName="other.ome.tif">urn:uuid:2</UUID></TiffData>'
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["ImageDescription"].overwrite(xml.replace(one.decode(), split).encode())


REFUSED = [
    Refusal(
        name="floating point",
        write=lambda p: write(p, picture().astype(np.float32), compression=None),
        says="floating point",
    ),
    Refusal(name="signed", write=lambda p: write(p, picture().astype(np.int16)), says="signed"),
    Refusal(name="32 bits", write=lambda p: write(p, picture().astype(np.uint32)), says="32-bit"),
    Refusal(name="planes of focus", write=_frames("ZYX", 4), says="stack of 4", suffix=".ome.tif"),
    Refusal(name="points of time", write=_frames("TYX", 3), says="stack of 3", suffix=".ome.tif"),
    Refusal(name="five channels", write=_frames("CYX", 5), says="5 channels", suffix=".ome.tif"),
    Refusal(
        name="fluorescence",
        write=ome("CYX", Channel={"Name": ["DAPI", "FITC", "TRITC"]}),
        says="DAPI, FITC, TRITC",
        suffix=".ome.tif",
    ),
    Refusal(name="several files", write=_elsewhere, says="several files", suffix=".ome.tif"),
    Refusal(name="stack", write=_stack, says="stack of 3"),
    Refusal(name="CIELAB", write=lambda p: write(p, picture(), photometric="cielab"), says="CIELAB"),
    Refusal(name="camera raw", write=lambda p: write(p, grey_picture(), photometric="cfa"), says="CFA"),
    Refusal(
        name="CMYK in JPEG",
        write=lambda p: write(p, np.dstack([picture(), grey_picture()]), photometric="separated", compression="jpeg"),
        says="CMYK in JPEG",
    ),
    Refusal(
        name="six samples",
        write=lambda p: write(p, np.dstack([picture()] * 2), photometric="rgb", extrasamples=["unspecified"] * 3),
        says="6 channels",
    ),
]


def _with_tags(**values: Any) -> Callable[[Path], None]:
    """Writes a small honest file, then overwrites tags of its first directory."""

    def writer(path: Path) -> None:
        write(path, picture()[:64, :64], tile=(64, 64))
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            for name, value in values.items():
                tiff.pages.first.tags[name].overwrite(value, dtype="I" if isinstance(value, int) else None)

    return writer


def _circle(path: Path) -> None:
    """Two directories, of which the second says that the first follows."""
    write(path, picture(), shrunk(picture(), 2))
    with tifffile.TiffFile(path) as tiff:
        first, second = (tiff.pages[i].aspage().offset for i in (0, 1))
        count = len(tiff.pages[1].aspage().tags)
    with path.open("r+b") as file:
        file.seek(second + 2 + 12 * count)
        file.write(struct.pack("<I", first))


def _billion(path: Path) -> None:
    """A kilobyte that claims a billion pixels a side in one tile as large."""
    write(path, picture()[:16, :16], tile=(16, 16))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength", "TileWidth", "TileLength"):
            tiff.pages.first.tags[name].overwrite(10**9, dtype="I")


HOSTILE = [
    Refusal(name="a billion pixels a side", write=_billion, says="1000000000 x 1000000000"),
    Refusal(
        name="a million pixels a side", write=_with_tags(ImageWidth=10**6, ImageLength=10**6), says="need .* tiles"
    ),
    Refusal(name="wide tiles", write=_with_tags(TileWidth=10**6, TileLength=16), says="claims tiles|need .* tiles"),
    Refusal(
        name="one tile of 4 GB",
        write=_with_tags(ImageWidth=40_000, ImageLength=40_000, TileWidth=40_000, TileLength=40_000),
        says="unpacks to",
    ),
    Refusal(name="two widths", write=_with_tags(ImageWidth=(64, 64)), says="slide.tif: .*TIFF|slide.tif: .*damaged"),
    Refusal(name="directories in a circle", write=_circle, says="circle"),
]
