"""An image with points -> its nuclei, segmented as ``segment`` does it, and the class that the points give to each.

Segmenting is what takes long, so what it gives may be kept in a folder: what was segmented once, by the
same model, is read from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc import tissue
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import DataError
from wsinuc.exports.atomic import replacing
from wsinuc.grid import Box
from wsinuc.metrics.axes import PointsInside
from wsinuc.metrics.detection import MATCH_RADIUS_UM
from wsinuc.pipeline.block import score_box
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.progress_line import ProgressLine
from wsinuc.regular import make_folder
from wsinuc.segmenters.base import Segmenter
from wsinuc.segmenters.normalisation import recoloured
from wsinuc.segmenters.typed import COLOURS, TypedSegmenter
from wsinuc.separation.channels import FOREGROUND
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.view import read_resilient
from wsinuc.workflows.training.folds import Kin, kin_of


@dataclass(frozen=True, slots=True)
class PointCounts:
    """What became of the points."""

    points: int = 0
    inside: int = 0
    """Points in a nucleus."""
    near: int = 0
    """Points beside a nucleus, at most 3 um away, that holds none itself."""
    alone: int = 0
    """Points without a nucleus: it was not segmented."""
    unknown: int = 0
    """Points without a class; they are left out before all this."""
    conflicts: int = 0
    """Nuclei with points of several classes, which are left out: two nuclei segmented as one."""
    nuclei: int = 0
    """Nuclei that got a class."""

    def __add__(self, other: PointCounts) -> PointCounts:
        return PointCounts(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    def __str__(self) -> str:
        return (
            f"{self.points} points: {self.inside} in a nucleus, {self.near} beside one, {self.alone} without; "
            f"{self.nuclei} nuclei with a class, {self.conflicts} with several left out, {self.unknown} "
            "points without class"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """What a model makes of one image, in pixels of its view of it."""

    pixels: NDArray[np.uint8]
    """RGB ``(h, w, 3)``."""
    colours: NDArray[np.float32]
    """Table ``(256, 3)`` that brings them to the colours of the model's training; empty where it has none."""
    labels: NDArray[np.int32]
    """``(h, w)``, 0 background, 1..n."""
    foreground: NDArray[np.uint8]
    """``(h, w)``, 255 = certainly nucleus."""
    downsample: NDArray[np.float64]
    """(y, x) pixels of the image for one of the view."""


@dataclass(frozen=True, slots=True, eq=False)
class MarkedImage:
    """Nuclei with the classes that points give them."""

    name: str
    patient: str
    """Empty where patients are not known."""
    slide: str
    """Empty where slides are not known."""
    segmented: Segmented
    points: NDArray[np.float64]
    """(p, 2) (y, x) in the view, those of known class."""
    point_classes: NDArray[np.int32]
    """(p,) from 1."""
    classes: NDArray[np.int32]
    """(n,) class of label i + 1, 0 where no point says it or several contradict each other."""
    counts: PointCounts

    @property
    def seen(self) -> NDArray[np.uint8]:
        """The pixels as a network of classes sees them."""
        if not self.segmented.colours.size:
            return self.segmented.pixels
        return recoloured(self.segmented.pixels, self.segmented.colours)


def kin_among(marked: Sequence[MarkedImage]) -> Kin:
    """Which images are held out together: those of a patient, else of a slide."""
    rows = [{"patient": each.patient, "slide": each.slide, "name": each.name} for each in marked]
    return kin_of(rows, [bool(each.classes.any()) for each in marked])


def mark(
    images: Sequence[LabelledImage],
    base: Segmenter,
    *,
    cache: Path | None = None,
    on_image: Callable[[str], None] = lambda text: None,
) -> list[MarkedImage]:
    """Segment every image and find the nucleus that each point marks.

    Parameters
    ----------
    cache
        Folder in which segmentations are kept from run to run; None keeps none.

    Raises
    ------
    DataError
        Far more points would lie in nuclei if x and y were exchanged.
    """
    marked: list[MarkedImage] = []
    for number, image in enumerate(images):
        marked.append(_marked(image, _kept(image, base, cache)))
        text = f"{image.name}: {marked[-1].counts}"
        on_image(ProgressLine(text, stage="segmenting", unit="images", done=number + 1, total=len(images)))
    check_axes(marked)
    return marked


def check_axes(marked: Sequence[MarkedImage]) -> None:
    """Raise DataError where points fit nuclei far better with x and y exchanged."""
    inside = sum((PointsInside.of(each.points, each.segmented.labels) for each in marked), PointsInside())
    if inside.doubt is not None:
        raise DataError(inside.doubt)


def _marked(image: LabelledImage, segmented: Segmented) -> MarkedImage:
    """The image's points on its nuclei."""
    assert image.points is not None, "a set of points"
    assert image.point_classes is not None, "with classes"
    known = image.point_classes > 0
    # Points are pixels of the image; their centres are what has a place in the view.
    points = (image.points[known] + 0.5) / segmented.downsample
    point_classes = image.point_classes[known]
    labels = segmented.labels
    reach = MATCH_RADIUS_UM / (image.mpp * float(segmented.downsample.mean()))
    label, inside = nuclei_at_points(points, labels, reach)
    classes, conflicts = classes_of_nuclei(label, point_classes, int(labels.max(initial=0)))
    counts = PointCounts(
        points=len(point_classes),
        inside=int(inside.sum()),
        near=int(((label > 0) & ~inside).sum()),
        alone=int((label == 0).sum()),
        unknown=int((~known).sum()),
        conflicts=conflicts,
        nuclei=int((classes > 0).sum()),
    )
    return MarkedImage(
        name=image.name,
        patient=image.attributes.get("patient", ""),
        slide=image.attributes.get("slide", ""),
        segmented=segmented,
        points=points,
        point_classes=point_classes,
        classes=classes,
        counts=counts,
    )


def _kept(image: LabelledImage, base: Segmenter, cache: Path | None) -> Segmented:
    """The segmentation of an image, from the folder where it is there."""
    if cache is None:
        return segment_image(image, base)
    facts = hashlib.sha256(base.identity.encode() + repr((image.image.shape, image.mpp)).encode())
    facts.update(np.ascontiguousarray(image.image).tobytes())
    path = cache / f"{facts.hexdigest()}.npz"
    if path.is_file():
        with np.load(path) as arrays:
            return Segmented(**{each.name: arrays[each.name] for each in fields(Segmented)})
    segmented = segment_image(image, base)
    make_folder(cache)
    with replacing(path) as stream:
        np.savez(stream, **{each.name: getattr(segmented, each.name) for each in fields(Segmented)})
    return segmented


def segment_image(image: LabelledImage, base: Segmenter) -> Segmented:
    """What ``segment`` would find in an image, by its path."""
    segmenter = TypedSegmenter(base, base.classes)
    with ArraySlide(image.image, mpp=image.mpp) as slide:
        view = slide.at(segmenter.mpp)
        whole = Box.of_shape(view.shape)
        mask = tissue.whole(view)
        fitted = calibrated(view, segmenter, mask)
        scores = score_box(view, whole, fitted, batch_size=segmenter.batch_size, tissue=mask)
        pixels, _ = read_resilient(view, whole)
        downsample = np.broadcast_to(np.asarray(view.downsample, np.float64), (2,)).copy()
    assert isinstance(fitted, TypedSegmenter)
    return Segmented(
        pixels=pixels,
        colours=fitted.statistics().get(COLOURS, np.zeros((0, 3), np.float32)),
        labels=fitted.separate(scores),
        foreground=scores[FOREGROUND].copy(),
        downsample=downsample,
    )


def exchanged_axes(image: LabelledImage) -> LabelledImage:
    """The image with x and y of its points exchanged, for sets that name them the wrong way round."""
    assert image.points is not None, "a set of points"
    return replace(image, points=image.points[:, ::-1])


def nuclei_at_points(
    points: NDArray[np.floating], labels: NDArray[np.int32], reach_px: float
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The nucleus that each point marks.

    A point marks the nucleus that it lies in, or else the nearest one no farther than ``reach_px``
    away in which no point lies.

    Parameters
    ----------
    points
        ``(n, 2)`` (y, x) in pixels of ``labels``, from their upper left corner.
    labels
        ``(h, w)``, 0 background.

    Returns
    -------
    label, inside
        ``(n,)`` label of each point, 0 without; whether it lies in that nucleus.
    """
    if not labels.any():
        return np.zeros(len(points), np.int32), np.zeros(len(points), bool)
    pixels = np.clip(np.floor(points).astype(int), 0, np.array(labels.shape) - 1)
    y, x = pixels.T
    distance, (near_y, near_x) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    nearest = labels[near_y[y, x], near_x[y, x]].astype(np.int32)
    inside = labels[y, x] > 0
    beside = ~inside & (distance[y, x] <= reach_px) & ~np.isin(nearest, nearest[inside])
    return np.where(inside | beside, nearest, 0).astype(np.int32), inside


def classes_of_nuclei(
    label: NDArray[np.int32], classes: NDArray[np.integer], count: int
) -> tuple[NDArray[np.int32], int]:
    """Class of each nucleus from the points that mark it.

    Parameters
    ----------
    label
        ``(n,)`` label that each point marks, 0 for none.
    classes
        ``(n,)`` class of each point, from 1.
    count
        Number of nuclei.

    Returns
    -------
    classes, conflicts
        ``(count,)`` class of label i + 1, 0 without a point or with points of several classes; how many had several.
    """
    lowest = np.full(count + 1, np.iinfo(np.int32).max)
    highest = np.zeros(count + 1, np.int32)
    np.minimum.at(lowest, label, classes)
    np.maximum.at(highest, label, classes)
    conflict = (highest > 0) & (lowest != highest)
    return np.where(conflict, 0, highest)[1:].astype(np.int32), int(conflict[1:].sum())
