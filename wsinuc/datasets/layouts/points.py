"""NuCLS and EndoNuke: nuclei marked by a point and a class instead of an outline.

Such sets have no labels (all 0) but `points` and `point_classes`; they measure detection and classification.

M. Amgad et al., NuCLS: A Scalable Crowdsourcing Approach and Dataset for Nucleus Classification and Segmentation in
Breast Cancer, GigaScience 2022; A. Naumov et al., EndoNuke: Nuclei Detection Dataset for Estrogen and Progesterone
Stained IHC Endometrium Scans, Data 2022.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Annotation, Layout, Row
from wsinuc.datasets.files import IMAGE_SUFFIXES, by_stem, image_shape, matching, read_image, table_rows
from wsinuc.datasets.point_files import numbers
from wsinuc.errors import DataError
from wsinuc.limits import text_lines
from wsinuc.nuclei.classes import NucleusClass

SUPERCLASSES = {"tumor_any": 1, "nonTIL_stromal": 2, "sTIL": 3, "other_nucleus": 4}
"""NuCLS' ``super_classification`` -> class; anything else (AMBIGUOUS) is not known."""
_SUPERCLASS = "super_classification"
TILE_UM = 100.0
"""Side of every tile of EndoNuke; scanners differ, so a tile's width in pixels tells its resolution."""


class NuclsLayout(Layout):
    """NuCLS: breast at 0.2 um per pixel; attribute ``patient`` (of files named by TCGA).

    As published, ``rgb/NAME.png`` with ``csv/NAME.csv``: boxes, whose centres become points, and superclasses. Where
    the folder is said to be NuCLS, ``images/NAME.png`` with ``points/NAME.csv`` (x, y, class from 0) is taken, too.
    """

    name = "nucls"
    expected = "rgb/NAME.png with csv/NAME.csv (xmin ... super_classification), or images/ with points/ (x, y, class)"
    mpp = 0.2
    kind = "points"
    classes = (
        NucleusClass("Tumor", (255, 0, 0)),
        NucleusClass("Stromal", (0, 200, 70)),
        NucleusClass("sTIL", (0, 60, 255)),
        NucleusClass("Other", (150, 150, 150)),
    )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        # Points in images/ and points/ may be anyone's: numbers of classes and a resolution are NuCLS' by name alone.
        return (path / "rgb").is_dir() and (path / "csv").is_dir()

    def scan(self) -> tuple[Row, ...]:
        return tuple({"name": name, "patient": _tcga_patient(name)} for name in self._images)

    @cached_property
    def _images(self) -> dict[str, Path]:
        for images, tables in _NUCLS_FOLDERS:
            if (self.path / tables).is_dir():
                return by_stem(self.path / images, IMAGE_SUFFIXES)
        return {}

    def read(self, row: Row) -> Annotation:
        image = self._images[row["name"]]
        if image.parent.name == "rgb":
            points, classes = _boxes(self.path / "csv" / f"{image.stem}.csv")
        else:
            points, classes = _points(self.path / "points" / f"{image.stem}.csv")
        return _annotation(image, points, classes, len(self.classes))


class EndoNukeLayout(Layout):
    """EndoNuke: 1740 tiles of immunostained endometrium, 100 x 100 um; attribute ``annotator``.

    Lines of a label file are ``x y class``, the classes count from 0. Of tiles that several people marked (the
    agreement study) nothing is read: only the bulk of the data, where a tile has one annotator.
    """

    name = "endonuke"
    expected = "images/NAME.png with labels/bulk/ANNOTATOR/NAME.txt (x y class), in the set's folder or in dataset/"
    kind = "points"
    classes = (
        NucleusClass("Stroma", (15, 105, 138)),
        NucleusClass("Epithelium", (208, 2, 27)),
        NucleusClass("Other", (138, 137, 15)),
    )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return any((folder / "labels" / "bulk").is_dir() and (folder / "images").is_dir() for folder in _roots(path))

    def scan(self) -> tuple[Row, ...]:
        return tuple(self._row(name, *files) for name, files in self._files.items())

    @cached_property
    def _files(self) -> dict[str, tuple[Path, Path]]:
        tiles: dict[str, tuple[Path, Path]] = {}
        for folder in _roots(self.path):
            images = by_stem(folder / "images", IMAGE_SUFFIXES)
            for text in sorted(matching(folder / "labels" / "bulk", "**/*.txt")):
                if text.stem in tiles:
                    raise DataError(f"{text} and {tiles[text.stem][1]} label the same tile; keep one of them")
                # A missing image is named as it should be, and reading it says so.
                image = images.get(text.stem, folder / "images" / f"{text.stem}.png")
                tiles[text.stem] = (image, text)
        return dict(sorted(tiles.items()))

    def _row(self, name: str, image: Path, text: Path) -> Row:
        annotator = ""
        if text.parent.name != "bulk":
            annotator = text.parent.name
        # Every tile shows the same square of glass, so its width in pixels is its resolution.
        return {"name": name, "annotator": annotator, "mpp": f"{TILE_UM / image_shape(image)[1]:.6g}"}

    def read(self, row: Row) -> Annotation:
        image, text = self._files[row["name"]]
        try:
            values = array("d")
            with text_lines(text) as lines:
                for x, y, number in (line.split() for line in lines if line.strip()):
                    values.extend((float(x), float(y), float(number)))
        except DataError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(f"{text}: expected lines of three numbers, x y class ({error})") from error
        table = np.frombuffer(values).reshape(-1, 3)
        # x and y become (y, x), and classes count from 1, 0 being not known.
        return _annotation(image, table[:, 1::-1], table[:, 2] + 1, len(self.classes))


_NUCLS_FOLDERS = (("rgb", "csv"), ("images", "points"))


def _boxes(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (y, x) and classes of NuCLS' boxes; the lines that mark the field of view itself are no nuclei."""
    sides = ("ymin", "ymax", "xmin", "xmax")
    classes = array("d")

    def nuclei() -> Iterator[Row]:
        for row in table_rows(path, (*sides, _SUPERCLASS)):
            if row[_SUPERCLASS] != "fov":
                classes.append(SUPERCLASSES.get(row[_SUPERCLASS], 0))
                yield row

    table = numbers(nuclei(), sides, path)
    centres = np.stack([table[:, :2].mean(axis=1), table[:, 2:].mean(axis=1)], axis=1)
    return centres, np.frombuffer(classes)


def _points(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = ("y", "x", "class")
    table = numbers(table_rows(path, columns), columns, path)
    return table[:, :2], table[:, 2] + 1


def _annotation(image: Path, points: NDArray[np.float64], classes: NDArray[np.float64], largest: int) -> Annotation:
    """An image with its points, those outside of it left out (boxes may reach over the edge)."""
    if not (np.isfinite(points).all() and np.isin(classes, np.arange(largest + 1)).all()):
        raise DataError(
            f"{image.stem}: points must be finite and classes 0 to {largest - 1}, got {np.unique(classes) - 1}"
        )
    pixels = read_image(image)
    shape = pixels.shape[:2]
    inside = ((points >= 0) & (points < shape)).all(axis=1)
    return Annotation(
        image=pixels,
        labels=np.zeros(shape, np.int32),
        points=points[inside],
        point_classes=classes[inside].astype(np.int32),
    )


def _tcga_patient(name: str) -> str:
    if name.startswith("TCGA-"):
        return name[:12]
    return ""


def _roots(path: Path) -> Iterator[Path]:
    yield path
    yield path / "dataset"
