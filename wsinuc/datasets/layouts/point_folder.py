"""One's own images with nuclei marked by points: ``images/``, ``points/`` and what is known of them.

``points/NAME.csv`` has the columns x, y (pixels) and class; ``points/NAME.geojson`` is what QuPath writes of points.
Classes have any names. Where ``classes.csv`` lists them, it says their order and colours, and another name is
refused; otherwise they are those that the points have. Names are matched without regard to case. The resolution comes
from the user or from the column ``mpp`` of ``manifest.csv``, never from the layout.

BRCA-M2C is such a folder (S. Abousamra et al., Multi-Class Cell Detection Using Spatial Context Representation, ICCV
2021).
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np

from wsinuc.datasets.base import Annotation, Row
from wsinuc.datasets.class_names import free_classes, numbers_of, other_spellings, read_classes
from wsinuc.datasets.files import read_image
from wsinuc.datasets.layouts.manifest import ManifestLayout
from wsinuc.datasets.point_files import NamedPoints, point_files, read_points
from wsinuc.errors import DataError


class PointFolderLayout(ManifestLayout):
    """Images with points of free class names."""

    name = "points"
    expected = "images/NAME.png with points/NAME.csv (x, y, class by name) or points/NAME.geojson (points of QuPath)"
    kind = "points"
    annotated = "point files"
    unknown_mpp = "; the images of NuCLS, with its classes as numbers, are nucls=FOLDER"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.open_classes = not (path / "classes.csv").is_file()
        if self.open_classes:
            names = Counter(name for file in self._points.values() for name in read_points(file).names)
            self.classes = free_classes(names, path / "points")
        else:
            self.classes = read_classes(path / "classes.csv")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        # With labels it is an ordinary folder, whose outlines say more than points.
        return all((path / name).is_dir() for name in ("images", "points")) and not (path / "labels").is_dir()

    def read(self, row: Row) -> Annotation:
        name = row["name"]
        # A missing file is named as it should be, and reading it says so.
        file = self._points.get(name, self.path / "points" / f"{name}.csv")
        marked = read_points(file)
        pixels = read_image(self.image_path(name))
        shape = (pixels.shape[0], pixels.shape[1])
        points, notes = marked.inside(shape, str(file))
        if self.open_classes:
            spellings = other_spellings(points.names, self.classes).items()
            notes = (*notes, *(f"hold the class {name!r}: taken for {called!r}" for name, called in spellings))
        return Annotation(
            image=pixels,
            labels=np.zeros(shape, np.int32),
            points=points.places,
            point_classes=np.array(self._numbers(points, file), np.int32),
            notes=notes,
        )

    @cached_property
    def _points(self) -> dict[str, Path]:
        return point_files(self.path / "points")

    def _numbers(self, points: NamedPoints, file: Path) -> list[int]:
        """Class of each point, 0 for one that has none; raises DataError for a class that is not listed."""
        # An empty class is one that nobody knows.
        number = {"": 0} | numbers_of(self.classes, self.path)
        for name in points.names:
            if name.casefold() not in number:
                known = ", ".join(c.name for c in self.classes)
                raise DataError(f"{file}: class {name!r} is not in classes.csv, which has {known}")
        return [number[name.casefold()] for name in points.names]
