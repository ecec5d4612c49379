"""PanNuke: 7901 patches of 19 tissues in three folds of NumPy arrays, five classes of nuclei, 0.25 um per pixel.

As published, a fold is ``Fold 1/images/fold1/{images,types}.npy`` and ``Fold
1/masks/fold1/masks.npy`` (N x 256 x 256 x 3 and x 6, floating-point numbers; the sixth channel is
the background). Each of the other channels holds the instance ids of one class. Also taken: other
spellings of the folders, one fold alone, ``fold1/{images,masks,types}.npy``, and the files sorted
by kind, ``images/fold1.npy``, ``masks/fold1.npy``, ``types/fold1.npy``.

Where two classes claim a pixel it becomes background (what NASDM does too): the annotation
contradicts itself there, and neither nucleus should teach. Ids start anew in every channel of some
patches, so nuclei are numbered again, 1..n in the order of classes. Arrays are mapped, never
loaded: a fold of images alone is 4 GB.

J. Gamper et al., PanNuke Dataset Extension, Insights and Baselines, arXiv 2003.10778, 2020.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Annotation, Layout, Row
from wsinuc.datasets.files import by_name, matching
from wsinuc.datasets.label_values import EMPTY, instances_of
from wsinuc.errors import DataError
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.regular import refuse_special

CLASSES = (
    NucleusClass("Neoplastic", (200, 0, 0)),
    NucleusClass("Inflammatory", (34, 221, 77)),
    NucleusClass("Connective", (35, 92, 236)),
    NucleusClass("Dead", (254, 255, 0)),
    NucleusClass("Epithelial", (255, 159, 68)),
)
CHANNELS = len(CLASSES) + 1  # and the background


@dataclass(frozen=True, slots=True)
class _Fold:
    number: str
    images: Path
    masks: Path
    types: Path


class PanNukeLayout(Layout):
    """Patches of all folds that are there; attributes ``fold`` and ``tissue``."""

    name = "pannuke"
    expected = "Fold N/images/foldN/images.npy, types.npy beside it, and Fold N/masks/foldN/masks.npy"
    mpp = 0.25
    classes = CLASSES

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return next(_find_folds(path), None) is not None

    def scan(self) -> tuple[Row, ...]:
        return tuple(row for fold in self._folds.values() for row in _rows(fold))

    @cached_property
    def _folds(self) -> dict[str, _Fold]:
        folds = {fold.images: fold for fold in _find_folds(self.path)}
        return {number: folds[path] for number, path in by_name(folds, lambda path: folds[path].number).items()}

    def read(self, row: Row) -> Annotation:
        fold = self._folds[row["fold"]]
        index = int(row["name"].rpartition("_")[2])
        labels, classes, notes = merge_channels(np.asarray(_map(fold.masks)[index]), fold.masks)
        pixels = _pixels(np.asarray(_map(fold.images)[index]), row)
        return Annotation(image=pixels, labels=labels, classes=classes, notes=notes)


def merge_channels(masks: NDArray[Any], source: Path) -> tuple[NDArray[np.int32], NDArray[np.int32], tuple[str, ...]]:
    """One label image from one channel of ids per class; contested pixels become background.

    Parameters
    ----------
    masks
        (h, w, 6) ids, 0 where there is no nucleus of the class; the last channel, the background, is not looked at.
    source
        The file, for errors.

    Returns
    -------
    labels
        int32 (h, w), dense.
    classes
        int32 (labels.max() + 1,), 1 for the first channel; 0 for the background.
    notes
        What was done to a channel that does not hold one number per nucleus; see `wsinuc.datasets.label_values`.
    """
    claimed = (masks[..., :-1] > 0).sum(axis=2)  # how many classes want each pixel
    labels = np.zeros(masks.shape[:2], np.int32)
    classes = [np.zeros(1, np.int32)]
    notes: dict[str, None] = {}
    count = 0
    for number in range(1, CHANNELS):
        instances = instances_of(masks[..., number - 1], source)
        ids = np.where(claimed == 1, instances.labels, 0)
        values, dense = np.unique(ids[ids > 0], return_inverse=True)
        labels[ids > 0] = dense + count + 1
        count += len(values)
        classes.append(np.full(len(values), number, np.int32))
        notes |= dict.fromkeys(note for note in instances.notes if note != EMPTY)
    empty = () if count else (EMPTY,)
    return labels, np.concatenate(classes), (*notes, *empty)


def _find_folds(path: Path) -> Iterator[_Fold]:
    """Folds in any of the layouts, judged by names alone."""
    for depth in ("", "*/", "images/*/", "*/images/*/", "*/*/images/*/"):
        for images in matching(path, f"{depth}images.npy"):
            if len(images.parents) > 2:
                above = images.parents[2]
            else:
                above = images.parent
            beside = images.with_name("masks.npy")
            across = above / "masks" / images.parent.name / "masks.npy"
            masks = beside if beside.is_file() else across
            if masks.is_file():
                yield _Fold(_number(images.parent), images, masks, images.with_name("types.npy"))
    for images in matching(path, "images/*.npy"):
        masks = path / "masks" / images.name
        if masks.is_file():
            yield _Fold(_number(images), images, masks, path / "types" / images.name)


def _number(path: Path) -> str:
    """The fold's number from the nearest folder that says one."""
    for name in (path.stem, *(parent.name for parent in path.parents)):
        match = re.search(r"fold[ _-]*(\d+)", name, re.IGNORECASE)
        if match:
            return match[1]
    return "1"


def _rows(fold: _Fold) -> Iterator[Row]:
    images = _map(fold.images)
    masks = _map(fold.masks)
    if images.ndim != 4 or images.shape[3] != 3 or masks.shape != (*images.shape[:3], CHANNELS):
        raise DataError(
            f"{fold.masks}: expected images (n, 256, 256, 3) and masks (n, 256, 256, 6), got {images.shape} and "
            f"{masks.shape}: the two files are of different folds, or were converted"
        )
    tissues = _map(fold.types)
    if tissues.shape != images.shape[:1] or tissues.dtype.kind not in "US":
        raise DataError(f"{fold.types}: expected {len(images)} names of tissues, got {tissues.dtype} {tissues.shape}")
    for index, tissue in enumerate(tissues.astype(str).tolist()):
        yield {"name": f"fold{fold.number}_{index:04d}", "fold": fold.number, "tissue": tissue}


def _pixels(image: NDArray[Any], row: Row) -> NDArray[np.uint8]:
    """The patch as 8-bit RGB; it is published as floating-point numbers from 0 to 255."""
    if not (image.min() >= 0 and image.max() <= 255):
        raise DataError(f"{row['name']}: pixels must lie between 0 and 255, got {image.min():g} to {image.max():g}")
    # Taken for grey levels they would all be black; an image of nothing but 0 and 1 is no tissue.
    if image.dtype.kind == "f" and 0 < image.max() <= 1:
        raise DataError(f"{row['name']}: pixels lie between 0 and 1; the published arrays go to 255, multiply by that")
    pixels: NDArray[np.uint8] = np.rint(image).astype(np.uint8)
    return pixels


def _map(path: Path) -> NDArray[Any]:
    """An array on disk, mapped: only what is indexed is read, and its size is known from the header."""
    try:
        refuse_special(path)
        # A pickle would run code.
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    except FileNotFoundError:
        raise DataError(f"{path} is missing; a fold has images.npy, types.npy and masks.npy") from None
    except DataError:
        raise
    except Exception as error:  # the header is a Python expression, which may be wrong in many ways
        raise DataError(f"{path} is no plain NumPy array, or is cut off ({error}); copy it again") from error
