"""Image, label and table files of any layout, read with every check that can fail.

Sizes are compared by the files' headers before a pixel is decoded, and labels must be what labels are: one whole
number per pixel, 0 for background. A file that is something else is refused with what was expected and what it holds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsinuc.errors import DataError
from wsinuc.limits import read_bounded

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
"""Suffixes of images, in order of preference."""
LABEL_SUFFIXES = (".png", ".tif", ".tiff")
"""Suffixes of label images: formats that keep every number."""

MAX_LABEL = 2**24 - 1
"""Largest id that is taken: tables by id are as long as the largest, so that sparse 32-bit ids would fill the memory.
"""

_MODES = {"F": "floating-point numbers", "I": "32-bit integers", "1": "a mask of one bit"}
_INTEGERS = ("L", "I", "I;16", "I;16B", "I;16L", "I;16N")
_COLOURS = ("RGB", "RGBA", "RGBX", "L", "LA", "P", "PA", "CMYK", "YCbCr")


def image_shape(path: Path) -> tuple[int, int]:
    """(height, width) in pixels from the file's header, nothing decoded; raises DataError."""
    with _opened(path) as image:
        return image.height, image.width


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB pixels (h, w, 3) of an 8-bit image file; raises DataError, also for 16-bit and floating-point images."""
    with _opened(path) as image:
        if image.mode not in _COLOURS:
            raise DataError(
                f"{path}: images must be 8-bit RGB, got {_contents(image)}; scale the values to 0 to 255 and "
                "save as PNG"
            )
        _decode(image, path)
        return np.asarray(image.convert("RGB"))


def read_labels(path: Path, *, palette: bool = False) -> NDArray[np.int32]:
    """Instance ids (h, w) of an integer image; ``palette`` takes the numbers of an indexed image for ids.

    Raises
    ------
    DataError
        The file is missing or damaged, or holds colours, floating-point numbers, or numbers that are no ids.
    """
    with _opened(path) as image:
        if image.mode not in _INTEGERS and not (palette and image.mode == "P"):
            raise DataError(
                f"{path}: labels must be one channel of integers (16-bit PNG or TIFF, one number per nucleus), "
                f"got {_contents(image)}; an overlay or a probability map is no label image"
            )
        _decode(image, path)
        return label_ids(np.asarray(image), path)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Where a black-and-white mask (h, w) is not black, whatever the mode it was saved in; raises DataError."""
    with _opened(path) as image:
        _decode(image, path)
        return np.asarray(image.convert("RGB")).max(axis=2) > 0


def read_pair(image: Path, labels: Path, *, palette: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """An image and its label image; raises DataError, for unequal sizes before any pixel is decoded."""
    check_shape(labels, image_shape(labels), image, image_shape(image))
    return read_image(image), read_labels(labels, palette=palette)


def check_shape(labels: Path, found: tuple[int, ...], image: Path, expected: tuple[int, ...]) -> None:
    """Raise DataError unless labels have the (height, width) of their image."""
    if found != expected:
        raise DataError(
            f"{labels}: the labels are {found} (h, w) but the image {image.name} is {expected}: "
            "they belong to another image, or one of the two was cropped or resized"
        )


def label_ids(values: NDArray, source: Path) -> NDArray[np.int32]:
    """Ids (h, w) as int32 from an array that must hold whole numbers; raises DataError.

    Files of MATLAB and of NumPy keep ids as floating-point numbers; those are ids as long as they are whole.
    """
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise DataError(f"{source}: labels must be (h, w) numbers, got {values.shape} of type {values.dtype}")
    if values.size:
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= MAX_LABEL):
            raise DataError(
                f"{source}: ids must lie between 0 and {MAX_LABEL}, got {low} to {high}; number them from 1"
            )
    if values.dtype.kind == "f" and not np.array_equal(values, np.floor(values)):
        raise DataError(f"{source}: labels must be whole numbers, one per nucleus, got fractions (a probability map?)")
    return values.astype(np.int32)


def read_table(path: Path, columns: tuple[str, ...]) -> tuple[Mapping[str, str], ...]:
    """Lines of a CSV file that must have at least these columns, blanks around names and values
    dropped; raises DataError."""
    try:
        with io.StringIO(read_bounded(path).decode("utf-8-sig"), newline="") as file:
            reader = csv.DictReader(file, restval="")
            lines, header = list(reader), [name.strip() for name in reader.fieldnames or ()]
    except FileNotFoundError:
        raise DataError(f"{path} is missing; it must have the columns {', '.join(columns)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error})") from error
    if missing := [column for column in columns if column not in header]:
        raise DataError(f"{path} has no column {missing[0]!r}; it has {', '.join(header) or 'nothing'}")
    # A line that is longer than the header has its surplus under the key None.
    return tuple({key.strip(): value.strip() for key, value in line.items() if key is not None} for line in lines)


def by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files of a folder with one of the suffixes, by their names without it, sorted; raises
    DataError for two of one name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                raise DataError(f"{folder} holds both {found[path.stem].name} and {path.name}; keep one of them")
            found[path.stem] = path
    return found


def by_name(images: Iterable[Path], name: Callable[[Path], str] = lambda path: path.stem) -> dict[str, Path]:
    """Images by their names, sorted by path; raises DataError where two have one name."""
    found: dict[str, Path] = {}
    for path in sorted(images):
        if (first := found.setdefault(name(path), path)) != path:
            raise DataError(f"{first} and {path} have the same name; is the data set there twice?")
    return found


def _opened(path: Path) -> Image.Image:
    """An image whose header is read and nothing else."""
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; images and labels are paired by their file names") from None
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} cannot be decoded: it is damaged (copy it again), or holds numbers that no picture has, such as "
            "floating-point colours (save it as 8-bit PNG)"
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from error


def _decode(image: Image.Image, path: Path) -> None:
    """Decode all pixels now, so that damage shows here."""
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be decoded ({error}); copy it again")


def _contents(image: Image.Image) -> str:
    return _MODES.get(image.mode, f"a 16-bit {image.mode} image" if "16" in image.mode else f"a {image.mode} image")
