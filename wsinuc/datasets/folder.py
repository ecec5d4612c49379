"""One's own folder of annotated images: ``images/NAME.png``, ``labels/NAME.png`` and ``manifest.csv``.

Images are 8-bit RGB. Labels are integer PNGs (16 bit, or 8 bit for fewer than 256 nuclei) of the same size, 0 is
background, one number per nucleus. The manifest has one line per image: ``name``, then any attributes (patient,
organ, stain ...) as text, by which images can be chosen. A column ``mpp`` (um per pixel), where there is one, is the
image's resolution unless the user gives another.

Classes, where there are any: ``classes.csv`` lists them (``name``, and optionally ``color`` as #rrggbb), and
``classes/NAME.csv`` gives the class name of each ``label``.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, UnidentifiedImageError

from wsinuc.datasets.base import Annotation, Layout, Row
from wsinuc.errors import DataError
from wsinuc.segmenters.base import NucleusClass

PALETTE = ("#c8001e", "#00a0c8", "#2d8c2d", "#f0b400", "#8c46c8", "#ff8200", "#0046c8", "#b48c64")
"""Colours of classes that name none, in turn."""


class FolderLayout(Layout):
    """Images and label PNGs paired by name."""

    name = "folder"
    expected = "images/NAME.png, labels/NAME.png and manifest.csv with a column 'name'"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.classes = _read_classes(path / "classes.csv")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return (path / "manifest.csv").is_file() and (path / "labels").is_dir()

    def scan(self) -> tuple[Row, ...]:
        return _read_manifest(self.path / "manifest.csv")

    def read(self, row: Row) -> Annotation:
        name = row["name"]
        labels = read_labels(self.path / "labels" / f"{name}.png")
        classes = self.classes_of(name, labels) if self.classes else None
        return Annotation(image=read_image(self.path / "images" / f"{name}.png"), labels=labels, classes=classes)

    def classes_of(self, name: str, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """(labels.max() + 1,) class of each label as ``classes/NAME.csv`` has it, 0 where it says nothing; raises DataError."""
        number = {c.name: i for i, c in enumerate(self.classes, start=1)}
        path = self.path / "classes" / f"{name}.csv"
        found = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
        for row in read_table(path, ("label", "class")):
            if row["class"] not in number:
                raise DataError(f"{path}: class {row['class']!r} is not in classes.csv, which has {', '.join(number)}")
            label = int(row["label"]) if row["label"].isdigit() else 0
            if not 0 < label < len(found):
                raise DataError(f"{path}: there is no nucleus {row['label']!r} in labels/{name}.png")
            found[label] = number[row["class"]]
        return found


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB pixels (h, w, 3) of an image file; raises DataError."""
    with _open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_labels(path: Path) -> NDArray[np.int32]:
    """Instance ids (h, w) of an integer PNG; raises DataError, also for colour and floating-point masks."""
    with _open(path) as image:
        labels = np.asarray(image)
        if image.mode not in ("L", "I", "I;16", "I;16B"):
            raise DataError(f"{path}: labels must be one channel of integers (16-bit PNG), got a {image.mode} image")
    return labels.astype(np.int32)


def read_table(path: Path, columns: tuple[str, ...]) -> tuple[Row, ...]:
    """Lines of a CSV file that must have at least these columns; raises DataError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            rows, header = tuple(reader), tuple(reader.fieldnames or ())
    except FileNotFoundError:
        raise DataError(f"{path} is missing; it must have the columns {', '.join(columns)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error})") from error
    if missing := [column for column in columns if column not in header]:
        raise DataError(f"{path} has no column {missing[0]!r}; it has {', '.join(header) or 'nothing'}")
    return rows


def _open(path: Path) -> Image.Image:
    """An image whose pixels are decoded, so that damage shows here."""
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; images and labels are paired by their file names") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded ({error}); copy it again") from error
    return image


def _read_classes(path: Path) -> tuple[NucleusClass, ...]:
    if not path.exists():
        return ()
    classes = []
    for i, row in enumerate(read_table(path, ("name",))):
        try:
            color = ImageColor.getrgb(row.get("color") or PALETTE[i % len(PALETTE)])[:3]
        except ValueError:
            raise DataError(f"{path}: a color looks like #c8001e, got {row['color']!r}") from None
        classes.append(NucleusClass(row["name"], (color[0], color[1], color[2])))
    return tuple(classes)


def _read_manifest(path: Path) -> tuple[Row, ...]:
    if not path.is_file():
        raise DataError(f"{path} is missing; a data set is a folder with {FolderLayout.expected}")
    rows = read_table(path, ("name",))
    if not rows:
        raise DataError(f"{path} must have a header with a column 'name' and one line per image")
    names = [row["name"] for row in rows]
    for name in names:
        if not name or Path(name).name != name:
            raise DataError(f"{path}: a name must be a plain file name without its extension, got {name!r}")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: each name may stand once, got {next(n for n in names if names.count(n) > 1)!r} twice")
    return rows
