"""NuInsSeg: 665 patches 512 x 512 of 31 human and mouse organs at 40x.

One folder per organ (``human bladder``), in it ``tissue images/NAME.png`` and ``label masks modify/NAME.tif``, integer
labels; where that folder is missing, ``label masks`` is read. Areas that the annotators called ambiguous (``vague
areas``) are not read: they count as background.

A. Mahbod et al., NuInsSeg: A Fully Annotated Dataset for Nuclei Instance Segmentation in H&E-Stained Histological
Images, Scientific Data 2024.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from wsinuc.datasets.base import Annotation, Layout, Row
from wsinuc.datasets.files import by_name, matching
from wsinuc.datasets.label_files import read_annotation

IMAGES = "tissue images"
LABELS = ("label masks modify", "label masks")
"""Where labels are, in order of preference: the first are what the authors count nuclei in."""


class NuInsSegLayout(Layout):
    """Patches of all organs; attributes ``organ`` (bladder) and ``species`` (human, mouse)."""

    name = "nuinsseg"
    expected = "ORGAN/tissue images/NAME.png with ORGAN/label masks modify/NAME.tif, as in 'human bladder'"
    mpp = 0.16  # not recorded; measured as docs/reference/test-data.md says

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return next(_labelled(path), None) is not None

    def scan(self) -> tuple[Row, ...]:
        return tuple({"name": name, **_tissue(image)} for name, image in self._images.items())

    @cached_property
    def _images(self) -> dict[str, Path]:
        return by_name(_labelled(self.path))

    def read(self, row: Row) -> Annotation:
        image = self._images[row["name"]]
        folders = [image.parents[1] / name for name in LABELS]
        folder = next(folder for folder in folders if folder.is_dir())
        return read_annotation(image, folder / f"{image.stem}.tif")


def _labelled(path: Path) -> Iterator[Path]:
    """Images of organs that have labels at all, judged by names alone; archives may unpack into a folder more."""
    for depth in ("*/", "*/*/"):
        for organ in matching(path, f"{depth}{IMAGES}"):
            if any((organ.parent / name).is_dir() for name in LABELS):
                yield from matching(organ, "*.png")


def _tissue(image: Path) -> Row:
    species, _, organ = image.parents[1].name.partition(" ")
    return {"organ": organ or species, "species": species if organ else ""}
