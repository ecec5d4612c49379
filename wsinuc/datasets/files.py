"""Image and table files of any layout, read with every check that can fail.

A file that is something else is refused with what was expected and what it holds. Label pictures are read by
`wsinuc.datasets.label_files`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsinuc.errors import DataError
from wsinuc.limits import listed, text_lines
from wsinuc.regular import refuse_special
from wsinuc.slides.turn import TURNS, Turn, exif_orientation

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
"""Suffixes of images, in order of preference."""
MAX_CELLS = 2_000_000
"""Cells of a table that is kept whole; each takes some hundred bytes, whatever stands in the file."""
_MODES = {"F": "floating-point numbers", "I": "32-bit integers", "1": "a mask of one bit"}
_COLOURS = ("RGB", "RGBA", "RGBX", "L", "LA", "P", "PA", "CMYK", "YCbCr")


def image_shape(path: Path) -> tuple[int, int]:
    """(height, width) in pixels of the upright image, from the header of its file; nothing is decoded.

    Raises
    ------
    DataError
        The file is missing, damaged or no image.
    """
    with opened(path) as image:
        return turn_of(image).shape((image.height, image.width))


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB pixels ``(h, w, 3)`` of an 8-bit image file, upright and on white, as a slide of the same file has them.

    Raises
    ------
    DataError
        The file is missing or damaged, or holds samples of 16 bits or floating-point numbers.
    """
    with opened(path) as image:
        if image.mode not in _COLOURS:
            raise DataError(
                f"{path}: images must be 8-bit RGB, got {_contents(image)}; scale the values to 0 to 255 and "
                "save as PNG"
            )
        turn = turn_of(image)
        decode(image, path)
        return np.ascontiguousarray(turn.apply(np.asarray(_on_white(image))))


def turn_of(image: Image.Image) -> Turn:
    """How the stored pixels must be turned, by EXIF; Pillow turns a TIFF, which has a tag for it, by itself."""
    return TURNS[exif_orientation(image.info.get("exif"))]


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def check_shape(labels: Path, shape: tuple[int, ...], image: Path, expected: tuple[int, ...]) -> None:
    """Raise DataError unless labels have the (height, width) of their image."""
    if shape != expected:
        raise DataError(
            f"{labels}: the labels are {shape} (h, w) but the image {image.name} is {expected}: "
            "they belong to another image, or one of the two was cropped or resized"
        )


def read_table(path: Path, columns: tuple[str, ...]) -> tuple[Mapping[str, str], ...]:
    """All lines of a table at once; see `table_rows`.

    Raises
    ------
    DataError
        The file is missing, is no CSV, lacks one of the columns, or has more than ``MAX_CELLS`` cells.
    """
    rows = []
    cells = 0
    for row in table_rows(path, columns):
        rows.append(row)
        cells += len(row) + 1
        if cells > MAX_CELLS:
            raise DataError(f"{path} has more than {MAX_CELLS:,} cells: no table of a data set is so long")
    return tuple(rows)


def table_rows(path: Path, columns: tuple[str, ...]) -> Iterator[Mapping[str, str]]:
    """Lines of a CSV file, without the blanks around names and values.

    Raises
    ------
    DataError
        The file is missing, is no CSV, or lacks one of the columns.
    """
    try:
        with text_lines(path) as file:
            first = next(file, "")
            reader = csv.DictReader(chain([first], file), restval="", delimiter=_delimiter(first))
            header = [name.strip() for name in reader.fieldnames or ()]
            missing = [column for column in columns if column not in header]
            if missing:
                raise DataError(f"{path} has no column {missing[0]!r}; it has {listed(header)}")
            for line in reader:
                # A line that is longer than the header has its surplus under the key None.
                yield {key.strip(): value.strip() for key, value in line.items() if key is not None}
    except FileNotFoundError:
        raise DataError(f"{path} is missing; it must have the columns {', '.join(columns)}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read as CSV ({error.strerror or error})") from error


def _delimiter(header: str) -> str:
    """What stands between the columns: Excel writes semicolons where a comma is decimal, and some programs tabs."""
    return next((mark for mark in ",;\t" if mark in header), ",")


def matching(folder: Path, pattern: str) -> Iterator[Path]:
    """Paths below a folder that match, without hidden ones: macOS leaves ``._name.png`` beside every file it copies."""
    return (
        path
        for path in folder.glob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files of a folder with one of the suffixes, by their names without it, sorted.

    Raises
    ------
    DataError
        Two files differ in their suffix alone.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        # macOS leaves a hidden "._name.png" beside every file that it copies to a foreign disk.
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in files:
                raise DataError(f"{folder} holds both {files[path.stem].name} and {path.name}; keep one of them")
            files[path.stem] = path
    return files


def by_name(images: Iterable[Path], name: Callable[[Path], str] = lambda path: path.stem) -> dict[str, Path]:
    """Images by their names, sorted by path.

    Parameters
    ----------
    name
        Makes the name of a path; by default the file's name without its ending.

    Raises
    ------
    DataError
        Two images have one name.
    """
    named: dict[str, Path] = {}
    for path in sorted(images):
        first = named.setdefault(name(path), path)
        if first != path:
            raise DataError(f"{first} and {path} have the same name; is the data set there twice?")
    return named


def opened(path: Path) -> Image.Image:
    """An image whose header is read and nothing else."""
    try:
        refuse_special(path)
        return Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; images and labels are paired by their file names") from None
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} cannot be decoded: it is damaged (copy it again), or holds numbers that no picture has, such as "
            "floating-point colours (save it as 8-bit PNG)"
        ) from error
    except DataError:
        raise
    except Exception as error:  # Pillow raises struct, syntax and index errors
        raise _damaged(path, error) from error


def decode(image: Image.Image, path: Path) -> None:
    """Decode all pixels now, so that damage shows here."""
    try:
        image.load()
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be decoded ({error}); copy it again")


def _contents(image: Image.Image) -> str:
    depth = "16-bit " if "16" in image.mode else ""
    return _MODES.get(image.mode, f"a {depth}{image.mode} image")
