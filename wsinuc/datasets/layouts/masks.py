"""Sets whose nuclei are published as black-and-white masks: TNBC (one mask per image) and DSB 2018 (one per nucleus).

TNBC's masks do not separate nuclei: instances are the connected components (4-connected, like every outline in
wsinuc), so nuclei that touch are one.

P. Naylor et al., Segmentation of Nuclei in Histopathology Images by Deep Regression of the Distance Map, IEEE TMI 2019;
J. C. Caicedo et al., Nucleus Segmentation across Imaging Experiments: the 2018 Data Science Bowl, Nature Methods 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import ndimage

from wsinuc.datasets.base import Annotation, Layout, Row
from wsinuc.datasets.files import by_name, check_shape, image_shape, matching, read_image
from wsinuc.datasets.label_files import read_mask
from wsinuc.datasets.label_values import check_cover
from wsinuc.errors import DataError

BRAIN = ("12", "13", "14")
"""Patients of TNBC's second version whose tissue is brain; all others are breast."""


class TnbcLayout(Layout):
    """TNBC: 50 images 512 x 512 at 40x of 11 patients (68 of 14 with brain); attributes ``patient`` and ``organ``."""

    name = "tnbc"
    expected = "Slide_NN/NN_M.png with masks GT_NN/NN_M.png"
    mpp = 0.25  # 40x

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return next(_tnbc_images(path), None) is not None

    def scan(self) -> tuple[Row, ...]:
        return tuple(self._row(name, image.parent.name[-2:]) for name, image in self._images.items())

    @cached_property
    def _images(self) -> dict[str, Path]:
        return by_name(_tnbc_images(self.path))

    def _row(self, name: str, patient: str) -> Row:
        return {"name": name, "patient": patient, "organ": "brain" if patient in BRAIN else "breast"}

    def read(self, row: Row) -> Annotation:
        image = self._images[row["name"]]
        mask = _tnbc_mask(image)
        check_shape(mask, image_shape(mask), image, image_shape(image))
        nuclear, notes = read_mask(mask)
        # 4-connected by default.
        labels = ndimage.label(nuclear)[0].astype(np.int32)
        check_cover(labels, mask)
        return Annotation(image=read_image(image), labels=labels, notes=notes)


class Dsb2018Layout(Layout):
    """Data Science Bowl 2018: images of many microscopes, fluorescence among them; attribute ``stage`` (the folder).

    Scale and stain are not recorded. Masks do not overlap by the rules of the competition; where they do all the same,
    the pixel stays with the mask whose file name comes first.
    """

    name = "dsb2018"
    expected = "stage1_train/ID/images/ID.png with one mask per nucleus in stage1_train/ID/masks/"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return next(_dsb_images(path), None) is not None

    def scan(self) -> tuple[Row, ...]:
        return tuple({"name": name, "stage": image.parents[2].resolve().name} for name, image in self._images.items())

    @cached_property
    def _images(self) -> dict[str, Path]:
        return by_name(_dsb_images(self.path))

    def read(self, row: Row) -> Annotation:
        image = self._images[row["name"]]
        masks = sorted(matching(image.parents[1] / "masks", "*.png"))
        if not masks:
            raise DataError(f"{image.parents[1] / 'masks'} holds no masks; an image has one PNG per nucleus")
        shape = image_shape(image)
        labels = np.zeros(shape, np.int32)
        notes: dict[str, None] = {}
        for label, path in enumerate(masks, start=1):
            check_shape(path, image_shape(path), image, shape)
            nuclear, mask_notes = read_mask(path)
            labels[nuclear & (labels == 0)] = label
            notes |= dict.fromkeys(mask_notes)
        return Annotation(image=read_image(image), labels=labels, notes=tuple(notes))


def _tnbc_images(path: Path) -> Iterator[Path]:
    for depth in ("", "*/"):
        for image in matching(path, f"{depth}Slide_[0-9][0-9]/*.png"):
            if _tnbc_mask(image).parent.is_dir():
                yield image


def _tnbc_mask(image: Path) -> Path:
    return image.parents[1] / image.parent.name.replace("Slide_", "GT_") / image.name


def _dsb_images(path: Path) -> Iterator[Path]:
    for depth in ("*/", "*/*/"):
        for image in matching(path, f"{depth}images/*.png"):
            if image.parents[1].name == image.stem and (image.parents[1] / "masks").is_dir():
                yield image
