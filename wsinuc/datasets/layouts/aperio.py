"""MoNuSeg and the Kumar set it grew from: TIFF tiles of TCGA slides at 40x, nuclei outlined in Aperio's XML.

Training data are ``Tissue Images/NAME.tif`` with ``Annotations/NAME.xml``; the test data of MoNuSeg
lie together in one folder. Both are found in the given folder or below it, where the archives
unpack to. A vertex (X, Y) is a place in pixels from the image's corner, so a pixel belongs to a
nucleus when its centre, half a pixel further, lies inside. Where outlines overlap, the pixel stays
with the nucleus that stands first in the file, as the challenge's own script has it; a nucleus that
covers no free pixel is dropped.

N. Kumar et al., A Dataset and a Technique for Generalized Nuclear Segmentation for Computational
Pathology, IEEE TMI 2017; N. Kumar et al., A Multi-Organ Nucleus Segmentation Challenge, IEEE TMI
2020.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, ClassVar
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException, ElementTree
from numpy.typing import NDArray
from skimage import draw

from wsinuc.datasets.base import Annotation, Layout, Row
from wsinuc.datasets.files import by_name, image_shape, matching, read_image
from wsinuc.errors import DataError
from wsinuc.limits import listed, open_bounded

MAX_PLACE = 1e6
"""Largest coordinate in pixels; annotated images are far smaller, and outlines may reach beyond their edge."""
MAX_CORNERS = 5_000
"""Most corners of an outline: painting asks every pixel around it for every corner."""
MAX_DEPTH = 32
"""Elements in elements; Aperio's XML has six."""
_VERTEX = ("Annotation", "Regions", "Region", "Vertices", "Vertex")

Organs = Mapping[str, tuple[str, ...]]
"""Organ -> patients; each gave one image."""

KUMAR_TRAIN: Organs = {
    "breast": ("TCGA-A7-A13E", "TCGA-A7-A13F", "TCGA-AR-A1AK", "TCGA-AR-A1AS"),
    "kidney": ("TCGA-B0-5711", "TCGA-HE-7128", "TCGA-HE-7129", "TCGA-HE-7130"),
    "liver": ("TCGA-18-5592", "TCGA-38-6178", "TCGA-49-4488", "TCGA-50-5931"),
    "prostate": ("TCGA-G9-6336", "TCGA-G9-6348", "TCGA-G9-6356", "TCGA-G9-6363"),
}
"""What Kumar's authors train on."""
KUMAR_TEST_SAME: Organs = {
    "breast": ("TCGA-E2-A1B5", "TCGA-E2-A14V"),
    "kidney": ("TCGA-B0-5710", "TCGA-B0-5698"),
    "liver": ("TCGA-21-5784", "TCGA-21-5786"),
    "prostate": ("TCGA-CH-5767", "TCGA-G9-6362"),
}
"""Their test images of the same organs."""
KUMAR_TEST_DIFFERENT: Organs = {
    "bladder": ("TCGA-DK-A2I6", "TCGA-G2-A2EK"),
    "colon": ("TCGA-AY-A8YK", "TCGA-NH-A8F7"),
    "stomach": ("TCGA-KB-A93J", "TCGA-RD-A8N9"),
}
"""Their test images of other organs."""
MONUSEG_TEST: Organs = {
    "bladder": ("TCGA-CU-A0YN", "TCGA-ZF-A9R5"),
    "brain": ("TCGA-FG-A4MU", "TCGA-HT-8564"),
    "breast": ("TCGA-AC-A2FO", "TCGA-AO-A0J2"),
    "colon": ("TCGA-A6-6782",),
    "kidney": ("TCGA-2Z-A9J9", "TCGA-GL-6846", "TCGA-IZ-8196"),
    "lung": ("TCGA-44-2665", "TCGA-69-7764"),
    "prostate": ("TCGA-EJ-A46H", "TCGA-HC-7209"),
}
"""Test images of the challenge; its first 30 training images are Kumar's."""


class MoNuSegLayout(Layout):
    """Tiles of the challenge; attributes ``split`` (train, test), ``organ`` (empty where unknown) and ``patient``."""

    name = "monuseg"
    expected = "Tissue Images/NAME.tif with Annotations/NAME.xml, or NAME.tif and NAME.xml together"
    mpp = 0.25
    splits: ClassVar[Mapping[str, tuple[Organs, ...]]] = {
        "train": (KUMAR_TRAIN, KUMAR_TEST_SAME, KUMAR_TEST_DIFFERENT),
        "test": (MONUSEG_TEST,),
    }

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return next(_pairs(path), None) is not None

    def scan(self) -> tuple[Row, ...]:
        return tuple(self._row(name) for name in self._files)

    def read(self, row: Row) -> Annotation:
        image, xml = self._files[row["name"]]
        labels = paint_regions(read_regions(xml), image_shape(image))
        return Annotation(image=read_image(image), labels=labels)

    @cached_property
    def _files(self) -> dict[str, tuple[Path, Path]]:
        annotations = dict(_pairs(self.path))
        return {name: (image, annotations[image]) for name, image in by_name(annotations).items()}

    def _row(self, name: str) -> Row:
        # TCGA-XX-XXXX: the part of a TCGA barcode that names the patient.
        patient = name[:12]
        for split, tables in self.splits.items():
            for organ, patients in (item for table in tables for item in table.items()):
                if patient in patients:
                    return {"name": name, "split": split, "organ": organ, "patient": patient}
        in_test = "test" in str(self._files[name][0].relative_to(self.path)).lower()
        return {"name": name, "split": "test" if in_test else "train", "organ": "", "patient": patient}


class KumarLayout(MoNuSegLayout):
    """The 30 tiles of 2017; ``split`` is train, test_same (organs of the training images) or test_different."""

    name = "kumar"
    splits: ClassVar[Mapping[str, tuple[Organs, ...]]] = {
        "train": (KUMAR_TRAIN,),
        "test_same": (KUMAR_TEST_SAME,),
        "test_different": (KUMAR_TEST_DIFFERENT,),
    }

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the folder is named after the set; its files alone look like the training data of MoNuSeg."""
        return "kumar" in path.resolve().name.lower() and super().recognises(path)


def read_regions(path: Path) -> list[NDArray[np.float64]]:
    """Outlines, each ``(n, 2)`` (y, x) in pixels from the image's corner, in the order of the file.

    Raises
    ------
    DataError
        The file is missing, no whole XML, not Aperio's, or an outline cannot be one of a nucleus.
    """
    try:
        with open_bounded(path) as file:
            return list(_outlines(file, path))
    except FileNotFoundError:
        raise DataError(f"{path} is missing; images and annotations are paired by their file names") from None
    except DefusedXmlException as error:
        raise DataError(f"{path} declares entities, which no annotation needs and which can be an attack") from error
    except DataError:
        raise
    except (ParseError, OSError, ValueError, LookupError) as error:
        raise DataError(f"{path} is no whole XML file ({error}); copy it again") from error


def _outlines(file: BinaryIO, path: Path) -> Iterator[NDArray[np.float64]]:
    """The outline of each region, with nothing kept of the file that has been passed."""
    steps = ElementTree.iterparse(file, events=("start", "end"))
    open_tags: list[Element] = []
    corners = array("d")
    for event, element in steps:
        if event == "start":
            open_tags.append(element)
            if len(open_tags) == 1 and element.tag != "Annotations":
                raise DataError(f"{path}: expected Aperio's XML with the root Annotations, got {listed([element.tag])}")
            if len(open_tags) > MAX_DEPTH:
                raise DataError(f"{path}: elements in elements without end, expected Aperio's XML")
            continue
        tags = tuple(tag.tag for tag in open_tags[1:])  # without the root
        open_tags.pop()
        if tags == _VERTEX:
            corners.extend(_corner(element, path))
        elif tags == _VERTEX[:3]:
            yield _outline(corners, element, path)
            corners = array("d")
        # ElementTree keeps every element below its parent; without this a file of outlines becomes a tree of them.
        element.clear()
        if open_tags:
            open_tags[-1].remove(element)


def paint_regions(regions: list[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Labels (h, w), dense, of outlines; where they overlap the first one keeps the pixel.

    Examples
    --------
    >>> square = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 2.0], [2.0, 0.0]])
    >>> paint_regions([square, square + 1], (3, 4)).tolist()
    [[1, 1, 0, 0], [1, 1, 2, 0], [0, 2, 2, 0]]
    """
    labels = np.zeros(shape, np.int32)
    label = 0
    for region in (r for r in regions if len(r)):
        # scikit-image counts from the centres of pixels, Aperio from the image's corner.
        rows = region[:, 0] - 0.5
        columns = region[:, 1] - 0.5
        y, x = draw.polygon(rows, columns, shape)
        # The first outline keeps a pixel, as in the challenge's own script.
        free = labels[y, x] == 0
        if free.any():
            label += 1
            labels[y[free], x[free]] = label
    return labels


def _corner(vertex: Element, path: Path) -> tuple[float, float]:
    try:
        return float(vertex.attrib["Y"]), float(vertex.attrib["X"])
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: a vertex needs the numbers X and Y ({error})") from error


def _outline(corners: array[float], region: Element, path: Path) -> NDArray[np.float64]:
    outline = np.frombuffer(corners).reshape(-1, 2)
    if not np.isfinite(outline).all():
        raise DataError(f"{path}: region {str(region.get('Id'))[:40]} has a vertex that is no finite number")
    if np.abs(outline).max(initial=0) > MAX_PLACE:
        raise DataError(
            f"{path}: region {str(region.get('Id'))[:40]} has a vertex where no image is: are these pixels?"
        )
    if len(outline) > MAX_CORNERS:
        raise DataError(
            f"{path}: region {str(region.get('Id'))[:40]} has {len(outline):,} corners, up to "
            f"{MAX_CORNERS:,} are painted: "
            "is it the outline of a nucleus?"
        )
    return outline


def _pairs(path: Path) -> Iterator[tuple[Path, Path]]:
    """Images that have, or should have, an annotation, judged by names alone."""
    for depth in ("", "*/", "*/*/", "*/*/*/"):
        for image in matching(path, f"{depth}*.tif"):
            if image.parent.name.lower() == "tissue images":
                yield image, image.parents[1] / "Annotations" / f"{image.stem}.xml"
            elif image.with_suffix(".xml").is_file():
                yield image, image.with_suffix(".xml")
