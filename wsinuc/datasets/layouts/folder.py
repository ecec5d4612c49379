"""One's own folder of annotated images: ``images/``, ``labels/`` and, for what is known of them, ``manifest.csv``.

Images are 8-bit RGB (PNG, TIFF, JPEG, BMP). Labels are PNGs or TIFFs of whole numbers, of the same
name and size (16 bit, or 8 bit for fewer than 256 nuclei), 0 is background, one number per nucleus;
what else is understood, and how, stands in `wsinuc.datasets.label_values`. The manifest has one
line per image: ``name`` (the file name without its extension), then any attributes (patient, organ,
stain ...) as text, by which images can be chosen. A column ``mpp`` (um per pixel), where there is
one, is the image's resolution unless the user gives another. Without a manifest the images are
those in ``images/``, and nothing but their names is known.

Classes, where there are any: ``classes.csv`` lists them (``name``, and optionally ``color`` as #rrggbb), and
``classes/NAME.csv`` gives the class name of each ``label``, in capitals or not.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Annotation, Row
from wsinuc.datasets.class_names import numbers_of, read_classes
from wsinuc.datasets.files import by_stem, table_rows
from wsinuc.datasets.label_files import LABEL_SUFFIXES, read_annotation
from wsinuc.datasets.layouts.manifest import ManifestLayout
from wsinuc.errors import DataError


class FolderLayout(ManifestLayout):
    """Images and label images paired by name."""

    name = "folder"
    expected = "images/NAME.png, labels/NAME.png and, for attributes, manifest.csv with a column 'name'"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.classes = read_classes(path / "classes.csv")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return (path / "labels").is_dir() and ((path / "manifest.csv").is_file() or (path / "images").is_dir())

    def read(self, row: Row) -> Annotation:
        name = row["name"]
        labels = self._labels.get(name, self.path / "labels" / f"{name}.png")
        annotation = read_annotation(self.image_path(name), labels)
        if not self.classes or annotation.numbers is None:
            return annotation
        return replace(annotation, classes=self.classes_of(name, annotation.labels, annotation.numbers))

    @cached_property
    def _labels(self) -> dict[str, Path]:
        return by_stem(self.path / "labels", LABEL_SUFFIXES)

    def classes_of(self, name: str, labels: NDArray[np.int32], numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """(labels.max() + 1,) class of each label as ``classes/NAME.csv`` has it, 0 where it says nothing.

        Parameters
        ----------
        labels
            (h, w) of the image.
        numbers
            (labels.max() + 1,) the number by which the table knows each label; several may have one.

        Raises
        ------
        DataError
            The table is damaged, or names a class or a nucleus that is not there.
        """
        number = numbers_of(self.classes, self.path / "classes.csv")
        path = self.path / "classes" / f"{name}.csv"
        present = np.bincount(labels.ravel(), minlength=len(numbers)) > 0
        present[0] = False
        known = set(numbers[present].tolist())
        class_of: dict[int, int] = {}
        for row in table_rows(path, ("label", "class")):
            if row["class"].casefold() not in number:
                known_names = ", ".join(c.name for c in self.classes)
                raise DataError(f"{path}: class {row['class']!r} is not in classes.csv, which has {known_names}")
            # Python refuses to read thousands of digits, and no label has 20.
            if row["label"].isdecimal() and len(row["label"]) < 20:
                label = int(row["label"])
            else:
                label = 0
            if label not in known:
                raise DataError(f"{path}: there is no nucleus {row['label']!r} in the labels of {name}")
            named = number[row["class"].casefold()]
            if class_of.setdefault(label, named) != named:
                both = " and ".join(self.classes[each - 1].name for each in (class_of[label], named))
                raise DataError(f"{path}: nucleus {label} has two classes, {both}: leave one of the lines out")
        classes = [class_of.get(each, 0) if there else 0 for each, there in zip(numbers.tolist(), present, strict=True)]
        return np.array(classes, np.int32)
