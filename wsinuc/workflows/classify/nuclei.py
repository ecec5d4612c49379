"""Points with classes -> segmented nuclei with classes, and what is known of each: what a
classifier of nuclei learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc import tissue
from wsinuc.datasets.augmentation.augment import jitter_stain
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import DataError
from wsinuc.grid import Box
from wsinuc.metrics.detection import MATCH_RADIUS_UM
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.describe import stain_levels
from wsinuc.pipeline.block import score_box
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.progress_line import ProgressLine
from wsinuc.segmenters.tiling import STAINS
from wsinuc.segmenters.typed import TypedSegmenter
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.view import read_resilient


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
class NucleusTable:
    """Nuclei with a class."""

    descriptors: NDArray[np.float64]
    """(views, n, d) of the images as they are, then in other stains."""
    classes: NDArray[np.intp]
    """(n,) from 0."""
    images: NDArray[np.intp]
    """(n,) number of the image, from 0."""
    groups: NDArray[np.intp]
    """(n,) number of the patient, or of the image where patients are not known: what is held out together."""
    names: tuple[str, ...]
    """Names of the classes."""
    counts: PointCounts


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


def gather_nuclei(
    images: Sequence[LabelledImage],
    classes: tuple[NucleusClass, ...],
    segmenter: TypedSegmenter,
    *,
    views: int,
    stain: float,
    seed: int,
    on_image: Callable[[str], None] = lambda text: None,
) -> NucleusTable:
    """Segment every image and describe the nuclei that points mark.

    Parameters
    ----------
    views
        How often each image is also described in another stain, by `jitter_stain` of the strength
        ``stain``; its nuclei stay.

    Raises
    ------
    DataError
        There are no points with a class, or a class is left with fewer than two nuclei.
    """
    parts: list[tuple[NDArray[np.float64], NDArray[np.int32], PointCounts]] = []
    for number, image in enumerate(images):
        rng = np.random.default_rng([seed, number])
        parts.append(_of_image(image, segmenter, views, stain, rng))
        text = f"{image.name}: {parts[-1][2]}"
        on_image(ProgressLine(text, stage="segmenting", unit="images", done=number + 1, total=len(images)))
    counts = sum((part[2] for part in parts), PointCounts())
    if not counts.points:
        raise DataError("no point with a class to learn from: check the data set's point files and filters")
    sizes = [len(part[1]) for part in parts]
    numbers = np.concatenate([part[1] for part in parts])
    for i, each in enumerate(classes, start=1):
        n = int((numbers == i).sum())
        if n < 2:
            raise DataError(
                f"the class {each.name} has {n} segmented nuclei with a point, 2 are the least to learn from: "
                f"mark more, or segment with another --model ({counts})"
            )
    # Images of one patient look alike, so a fold never parts them.
    group_names = [image.attributes.get("patient") or image.name for image in images]
    _, group = np.unique(group_names, return_inverse=True)
    return NucleusTable(
        descriptors=np.concatenate([part[0] for part in parts], axis=1),
        classes=numbers.astype(np.intp) - 1,
        images=np.repeat(np.arange(len(images)), sizes),
        groups=np.repeat(group, sizes),
        names=tuple(each.name for each in classes),
        counts=counts,
    )


def _of_image(
    image: LabelledImage, segmenter: TypedSegmenter, views: int, stain: float, rng: np.random.Generator
) -> tuple[Any, NDArray[np.int32], PointCounts]:
    """Descriptors (views, n, d) and classes (n,) of the nuclei with a class, by the path of ``segment``."""
    with ArraySlide(image.image, mpp=image.mpp) as slide:
        view = slide.at(segmenter.mpp)
        whole = Box.of_shape(view.shape)
        mask = tissue.whole(view)
        fitted = calibrated(view, segmenter, mask)
        scores = score_box(view, whole, fitted, batch_size=segmenter.batch_size, tissue=mask)
        pixels, _ = read_resilient(view, whole)
        downsample = view.downsample
    labels = segmenter.separate(scores)
    assert image.points is not None, "a set of points"
    assert image.point_classes is not None, "with classes"
    known = image.point_classes > 0
    # Points are pixels of the image; their centres are what has a place in the view.
    points = (image.points[known] + 0.5) / downsample
    point_classes = image.point_classes[known]
    label, inside = nuclei_at_points(points, labels, MATCH_RADIUS_UM / segmenter.mpp)
    classes, conflicts = classes_of_nuclei(label, point_classes, int(labels.max(initial=0)))
    chosen = classes > 0
    described = [segmenter.describe(labels, scores)[chosen]]
    for _ in range(views):
        scores[-STAINS:] = stain_levels(jitter_stain(pixels, rng, stain))
        described.append(segmenter.describe(labels, scores)[chosen])
    counts = PointCounts(
        points=len(point_classes),
        inside=int(inside.sum()),
        near=int(((label > 0) & ~inside).sum()),
        alone=int((label == 0).sum()),
        unknown=int((~known).sum()),
        conflicts=conflicts,
        nuclei=int(chosen.sum()),
    )
    return np.stack(described), classes[chosen], counts
