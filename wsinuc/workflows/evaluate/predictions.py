"""What a segmenter, or anything else that wrote label images, says about an annotated image.

A model's path is the one that ``segment`` takes: the image becomes a slide held in memory, is read at the model's
resolution, goes through the block task as one block, and the outlines that would be written are painted back at the
image's own resolution. So scores include resampling, tiling, ownership and tracing, and are those of the product.
Only the search for tissue is left out: annotated fields are taken whole.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.label_files import read_ids, read_labels
from wsinuc.datasets.layouts.folder import FolderLayout
from wsinuc.errors import DataError
from wsinuc.exports.atomic import replacing, replacing_text
from wsinuc.exports.ome_zarr.metadata import SEMANTIC
from wsinuc.grid import Box
from wsinuc.labels import paint_outlines
from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.stains import QUPATH
from wsinuc.own_files import check_folder
from wsinuc.pipeline.image import find_nuclei, paint_level0
from wsinuc.pipeline.seen_image import SeenImage
from wsinuc.regular import make_folder
from wsinuc.segmenters.base import ByMeasurement, Segmenter
from wsinuc.semantic.classes import map_classes, names_whole_nuclei, with_nuclei
from wsinuc.shown import shown
from wsinuc.slides.array import ArraySlide


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Predicted nuclei of one image."""

    labels: NDArray[np.integer]
    """(h, w) 0 is background, one number per nucleus."""
    classes: NDArray[np.int32] | None = None
    """(labels.max() + 1,) or longer: class of each label, counted from 1, 0 where it is not known."""
    probabilities: NDArray[np.float32] | None = None
    """(labels.max() + 1,) or longer: probability of each label, 0 to 1; None where nothing says it."""
    disagreements: NDArray[np.float32] | None = None
    """(labels.max() + 1,) or longer: disagreement about each label, 0 to 1; given with ``probabilities``."""
    semantic: NDArray[np.uint8] | None = None
    """(h, w) class of each pixel before nuclei are separated, counted from 1, 0 is background; None where nothing says
    it."""
    notes: tuple[str, ...] = ()
    """What was done to make labels of what a file holds, see `wsinuc.datasets.label_values`."""


_NAMED = 5
"""Files whose names a message gives."""
Predict = Callable[[LabelledImage], Prediction | NDArray[np.integer]]
"""From an annotated image to what is predicted for it, of the same shape; labels alone are a
prediction without classes. It must not look at the annotation."""


def predict_nuclei(
    image: LabelledImage,
    *,
    segmenter: Segmenter,
    batch_size: int | None = None,
    semantic: bool = False,
    seen: SeenImage | None = None,
) -> Prediction:
    """What ``segment`` finds in an image, at the image's own resolution; classes are counted as the segmenter's are.

    ``semantic`` asks for the classes of pixels before nuclei are separated as well; with ``seen`` the network is not
    asked twice for one image.
    """
    measure: tuple[str, ...] = ()
    stains = QUPATH.name
    if isinstance(segmenter, ByMeasurement):
        measure = segmenter.needs.measure
        stains = segmenter.needs.stains
    with ArraySlide(image.image, mpp=image.mpp) as slide:
        view = slide.at(segmenter.mpp)
        content = find_nuclei(
            view, segmenter, batch_size=batch_size, measure=measure, stains=stains, semantic=semantic, seen=seen
        )
    nuclei = content.nuclei
    prediction = prediction_of(nuclei, image.labels.shape, classes=bool(segmenter.classes))
    if content.pixels is None:
        return prediction
    pixels = _classified(content.pixels, nuclei, segmenter)
    return replace(prediction, semantic=_at_level0(pixels, nuclei.frame.downsample, image.labels.shape))


def prediction_of(nuclei: Nuclei, shape: tuple[int, int], *, classes: bool) -> Prediction:
    """The nuclei of an image of a ``shape`` (height, width), painted at its own resolution, with ``classes`` or not."""
    return Prediction(
        labels=paint_level0(nuclei, shape),
        classes=_by_id(nuclei, nuclei.classes.astype(np.int32) + 1) if classes else None,
        probabilities=_by_id(nuclei, nuclei.probabilities),
        disagreements=_by_id(nuclei, nuclei.disagreements),
    )


def _classified(pixels: NDArray[np.uint8], nuclei: Nuclei, segmenter: Segmenter) -> NDArray[np.uint8]:
    """Classes of the pixels of a view, those of whole nuclei where the segmenter names these."""
    if not names_whole_nuclei(segmenter):
        return pixels
    classes = nuclei.classes + np.uint8(1)
    painted = paint_outlines(nuclei.outlines, nuclei.offsets, classes, Box.of_shape(pixels.shape), dtype=np.uint8)
    return with_nuclei(pixels, painted, len(map_classes(segmenter)))


def _at_level0(pixels: NDArray[np.uint8], downsample: tuple[float, float], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Values ``shape`` in level-0 pixels: those of the view pixels that hold their centres."""
    rows, columns = (
        np.clip(np.floor((np.arange(side) + 0.5) / step), 0, length - 1).astype(np.intp)
        for side, step, length in zip(shape, downsample, pixels.shape, strict=True)
    )
    return pixels[np.ix_(rows, columns)]


def _by_id(nuclei: Nuclei, column: NDArray[Any]) -> NDArray[Any]:
    """(largest id + 1,) a column (n,) where ids find it; 0 where no nucleus has the id."""
    values = np.zeros(int(nuclei.ids.max(initial=0)) + 1, column.dtype)
    values[nuclei.ids] = column
    return values


def predict_labels(image: LabelledImage, *, segmenter: Segmenter, batch_size: int | None = None) -> NDArray[np.int32]:
    """The labels (h, w) of `predict_nuclei` alone, 0 is background."""
    return predict_nuclei(image, segmenter=segmenter, batch_size=batch_size).labels.astype(np.int32, copy=False)


@dataclass(frozen=True, slots=True)
class PredictionFolder:
    """What something else predicted: label images ``NAME.png`` in a folder, see `read_label_image`.

    Called with an image it gives the prediction for it, and raises DataError where the file cannot be read.
    """

    path: Path

    def __call__(self, image: LabelledImage) -> Prediction:
        return read_label_image(self.path, image.name)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that are told apart, empty without ``classes.csv``; raises DataError."""
        return read_class_names(self.path)

    def check(self, names: Sequence[str], *, semantic: bool = False) -> None:
        """Raise DataError where files are missing of those that are going to be read, and name them.

        Parameters
        ----------
        names
            Of the images, or parts of them.
        semantic
            Whether the classes of pixels are needed, too.
        """
        wanted = [(f"{name}.png", "label images") for name in names]
        layout = _class_layout(self.path)
        if layout.classes:
            tables = (layout.path / "classes" / f"{name}.csv" for name in names)
            wanted += [(os.path.relpath(table, self.path), "tables of classes") for table in tables]
        if semantic:
            maps = "maps of classes of pixels, which --semantic scores (wsinuc evaluate --semantic -o writes them)"
            wanted += [(f"{SEMANTIC}/{name}.png", maps) for name in names]
        for kind in dict.fromkeys(kind for _, kind in wanted):
            files = [file for file, of_kind in wanted if of_kind == kind]
            missing = [file for file in files if not (self.path / file).is_file()]
            if missing:
                some = ", ".join(map(shown, missing[:_NAMED])) + (", ..." if len(missing) > _NAMED else "")
                raise DataError(
                    f"{self.path} lacks {len(missing)} of {len(files)} {kind}: {some}; files are found by the names of "
                    f"the images, and it holds {_some_files(self.path)}"
                )


def read_label_image(folder: Path, name: str) -> Prediction:
    """Label image ``folder/NAME.png`` and, where the folder has classes, those of its nuclei; raises DataError."""
    image = read_labels(folder / f"{name}.png")
    layout = _class_layout(folder)
    classes = None
    if layout.classes:
        classes = layout.classes_of(name, image.labels, image.numbers)
    return Prediction(image.labels, classes, semantic=_read_map(folder / SEMANTIC / f"{name}.png"), notes=image.notes)


def _some_files(folder: Path) -> str:
    """The first names in a folder, and how many there are."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(shown, names[:_NAMED])) + more if names else "nothing"


def _read_map(path: Path) -> NDArray[np.uint8] | None:
    """Classes (h, w) of pixels, None where there is no such file; raises DataError for a file of something else."""
    if not path.is_file():
        return None
    values = read_ids(path)
    if values.max(initial=0) > np.iinfo(np.uint8).max:
        raise DataError(f"{path}: classes of pixels are 0 to 255, got {values.max()}: does it hold nuclei?")
    return values.astype(np.uint8)


def read_written(folder: Path, name: str) -> NDArray[np.int32]:
    """Labels (h, w) that `write_label_image` has written, to the number; raises DataError."""
    return read_ids(folder / f"{name}.png")


def read_class_names(folder: Path) -> tuple[str, ...]:
    """Classes that a folder of label images tells apart, empty without ``classes.csv``; raises DataError."""
    return tuple(c.name for c in _class_layout(folder).classes)


def write_label_image(prediction: Prediction, folder: Path, name: str, class_names: Sequence[str]) -> None:
    """Write what `read_label_image` reads; raises DataError when the labels do not fit a 16-bit PNG."""
    labels = prediction.labels
    path = folder / f"{name}.png"
    if labels.size and labels.max() > np.iinfo(np.uint16).max:
        raise DataError(f"{path.name}: {labels.max()} nuclei do not fit a 16-bit PNG; evaluate smaller fields")
    make_folder(path.parent)
    with replacing(path, sync=False) as file:
        Image.fromarray(labels.astype(np.uint16)).save(file, format="PNG")
    if prediction.semantic is not None:
        check_folder(folder / SEMANTIC)
        make_folder(folder / SEMANTIC)
        with replacing(folder / SEMANTIC / f"{name}.png", sync=False) as file:
            Image.fromarray(prediction.semantic).save(file, format="PNG")
    if prediction.classes is not None and class_names:
        _write_table(folder / "classes.csv", ("name",), [(each,) for each in class_names])
        ids = np.unique(labels[labels > 0])
        known = [(i, class_names[c - 1]) for i, c in zip(ids, prediction.classes[ids], strict=True) if c]
        _write_table(folder / "classes" / f"{name}.csv", ("label", "class"), known)


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    make_folder(path.parent)
    with replacing_text(path, sync=False) as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def _class_layout(folder: Path) -> FolderLayout:
    """Where the classes of label images stand: with them, or beside the ``labels`` of a data set of one's own."""
    beside = folder.name == "labels" and not (folder / "classes.csv").exists()
    return FolderLayout(folder.parent if beside else folder)
