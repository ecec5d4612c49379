"""CoNSeP, CPM-15/17 and Lizard: PNG images with MATLAB files (version 5) that hold ``inst_map``,
ids of instances (h, w).

Only the variables that are needed are read, after the sizes that the file's header declares were
compared with the image.

S. Graham et al., HoVer-Net, Medical Image Analysis 2019 (CoNSeP); Q. D. Vu et al., Methods for Segmentation and
Classification of Digital Microscopy Tissue Images, 2019 (CPM); S. Graham et al., Lizard, ICCV workshops 2021.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Annotation, Layout, Row
from wsinuc.datasets.files import by_name, check_shape, image_shape, matching, read_image, read_table
from wsinuc.datasets.label_values import instances_of, label_ids
from wsinuc.datasets.mat_file import list_variables, read_variable
from wsinuc.errors import DataError
from wsinuc.limits import listed
from wsinuc.nuclei.classes import NucleusClass


class _PairedLayout(Layout):
    """``Images/NAME.png`` with ``Labels/NAME.mat``, in folders named after the part of the data set."""

    def scan(self) -> tuple[Row, ...]:
        return tuple({"name": name, **self._attributes(image)} for name, image in self._images.items())

    @cached_property
    def _images(self) -> dict[str, Path]:
        return by_name(_paired_images(self.path), self._name)

    def _name(self, image: Path) -> str:
        return image.stem

    def _attributes(self, image: Path) -> Row:
        return {"split": image.parents[1].name.lower()}


class ConsepLayout(_PairedLayout):
    """CoNSeP: 41 colorectal images 1000 x 1000 at 40x, seven classes; attribute ``split`` (train, test).

    The class of a nucleus is the commonest value of ``type_map`` within it.
    """

    name = "consep"
    expected = "Train/Images/train_N.png with Train/Labels/train_N.mat (inst_map, type_map), and Test likewise"
    mpp = 0.25
    classes: tuple[NucleusClass, ...] = (
        NucleusClass("Other", (160, 160, 160)),
        NucleusClass("Inflammatory", (0, 210, 60)),
        NucleusClass("Healthy epithelial", (255, 170, 60)),
        NucleusClass("Malignant epithelial", (220, 0, 0)),
        NucleusClass("Fibroblast", (60, 90, 240)),
        NucleusClass("Muscle", (0, 190, 230)),
        NucleusClass("Endothelial", (190, 60, 220)),
    )
    grouping: ClassVar[Sequence[int]] = range(8)
    """Class of each value of ``type_map``."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return any(image.stem.startswith(("train_", "test_")) for image in _paired_images(path))

    def read(self, row: Row) -> Annotation:
        image = self._images[row["name"]]
        path = _labels_of(image)
        arrays = read_mat(path, ("inst_map", "type_map"), image)
        instances = instances_of(arrays["inst_map"], path)
        types = label_ids(arrays["type_map"], path)
        if types.max(initial=0) >= len(self.grouping):
            raise DataError(f"{path}: type_map must hold 0 to {len(self.grouping) - 1}, got {types.max()}")
        classes = _commonest(instances.labels, np.asarray(self.grouping)[types])
        return Annotation(image=read_image(image), labels=instances.labels, classes=classes, notes=instances.notes)


class GroupedConsepLayout(ConsepLayout):
    """CoNSeP with the four classes that HoVer-Net is trained on: 3 and 4 are epithelial, 5 to 7 spindle-shaped."""

    name = "consep-grouped"
    classes = (
        NucleusClass("Other", (160, 160, 160)),
        NucleusClass("Inflammatory", (0, 210, 60)),
        NucleusClass("Epithelial", (220, 0, 0)),
        NucleusClass("Spindle-shaped", (60, 90, 240)),
    )
    grouping = (0, 1, 2, 3, 3, 4, 4, 4)


class CpmLayout(_PairedLayout):
    """CPM-15 and CPM-17, as HoVer-Net's authors pass them on; attributes ``set`` (the folder's name) and ``split``.

    Tiles of 20x and of 40x are mixed and the files do not say which is which, so the resolution must be given;
    HoVer-Net takes all for 40x, which is 0.25.
    """

    name = "cpm"
    expected = "cpm17/train/Images/NAME.png with cpm17/train/Labels/NAME.mat (inst_map), and test or cpm15 likewise"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return next(_paired_images(path), None) is not None

    def read(self, row: Row) -> Annotation:
        image = self._images[row["name"]]
        path = _labels_of(image)
        instances = instances_of(read_mat(path, ("inst_map",), image)["inst_map"], path)
        return Annotation(image=read_image(image), labels=instances.labels, notes=instances.notes)

    def _name(self, image: Path) -> str:
        row = self._attributes(image)
        # image_00 is in every part.
        return "_".join(part for part in (row["set"], row["split"], image.stem) if part)

    def _attributes(self, image: Path) -> Row:
        # Resolved, so that "." has a name.
        part = image.parents[1].resolve()
        if part.name.lower() in ("train", "test"):
            return {"set": part.parent.name.lower(), "split": part.name.lower()}
        return {"set": part.name.lower(), "split": ""}


class LizardLayout(Layout):
    """Lizard: colon at 20x, six classes; attributes ``source`` and ``split`` (1 to 3, the authors' folds).

    ``id`` and ``class`` of the MATLAB file list the nuclei; those whose id is not in ``inst_map`` are left out.
    """

    name = "lizard"
    expected = "Lizard_Images1 and Lizard_Images2 with PNGs, Lizard_Labels/Labels/NAME.mat and Lizard_Labels/info.csv"
    mpp = 0.5
    classes = (
        NucleusClass("Neutrophil", (255, 140, 0)),
        NucleusClass("Epithelial", (0, 190, 60)),
        NucleusClass("Lymphocyte", (230, 0, 0)),
        NucleusClass("Plasma", (0, 210, 230)),
        NucleusClass("Eosinophil", (60, 60, 255)),
        NucleusClass("Connective", (255, 230, 0)),
    )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return next(_lizard_images(path), None) is not None and _lizard_labels(path) is not None

    def scan(self) -> tuple[Row, ...]:
        info = {row["Filename"]: row for row in read_table(self._labels.parent / "info.csv", ("Filename",))}
        unknown: Row = {}
        return tuple(
            {
                "name": name,
                "source": info.get(name, unknown).get("Source", ""),
                "split": info.get(name, unknown).get("Split", ""),
            }
            for name in self._images
        )

    @cached_property
    def _images(self) -> dict[str, Path]:
        return by_name(_lizard_images(self.path))

    @cached_property
    def _labels(self) -> Path:
        labels = _lizard_labels(self.path)
        if labels is None:
            raise DataError(f"{self.path}: there is no Lizard_Labels/Labels; the set is {self.expected}")
        return labels

    def read(self, row: Row) -> Annotation:
        image = self._images[row["name"]]
        path = self._labels / f"{row['name']}.mat"
        arrays = read_mat(path, ("inst_map", "id", "class"), image)
        instances = instances_of(arrays["inst_map"], path)
        ids, types = (label_ids(arrays[key].reshape(1, -1), path)[0] for key in ("id", "class"))
        if len(ids) != len(types) or types.max(initial=0) > len(self.classes):
            raise DataError(
                f"{path}: expected one class (1 to {len(self.classes)}) per id, got {len(types)} for {len(ids)}"
            )
        known = dict(zip(ids.tolist(), types.tolist(), strict=True))
        known[0] = 0  # whatever the file says of the background
        # An instance that the list lacks has no class.
        classes = np.array([known.get(number, 0) for number in instances.numbers.tolist()], np.int32)
        return Annotation(image=read_image(image), labels=instances.labels, classes=classes, notes=instances.notes)


def read_mat(path: Path, variables: tuple[str, ...], image: Path) -> dict[str, NDArray[Any]]:
    """Variables of a MATLAB file (version 5).

    Parameters
    ----------
    variables
        Their names; what ends in ``_map`` must be (h, w) like the image.
    image
        The image that they belong to.

    Raises
    ------
    DataError
        The file is missing or damaged, lacks a variable, or one has another size than the image, before it is read.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; images and labels are paired by their file names")
    try:
        listing = list_variables(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    missing = [name for name in variables if name not in listing]
    if missing:
        raise DataError(f"{path} has no variable {missing[0]!r}; it has {listed(listing)}")
    size = image_shape(image)
    for name in variables:
        if name.endswith("_map"):
            check_shape(path, listing[name].shape, image, size)
        elif math.prod(listing[name].shape) > math.prod(size):  # before it is unpacked: it may not fit
            raise DataError(f"{path}: {name} claims {listing[name].shape} values, more than the image has pixels")
    return {name: read_variable(listing[name], path) for name in variables}


def _commonest(labels: NDArray[np.int32], types: NDArray[np.integer]) -> NDArray[np.int32]:
    """(labels.max() + 1,) the commonest type above 0 among the pixels of each label; the smaller one of a tie."""
    inside = (labels > 0) & (types > 0)
    # One count for each pair of label and type; argmax takes the first of equal ones.
    width = int(types.max(initial=0)) + 1
    counts = np.bincount(labels[inside] * width + types[inside], minlength=(int(labels.max(initial=0)) + 1) * width)
    commonest: NDArray[np.int32] = counts.reshape(-1, width).argmax(axis=1).astype(np.int32)
    return commonest


def _paired_images(path: Path) -> Iterator[Path]:
    """``Images/NAME.png`` with a ``Labels`` folder of MATLAB files beside, in the given folder or up to two below."""
    # No deeper, so that pointing at a large folder does not search all of it.
    for depth in ("", "*/", "*/*/"):
        for labels in matching(path, f"{depth}Labels"):
            if next(matching(labels, "*.mat"), None) is not None:
                yield from (image for image in matching(labels.parent / "Images", "*.png"))


def _labels_of(image: Path) -> Path:
    return image.parents[1] / "Labels" / f"{image.stem}.mat"


def _lizard_images(path: Path) -> Iterator[Path]:
    """PNGs in Lizard_Images1 and 2; archives unpack to one such folder in another of the same name."""
    for depth in ("*/", "*/*/"):
        for image in matching(path, f"{depth}*.png"):
            if image.parent.name.lower().startswith("lizard_images"):
                yield image


def _lizard_labels(path: Path) -> Path | None:
    candidates = (labels for depth in ("*/", "*/*/") for labels in matching(path, f"{depth}Labels"))
    return next((labels for labels in candidates if labels.parent.name.lower() == "lizard_labels"), None)
