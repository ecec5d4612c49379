"""NuCLS, EndoNuke and one's own points: nuclei marked by a point and a class instead of an outline.

Such sets have no labels (all 0) but `points` and `point_classes`; they measure detection and classification.

M. Amgad et al., NuCLS: A Scalable Crowdsourcing Approach and Dataset for Nucleus Classification and Segmentation in
Breast Cancer, GigaScience 2022; A. Naumov et al., EndoNuke: Nuclei Detection Dataset for Estrogen and Progesterone
Stained IHC Endometrium Scans, Data 2022.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Annotation, Layout, Row
from wsinuc.datasets.files import IMAGE_SUFFIXES, by_stem, image_shape, read_image, read_table, table_rows
from wsinuc.datasets.layouts.folder import read_classes
from wsinuc.datasets.layouts.manifest import ManifestLayout
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

    As published, ``rgb/NAME.png`` with ``csv/NAME.csv``: boxes, whose centres become points, and superclasses. Also
    taken: ``images/NAME.png`` with ``points/NAME.csv`` (x, y, class from 0).
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
        return any((path / images).is_dir() and (path / tables).is_dir() for images, tables in _NUCLS_FOLDERS)

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


class PointFolderLayout(ManifestLayout):
    """One's own images with points: classes are named in ``classes.csv``, images described in ``manifest.csv``.

    ``points/NAME.csv`` has the columns x, y (pixels) and class, a name from ``classes.csv``; empty is not known.
    BRCA-M2C (Abousamra et al., Multi-Class Cell Detection Using Spatial Context Representation, ICCV 2021) is one.
    """

    name = "points"
    expected = "images/NAME.png with points/NAME.csv (x, y, class by name) and classes.csv (name, color)"
    kind = "points"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.classes = read_classes(path / "classes.csv")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        folders = all((path / name).is_dir() for name in ("images", "points"))
        # With labels it is an ordinary folder, whose outlines say more than points.
        return folders and (path / "classes.csv").is_file() and not (path / "labels").is_dir()

    def read(self, row: Row) -> Annotation:
        name = row["name"]
        table = self.path / "points" / f"{name}.csv"
        rows = read_table(table, ("x", "y", "class"))
        # An empty class is one that nobody knows.
        number = {"": 0} | {c.name: i for i, c in enumerate(self.classes, start=1)}
        for line in rows:
            if line["class"] not in number:
                known = ", ".join(c.name for c in self.classes)
                raise DataError(f"{table}: class {line['class']!r} is not in classes.csv, which has {known}")
        classes = np.array([number[line["class"]] for line in rows], np.float64)
        points = _numbers(rows, ("y", "x"), table)
        return _annotation(self.image_path(name), points, classes, len(self.classes))


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
            for text in sorted((folder / "labels" / "bulk").rglob("*.txt")):
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

    table = _numbers(nuclei(), sides, path)
    centres = np.stack([table[:, :2].mean(axis=1), table[:, 2:].mean(axis=1)], axis=1)
    return centres, np.frombuffer(classes)


def _points(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = ("y", "x", "class")
    table = _numbers(table_rows(path, columns), columns, path)
    return table[:, :2], table[:, 2] + 1


def _numbers(rows: Iterable[Row], columns: tuple[str, ...], path: Path) -> NDArray[np.float64]:
    values = array("d")
    try:
        for row in rows:
            values.extend(float(row[column]) for column in columns)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {', '.join(columns)} must be numbers ({error})") from error
    return np.frombuffer(values).reshape(-1, len(columns))


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
