"""GlaS, the gland segmentation challenge of MICCAI 2015: 165 colon images at 20x, every gland with a number of its own.

Images are ``train_N.bmp``, ``testA_N.bmp`` and ``testB_N.bmp`` with labels ``..._anno.bmp`` beside them, and
``Grade.csv`` gives patient and grade. What is annotated are glands, not nuclei: the set serves pre-training and tissue
experiments (GenSelfDiff-HIS), and its layout says so (``kind``).

K. Sirinukunwattana et al., Gland Segmentation in Colon Histology Images: The GlaS Challenge Contest, Medical Image
Analysis 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from wsinuc.datasets.base import Annotation, Layout, Row
from wsinuc.datasets.files import by_name, matching, read_table
from wsinuc.datasets.label_files import read_annotation


class GlasLayout(Layout):
    """Attributes ``split`` (train, testA, testB), ``patient``, ``grade`` (benign, malignant) and
    ``differentiation``."""

    name = "glas"
    expected = "train_N.bmp, testA_N.bmp, testB_N.bmp, each with N_anno.bmp, and Grade.csv"
    mpp = 0.62005
    kind = "glands"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return next(_images(path), None) is not None

    def scan(self) -> tuple[Row, ...]:
        first = next(iter(self._images.values()), None)
        if first is None:
            return ()
        grades = {row["name"]: row for row in read_table(first.with_name("Grade.csv"), ("name",))}
        return tuple(_row(name, grades.get(name, {})) for name in self._images)

    @cached_property
    def _images(self) -> dict[str, Path]:
        return by_name(_images(self.path))

    def read(self, row: Row) -> Annotation:
        image = self._images[row["name"]]
        # Some programs save the annotation with a palette; the numbers of its colours are still the numbers of glands.
        return read_annotation(image, image.with_name(f"{image.stem}_anno.bmp"), glands=True)


def _row(name: str, known: Row) -> Row:
    return {
        "name": name,
        "split": name.partition("_")[0],
        "patient": known.get("patient ID", ""),
        "grade": known.get("grade (GlaS)", ""),
        "differentiation": known.get("grade (Sirinukunwattana et al. 2015)", ""),
    }


def _images(path: Path) -> Iterator[Path]:
    """Images with an annotation beside them, judged by names alone; the archive unpacks into a folder."""
    for depth in ("", "*/"):
        for image in matching(path, f"{depth}*.bmp"):
            if image.with_name(f"{image.stem}_anno.bmp").is_file():
                yield image
