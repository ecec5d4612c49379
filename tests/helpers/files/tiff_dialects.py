"""One picture in many TIFF layouts: what scanners, OME writers and image programs really produce.

``LAYOUTS`` is a table of files that must be read alike. Each has a name and a function that writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

HEIGHT, WIDTH = 300, 420  # no multiple of a tile
MPP = 0.5
TILE = (128, 128)
PER_CM = 1e4 / MPP


@cache
def picture() -> np.ndarray:
    """uint8 (300, 420, 3): smooth colours, light and dark, different in every corner and channel."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] / np.array([HEIGHT, WIDTH]).reshape(2, 1, 1)
    red = 255 - 200 * y * x
    green = 235 - 150 * np.abs(np.sin(7 * x) * np.cos(5 * y))
    blue = 250 - 120 * x * (1 - y)
    rgb = np.stack([red, green, blue], axis=2)
    rgb[20:60, 30:90] = (120, 40, 150)  # a mark that shows how the image was turned
    rgb[-1, -1] = 255
    return np.rint(rgb).astype(np.uint8)


def grey_picture() -> np.ndarray:
    """uint8 (300, 420): the green channel."""
    return picture()[..., 1]


def shrunk(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Means of blocks, in the dtype of the pixels."""
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, *pixels.shape[2:])
    return np.rint(blocks.mean(axis=(1, 3))).astype(pixels.dtype)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A way to store the picture, and how it must come out."""

    name: str
    write: Callable[[Path], None]
    reader: str = "tiff"
    levels: int = 1
    tolerance: int = 0
    """Largest difference of a sample: rounding of 12 bits, or a lossy compression."""
    grey: bool = False
    mpp: float | None = MPP
    note: str = ""
    """A pattern that a note must hold; empty where there must be none."""
    suffix: str = ".tif"
    expected: Callable[[], np.ndarray] | None = None
    """Level 0 as RGB; None is the picture itself."""


def write(path: Path, *levels: np.ndarray, subifds: bool = False, **how: Any) -> None:
    """The levels as pages of a tiled TIFF, or the smaller ones as SubIFDs of the first."""
    options = {"photometric": "rgb", "tile": TILE, "metadata": None, "compression": "deflate", **how}
    file = {key: options.pop(key) for key in ("bigtiff", "byteorder", "ome", "imagej") if key in options}
    resolution = options.pop("resolution", (PER_CM, PER_CM))
    unit = options.pop("resolutionunit", "CENTIMETER")
    with tifffile.TiffWriter(path, **file) as tiff:
        for i, level in enumerate(levels):
            first = {"resolution": resolution, "resolutionunit": unit} if i == 0 and resolution else {}
            below = {"subifds": len(levels) - 1} if subifds and i == 0 else {}
            smaller = {"subfiletype": 1} if i else {}
            later = {"metadata": None} if i else {}
            tiff.write(level, **{**options, **first, **below, **smaller, **later})


def levels_of(pixels: np.ndarray, count: int) -> list[np.ndarray]:
    """The pixels, halved again and again."""
    return [pixels, *(shrunk(pixels, 2**i) for i in range(1, count))]


def rgb(count: int = 1, **how: Any) -> Callable[[Path], None]:
    """Writes the picture as RGB with that many levels."""
    return lambda path: write(path, *levels_of(picture(), count), **how)


def turned(orientation: int, **how: Any) -> Callable[[Path], None]:
    """Writes the picture so that it is upright only when the orientation tag is heeded."""
    stored = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    tag = [(274, "H", 1, orientation, True)]
    return lambda path: write(path, np.ascontiguousarray(stored(picture())), extratags=tag, **how)


def deep(
    bits: int, count: int = 1, *, pixels: Callable[[], np.ndarray] = picture, **how: Any
) -> Callable[[Path], None]:
    """Writes the picture with that many bits in 16."""

    def writer(path: Path) -> None:
        scaled = np.rint(pixels() * ((2**bits - 1) / 255)).astype(np.uint16)
        write(path, *levels_of(scaled, count), **how)

    return writer


def ome(
    axes: str = "YXS", count: int = 1, order: str = "RGB", pixels: np.ndarray | None = None, **metadata: Any
) -> Callable[[Path], None]:
    """Writes an OME-TIFF: channels as samples (YXS), or as planes (CYX)."""

    def writer(path: Path) -> None:
        whole = picture() if pixels is None else pixels
        size = {"PhysicalSizeX": MPP, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": MPP, "PhysicalSizeYUnit": "µm"}
        levels = levels_of(whole, count)
        how: dict[str, Any] = {"photometric": "rgb"}
        if "S" not in axes:
            levels = [np.moveaxis(level, 2, 0)[["RGB".index(letter) for letter in order]] for level in levels]
            how = {"photometric": "minisblack"}
        elif axes == "SYX":
            levels = [np.moveaxis(level, 2, 0) for level in levels]
            how = {"photometric": "rgb", "planarconfig": "separate"}
        meta = {"axes": axes, **size, **metadata}
        write(path, *levels, subifds=count > 1, ome=True, resolution=None, metadata=meta, **how)

    return writer


def forgetful_ome(path: Path) -> None:
    """An OME-TIFF whose XML does not say that the colours share a plane, as some converters write it."""
    ome()(path)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        xml = tiff.ome_metadata
        assert xml is not None
        tiff.pages.first.tags["ImageDescription"].overwrite(xml.replace(' SamplesPerPixel="3"', "").encode())


def with_others(path: Path, *, before: bool = True, tiled: bool = False, ome: bool = False, **how: Any) -> None:
    """The picture among a thumbnail, a photo of the glass and one of the label."""
    names = {"thumbnail": shrunk(picture(), 4), "macro": picture()[:100], "label": picture()[:90, :80]}
    with tifffile.TiffWriter(path, ome=ome) as tiff:

        def other(name: str, pixels: np.ndarray) -> None:
            tile = {"tile": (64, 64)} if tiled else {}
            meta = {"metadata": {"axes": "YXS", "Name": name}} if ome else {"metadata": None, "description": name}
            tiff.write(pixels, photometric="rgb", **tile, **meta)

        if before:
            for name, pixels in names.items():
                other(name, pixels)
        size = {"axes": "YXS", "Name": "slide", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}
        tiff.write(
            picture(),
            photometric="rgb",
            tile=TILE,
            compression="deflate",
            metadata=size if ome else None,
            resolution=(PER_CM, PER_CM),
            resolutionunit="CENTIMETER",
        )
        if not before:
            for name, pixels in names.items():
                other(name, pixels)


def _palette(path: Path) -> None:
    grey = grey_picture()
    colors = np.zeros((3, 256), np.uint16)
    colors[:] = np.arange(256)[::-1] * 257
    write(path, 255 - grey, photometric="palette", colormap=colors)


def _cmyk(path: Path) -> None:
    inks = np.concatenate([255 - picture(), np.zeros((HEIGHT, WIDTH, 1), np.uint8)], axis=2)
    write(path, inks, photometric="separated", extratags=[(332, "H", 1, 1, True)])


def veil() -> np.ndarray:
    """uint8 (300, 420): opaque on the left, clear on the right, half clear between."""
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, 150:250] = 128
    alpha[:, 250:] = 0
    return alpha


def veiled() -> np.ndarray:
    """The picture behind the veil, on white."""
    share = veil()[..., None] / 255
    return np.rint(picture() * share + 255 * (1 - share)).astype(np.uint8)


def _alpha(kind: str) -> Callable[[Path], None]:
    def writer(path: Path) -> None:
        colors = picture()
        if kind == "assocalpha":
            colors = np.rint(colors * (veil()[..., None] / 255)).astype(np.uint8)
        write(path, np.dstack([colors, veil()]), extrasamples=[kind])

    return writer


def _ycbcr(path: Path) -> None:
    from PIL import Image

    write(path, np.asarray(Image.fromarray(picture()).convert("YCbCr")), photometric="ycbcr", subsampling=(1, 1))


def _sparse(path: Path) -> None:
    """A generic TIFF whose last tile was never written, as scanners leave out glass."""
    tall = picture().copy()
    write(path, tall)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        page = tiff.pages.first
        offsets = [*page.dataoffsets[:-1], 0]
        counts = [*page.databytecounts[:-1], 0]
        page.tags["TileOffsets"].overwrite(offsets)
        page.tags["TileByteCounts"].overwrite(counts)


def _sparse_expected() -> np.ndarray:
    whole = picture().copy()
    whole[256:, 384:] = 255
    return whole


def _imagej(unit: str, per_unit: float) -> Callable[[Path], None]:
    def writer(path: Path) -> None:
        options = {"imagej": True, "resolution": (per_unit, per_unit), "metadata": {"unit": unit}}
        tifffile.imwrite(path, picture(), photometric="rgb", **options)

    return writer


def _two_pieces(path: Path) -> None:
    """An OME-TIFF of two pieces of tissue on one glass, the smaller one first, and their label."""
    size = {"axes": "YXS", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}
    pieces = {"left": picture()[:, :250], "right": picture(), "label image": picture()}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for name, pixels in pieces.items():
            tiff.write(pixels, photometric="rgb", tile=TILE, metadata={**size, "Name": name})


BITS = "counts as white"
LAYOUTS = [
    Layout(name="pyramid", write=rgb(3), reader="openslide", levels=3),
    Layout(name="pyramid in SubIFDs", write=rgb(3, subifds=True), levels=3),
    Layout(name="big endian", write=rgb(2, byteorder=">"), levels=2),
    Layout(name="BigTIFF", write=rgb(2, bigtiff=True), reader="openslide", levels=2),
    Layout(name="LZW", write=rgb(compression="lzw"), reader="openslide"),
    Layout(name="LZW with predictor", write=rgb(compression="lzw", predictor=True), reader="openslide"),
    Layout(name="uncompressed", write=rgb(compression=None), reader="openslide"),
    Layout(name="Zstandard", write=rgb(compression="zstd"), reader="openslide"),
    Layout(name="JPEG", write=rgb(compression="jpeg", compressionargs={"level": 95}), reader="openslide", tolerance=60),
    Layout(
        name="JPEG of RGB",
        write=rgb(compression="jpeg", compressionargs={"level": 95, "outcolorspace": "RGB"}),
        reader="openslide",
        tolerance=60,
    ),
    Layout(name="JPEG 2000", write=rgb(compression="jpeg2000"), tolerance=1),
    Layout(name="JPEG XL", write=rgb(compression="jpegxl")),
    Layout(name="WebP", write=rgb(compression="webp", compressionargs={"lossless": True})),
    Layout(
        name="planes of one directory", write=lambda p: write(p, np.moveaxis(picture(), 2, 0), planarconfig="separate")
    ),
    Layout(
        name="grey", write=lambda p: write(p, grey_picture(), photometric="minisblack"), reader="openslide", grey=True
    ),
    Layout(name="inverted grey", write=lambda p: write(p, 255 - grey_picture(), photometric="miniswhite"), grey=True),
    Layout(name="palette", write=_palette, grey=True),
    Layout(name="CMYK", write=_cmyk, note="CMYK"),
    Layout(name="YCbCr without JPEG", write=_ycbcr, reader="openslide", tolerance=3),
    Layout(name="transparency", write=_alpha("unassalpha"), note="on white", expected=veiled, tolerance=1),
    Layout(name="premultiplied", write=_alpha("assocalpha"), note="on white", expected=veiled, tolerance=2),
    Layout(name="a channel of no meaning", write=_alpha("unspecified"), note="left out"),
    Layout(name="glass that was left out", write=_sparse, reader="openslide", expected=_sparse_expected),
    *(Layout(name=f"orientation {i}", write=turned(i), note=f"orientation {i}") for i in range(2, 9)),
    Layout(name="orientation 6 in strips", write=turned(6, tile=None), reader="image", note="orientation 6"),
    Layout(name="orientation 3 in BigTIFF", write=turned(3, bigtiff=True), note="orientation 3"),
    Layout(name="9 of 16 bits", write=deep(9), note=BITS),
    Layout(name="10 of 16 bits", write=deep(10), note=BITS),
    Layout(name="12 of 16 bits", write=deep(12, 2), levels=2, note=BITS),
    Layout(name="14 of 16 bits in strips", write=deep(14, tile=None), reader="image", note=BITS),
    Layout(name="16 bits", write=deep(16), note=BITS),
    Layout(name="16 bits, big endian", write=deep(16, byteorder=">"), note=BITS),
    Layout(
        name="16 bits of grey",
        write=deep(12, pixels=grey_picture, photometric="minisblack"),
        grey=True,
        note=BITS,
    ),
    Layout(
        name="bits by SMaxSampleValue",
        write=deep(10, extratags=[(341, "H", 3, (1023,) * 3, True)]),
        note="SMaxSampleValue",
    ),
    Layout(
        name="12 bits shifted up",
        write=lambda p: write(p, picture().astype(np.uint16) << 4, tile=TILE, compression="lzw"),
        note=BITS,
    ),
    Layout(name="8 of 16 bits", write=deep(8), note=BITS),
    Layout(name="strips", write=rgb(tile=None, rowsperstrip=16), reader="image"),
    Layout(name="one strip", write=rgb(tile=None, compression=None), reader="image"),
    Layout(name="strips with a pyramid", write=rgb(2, tile=None, rowsperstrip=7, subifds=True), levels=2),
    Layout(name="one strip with a pyramid", write=rgb(2, tile=None, compression=None, subifds=True), levels=2),
    Layout(name="OME", write=ome(), suffix=".ome.tif"),
    Layout(name="OME that forgot", write=forgetful_ome, suffix=".ome.tif"),
    Layout(name="OME pyramid", write=ome(count=3), suffix=".ome.tif", levels=3),
    Layout(name="OME channels", write=ome("CYX", 2), suffix=".ome.tif", levels=2),
    Layout(name="OME planes", write=ome("SYX", 2), suffix=".ome.tif", levels=2),
    Layout(
        name="OME channels by name",
        write=ome("CYX", 2, "BRG", Channel={"Name": ["Blue", "Red", "Green"]}),
        suffix=".ome.tif",
        levels=2,
    ),
    Layout(
        name="OME in nanometres",
        write=ome(PhysicalSizeX=500, PhysicalSizeXUnit="nm", PhysicalSizeY=5e-4, PhysicalSizeYUnit="mm"),
        suffix=".ome.tif",
    ),
    Layout(
        name="OME SignificantBits",
        write=ome(pixels=np.rint(picture() * (16383 / 255)).astype(np.uint16), SignificantBits=14),
        suffix=".ome.tif",
        note="OME SignificantBits",
    ),
    Layout(name="OME macro first", write=lambda p: with_others(p, ome=True), suffix=".ome.tif"),
    Layout(name="OME macro first, tiled", write=lambda p: with_others(p, ome=True, tiled=True), suffix=".ome.tif"),
    Layout(name="thumbnail first", write=with_others),
    Layout(name="thumbnail first, tiled", write=lambda p: with_others(p, tiled=True)),
    Layout(name="thumbnail behind", write=lambda p: with_others(p, before=False), reader="openslide"),
    Layout(name="macro behind, tiled", write=lambda p: with_others(p, before=False, tiled=True), reader="openslide"),
    Layout(name="per inch", write=rgb(resolution=(25_400 / MPP,) * 2, resolutionunit="INCH"), reader="openslide"),
    Layout(
        name="print resolution",
        write=rgb(resolution=(300, 300), resolutionunit="INCH"),
        reader="openslide",
        mpp=254 / 3,
    ),
    Layout(name="ImageJ", write=_imagej("um", 2), reader="image"),
    Layout(name="ImageJ in millimetres", write=_imagej("mm", 2000), reader="image"),
    Layout(name="ImageJ by name", write=_imagej("micron", 2), reader="image"),
    Layout(name="OME of two pieces", write=_two_pieces, suffix=".ome.tif", note="right (420 x 300 px), and not: left"),
]
