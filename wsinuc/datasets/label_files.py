"""Label pictures as files: PNG, TIFF and what else keeps numbers, read without losing any of them.

Pillow scales, truncates or refuses some of what people save (2-bit PNG, 16-bit colours, int64 and
uint32 TIFF), so TIFF is read by tifffile, and of PNG the header is looked at first. What the
numbers mean is decided by `label_values`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from wsinuc.datasets.base import Annotation
from wsinuc.datasets.files import check_shape, decode, image_shape, opened, read_image, turn_of
from wsinuc.datasets.label_values import (
    BLACK_AND_WHITE,
    PALETTE,
    Instances,
    instances_of,
    label_ids,
)
from wsinuc.errors import DataError
from wsinuc.slides.turn import TURNS, Turn

LABEL_SUFFIXES = (".png", ".tif", ".tiff")
"""Suffixes of label images: formats that keep every number."""
MAX_PIXELS = 2**28
"""Larger label pictures are refused before they are decoded."""

_LOSSY = ("JPEG", "JPEG2000", "WEBP", "MPO")
_LOSSY_TIFF = ("JPEG", "OJPEG", "JPEG2000", "WEBP", "JPEGXL")
_MODES = ("1", "L", "LA", "P", "I", "F", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I;16N")
_TIFF = (".tif", ".tiff")


def read_labels(path: Path, *, glands: bool = False) -> Instances:
    """One number per nucleus (h, w) from a label picture, taken apart where it is a mask; see `label_values`.

    Parameters
    ----------
    glands
        What is annotated may cover most of the picture.

    Raises
    ------
    DataError
        The file is missing or damaged, or is no label picture.
    """
    values, notes = read_values(path)
    instances = instances_of(values, path, glands=glands)
    return replace(instances, notes=notes + instances.notes)


def read_ids(path: Path) -> NDArray[np.int32]:
    """Numbers ``(h, w)`` of a label picture as they stand; nothing is taken apart.

    Raises
    ------
    DataError
        The file is missing or damaged, or holds what is no number from 0 to `MAX_LABEL`.
    """
    return label_ids(read_values(path)[0], path)


def read_annotation(image: Path, labels: Path, *, glands: bool = False) -> Annotation:
    """An image and its label picture.

    Parameters
    ----------
    glands
        What is annotated may cover most of the picture.

    Raises
    ------
    DataError
        A file is missing or damaged, labels are none, or the sizes differ, which shows before any pixel is decoded.
    """
    check_shape(labels, label_shape(labels), image, image_shape(image))
    pixels = read_image(image)
    instances = read_labels(labels, glands=glands)
    return Annotation(image=pixels, labels=instances.labels, numbers=instances.numbers, notes=instances.notes)


def read_mask(path: Path) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Where a black-and-white mask ``(h, w)`` is white, and notes on it, whatever the mode it was saved in.

    White is what is not black, or, where a mask has grey levels in between, what is at least half
    as bright as its brightest pixel.

    Raises
    ------
    DataError
        The file is missing or damaged.
    """
    with opened(path) as image:
        turn = turn_of(image)
        decode(image, path)
        levels = turn.apply(np.asarray(image.convert("RGB")).max(axis=2))
    brightest = int(levels.max(initial=0))
    nuclear = levels > 0
    if np.array_equal(nuclear, levels == brightest) or not brightest:
        return nuclear, ()
    return 2 * levels.astype(np.int32) >= brightest, (BLACK_AND_WHITE,)


def label_shape(path: Path) -> tuple[int, int]:
    """(height, width) in pixels of a label picture from the file's header; nothing is decoded.

    Raises
    ------
    DataError
        The file is missing or damaged, or holds several pictures.
    """
    if path.suffix.lower() not in _TIFF:
        return image_shape(path)
    with _tiff(path) as file:
        page = _only_page(file, path)
        return _tiff_turn(page).shape((page.imagelength, page.imagewidth))


def read_values(path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The file's own values, ``(h, w)`` or ``(h, w, channels)``, and notes on how they were read.

    Raises
    ------
    DataError
        The file is missing or damaged, or of a format that changes numbers.
    """
    if path.suffix.lower() in _TIFF:
        return _tiff_values(path)
    with opened(path) as image:
        # Of several frames Pillow would read the first and say nothing of the others.
        if image.mode not in _MODES or image.format in _LOSSY or getattr(image, "n_frames", 1) != 1:
            raise DataError(
                f"{path}: labels must be one channel of whole numbers in a format that keeps them (PNG, TIFF), got "
                f"{image.format} of mode {image.mode}"
            )
        depth = _png_depth(path) if image.format == "PNG" else 8
        if depth == 16 and image.mode in ("LA", "RGB", "RGBA"):
            raise DataError(
                f"{path}: labels must be one channel of whole numbers, got 16-bit colours; save one number "
                "per nucleus as a "
                "16-bit grey PNG"
            )
        turn = turn_of(image)
        decode(image, path)
        values = turn.apply(np.asarray(image))
        if image.mode == "P":
            _check_palette(image, values, path)
            return values, (PALETTE,)
    # Pillow spreads few bits over 0 to 255, where labels must stay the numbers that the file holds.
    if image.mode == "L" and depth in (2, 4):
        values = values // (255 // (2**depth - 1))
    return values, ()


def _tiff(path: Path) -> tifffile.TiffFile:
    try:
        return tifffile.TiffFile(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; images and labels are paired by their file names") from None
    except Exception as error:  # tifffile has no root of its errors, and damaged files meet struct's and others
        raise DataError(f"{path} cannot be decoded ({error}); copy it again") from error


def _only_page(file: tifffile.TiffFile, path: Path) -> tifffile.TiffPage:
    """The one picture of a TIFF; raises DataError for several and for what is too large."""
    try:
        count = len(file.pages)
        page = file.pages.first
    except Exception as error:
        raise DataError(f"{path} cannot be decoded ({error}); copy it again") from error
    if count != 1:
        raise DataError(
            f"{path}: labels must be one picture with one number per nucleus, got {count} pages; save the "
            "one that belongs to "
            "the image, or all nuclei in one picture"
        )
    sizes = (page.imagelength, page.imagewidth, page.samplesperpixel)
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise DataError(f"{path} cannot be decoded: it claims to be {sizes} large; copy it again")
    if math.prod(sizes) > MAX_PIXELS:
        raise DataError(f"{path}: {page.shape} is too large for a label picture; cut it, and its image, into fields")
    compression = _name(tifffile.COMPRESSION, page.compression)
    if compression in _LOSSY_TIFF:
        raise DataError(f"{path}: labels must be kept without loss, got {compression}; save them as PNG")
    return page


def _tiff_values(path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    with _tiff(path) as file:
        page = _only_page(file, path)
        try:
            values = page.asarray()
        except Exception as error:  # codecs raise what they like
            raise DataError(f"{path} cannot be decoded ({error}); copy it again") from error
        separate = page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        turn = _tiff_turn(page)
        photometric = _name(tifffile.PHOTOMETRIC, page.photometric)
    if separate:
        values = np.moveaxis(values, 0, -1)
    values = turn.apply(values)
    # Of masks, which have no numbers, the photometric interpretation counts: there white is 0.
    if photometric == "MINISWHITE" and values.dtype == np.bool_:
        values = ~values
    return values, (PALETTE,) if photometric == "PALETTE" else ()


def _tiff_turn(page: tifffile.TiffPage) -> Turn:
    """How the picture must be turned to stand upright, as `read_image` turns the image that it belongs to."""
    value = page.tags.valueof("Orientation", 1)
    if isinstance(value, int) and value in TURNS:
        return TURNS[value]
    return TURNS[1]


def _name(kinds: type[IntEnum], value: int) -> str:
    """Name of a TIFF tag's value; the number itself where nobody has named it."""
    if value in kinds._value2member_map_:
        return kinds(value).name
    return str(value)


def _png_depth(path: Path) -> int:
    """Bits per sample as the header of a PNG has them."""
    with path.open("rb") as file:
        # 8 bytes of signature, 8 of the first chunk's head, 8 of width and height.
        return file.read(25)[24]


def _check_palette(image: Image.Image, values: NDArray[Any], path: Path) -> None:
    """Raise DataError for a palette of two colours whose background seems to be the second."""
    used = np.unique(values)
    palette = image.getpalette() or []
    colours = [tuple(palette[3 * index : 3 * index + 3]) for index in used.tolist()]
    # With white as its first colour the background may be either of the two: a person must say which.
    if used.tolist() == [0, 1] and colours[1] == (0, 0, 0):
        raise DataError(
            f"{path}: the palette's first colour is {colours[0]} and its second black, so it is not clear which is the "
            "background; save the mask with 0 for background"
        )
