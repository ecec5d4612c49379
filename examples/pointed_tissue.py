"""Outlines for people's points: what models say of nuclei, corrected wherever a point says otherwise.

    python examples/pointed_tissue.py DATA OUT --model diffusion=2 --model student=1

DATA holds `brca_m2c`: 30,638 points in breast tissue of TCGA, and no outlines. Left out are the
authors' test patients, on whom classes of nuclei are measured, and every patient of MoNuSeg. The
models' scores are averaged by their weights; a nucleus of them with one point is kept, one with
several is cut between them, a fragment without a point joins a neighbour if both are round
together, and what else has no point, or is a point without a nucleus, is ignored in a loss: it was
not drawn, and not denied either. OUT gets a file for each image, ``NAME.npz``, with ``image``
``(h, w, 3)``, ``labels`` and ``ignore`` ``(h, w)`` at 0.25 um per px, which `tune_network.py` and
`tune_diffusion.py` read. Interrupt it at will: the same command goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops
from skimage.segmentation import watershed

from wsinuc import tissue
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import CropSource
from wsinuc.grid import Box
from wsinuc.pipeline.block import score_box
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.slides.array import ArraySlide
from wsinuc.workflows.classify.marked import exchanged_axes, nuclei_at_points

MPP = 0.25
PATIENT = slice(0, 12)
"""Of the name of a TCGA image."""
MONUSEG_TEST = {"TCGA-AC-A2FO", "TCGA-AO-A0J2"}
"""Patients of breast tissue in MoNuSeg's test set; those of its training set are in `overlap_with_monuseg.txt`."""
REACH_PX = 6
"""A point so near to a nucleus without one is that nucleus'."""
ROUND = 0.92
"""Solidity from which two pieces are one nucleus."""
TOUCH = 0.25
"""Length of a contact, in roots of the fragment's area, from which a fragment may be its neighbour's."""
FAINT = 0.25
"""Probability from which pixels around a point without a nucleus may be one."""
REACH_OF_FAINT_PX = 20
LEAST_FAINT_PX = 160
LONELY_PX = 12
"""Radius that is ignored around a point without a nucleus."""
SEEN = "points and pixels of BRCA-M2C (BSD-3-Clause) without its test patients"


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """What is known of the nuclei of an image with points."""

    labels: NDArray[np.int32]
    """``(h, w)``, each nucleus with the point that it was given for."""
    ignore: NDArray[np.bool_]
    """``(h, w)``, pixels of which nobody knows."""


def images_with_points(data: Path) -> list[LabelledImage]:
    """Images that may teach, with their points as (y, x)."""
    folder = data / "brca_m2c"
    overlap = _names(folder / "overlap_with_monuseg.txt")
    tested = _names(folder / "brca_ds_test.txt")
    patients = {name[PATIENT] for name in overlap | tested} | MONUSEG_TEST
    images = [image for image in open_dataset(str(folder)) if image.name[PATIENT] not in patients]
    # Its files name rows x and columns y.
    return [exchanged_axes(image) for image in images]


def outlined(scores: NDArray[np.uint8], points: NDArray[np.float64], segmenter: TiledSegmenter) -> Outlined:
    """Nuclei of scores ``(channels, h, w)``, corrected by points ``(n, 2)`` (y, x) in their pixels."""
    found = segmenter.separate(np.ascontiguousarray(scores))
    owner, _ = nuclei_at_points(points, found, REACH_PX)
    corners = np.clip(np.floor(points).astype(int), 0, np.array(found.shape) - 1)
    count = np.bincount(owner, minlength=int(found.max()) + 1)
    labels = np.where(count[found] == 1, found, 0).astype(np.int32)
    heights = ndimage.gaussian_filter(scores[1].astype(np.float32), 2)
    for label in np.flatnonzero(count[1:] > 1) + 1:
        _cut(labels, found == label, corners[owner == label], heights)
    ignore = np.zeros(found.shape, np.bool_)
    for number, place in enumerate(ndimage.find_objects(found), start=1):
        if place is not None and count[number] == 0 and not _joined(labels, found, number, place):
            ignore |= found == number
    for corner in corners[owner == 0]:
        _faint_or_ignored(labels, ignore, (scores[0] > 255 * FAINT) & (found == 0), corner)
    return Outlined(labels=labels, ignore=ignore & (labels == 0))


def _cut(
    labels: NDArray[np.int32], nucleus: NDArray[np.bool_], points: NDArray[np.int_], heights: NDArray[np.float32]
) -> None:
    """Give each point its part of a nucleus that holds several."""
    markers = np.zeros(labels.shape, np.int32)
    markers[points[:, 0], points[:, 1]] = labels.max() + 1 + np.arange(len(points))
    parts = watershed(-heights, markers, mask=nucleus)
    labels[nucleus] = parts[nucleus]


def _joined(labels: NDArray[np.int32], found: NDArray[np.int32], label: int, place: tuple[slice, slice]) -> bool:
    """Add a fragment without a point to the neighbour that it touches most, if both are round together."""
    window = tuple(slice(max(0, side.start - 2), side.stop + 2) for side in place)
    fragment = found[window] == label
    ring = ndimage.binary_dilation(fragment) & ~fragment
    touching = labels[window][ring]
    touching = touching[touching > 0]
    if len(touching) < TOUCH * np.sqrt(fragment.sum()):
        return False
    neighbour = int(np.bincount(touching).argmax())
    both = np.pad((labels == neighbour) | (found == label), 3)
    closed = ndimage.binary_closing(both, iterations=2)
    if regionprops(closed.astype(np.uint8))[0].solidity <= ROUND:
        return False
    labels[found == label] = neighbour
    return True


def _faint_or_ignored(
    labels: NDArray[np.int32], ignore: NDArray[np.bool_], faint: NDArray[np.bool_], point: NDArray[np.int_]
) -> None:
    """Draw the faint nucleus around a point, or ignore the surroundings of a point without one."""
    window = tuple(
        slice(max(0, at - REACH_OF_FAINT_PX), min(side, at + REACH_OF_FAINT_PX + 1))
        for at, side in zip(point, labels.shape, strict=True)
    )
    rows, columns = np.ogrid[window]
    distance = np.hypot(rows - point[0], columns - point[1])
    pieces = cc3d.connected_components(faint[window], connectivity=4)
    own = pieces[point[0] - window[0].start, point[1] - window[1].start]
    nucleus = (pieces == own) & (own > 0) & (distance <= REACH_OF_FAINT_PX) & (labels[window] == 0)
    nucleus = cc3d.largest_k(ndimage.binary_opening(nucleus, iterations=2), k=1, connectivity=4) > 0
    if nucleus.sum() >= LEAST_FAINT_PX:
        labels[window][nucleus] = labels.max() + 1
    else:
        ignore[window] |= distance <= LONELY_PX


def pointed_images(folder: Path) -> list[LabelledImage]:
    """What this script has written."""
    images = []
    for path in sorted(folder.glob("*.npz")):
        kept = np.load(path)
        images.append(
            LabelledImage(
                name=path.stem,
                image=kept["image"],
                labels=kept["labels"],
                ignore=kept["ignore"],
                attributes={},
                mpp=MPP,
            )
        )
    return images


def with_points(source: CropSource, folder: Path, share: float) -> CropSource:
    """A source of crops of which this share comes from the images of a folder."""
    images = pointed_images(folder)
    assert source.weights is not None, "sets with shares"
    others = [weight * (1 - share) for weight in source.weights]
    return replace(source, images=[*source.images, *images], weights=[*others, *[share / len(images)] * len(images)])


def scored(
    image: LabelledImage, models: Sequence[tuple[TiledSegmenter, float]]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]]:
    """Pixels, the models' mean scores, and the points, all at `MPP`."""
    assert image.points is not None, "a set of points"
    total = np.zeros(0, np.float32)
    with ArraySlide(image.image, mpp=image.mpp) as slide:
        view = slide.at(MPP)
        box = Box.of_shape(view.shape)
        mask = tissue.whole(view)
        for model, weight in models:
            fitted = calibrated(view, model, mask)
            said = score_box(view, box, fitted, batch_size=1, tissue=mask).astype(np.float32) * weight
            total = total + said if total.size else said
        pixels = view.read(box)
    mean = np.rint(total / sum(weight for _, weight in models)).astype(np.uint8)
    enlarged = np.array(pixels.shape[:2]) / np.array(image.image.shape[:2])
    return pixels, mean, (image.points + 0.5) * enlarged


def _names(path: Path) -> set[str]:
    return {line.strip().rsplit(".", 1)[0] for line in path.read_text(encoding="utf-8").split()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=WEIGHT", help="repeatable")
    parser.add_argument("--separation", default="accurate", help="the model whose rules separate nuclei")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = []
    for each in arguments.model:
        name, weight = each.rsplit("=", 1)
        models.append((cast(TiledSegmenter, load_segmenter(name, device="cpu")), float(weight)))
    rules = cast(TiledSegmenter, load_segmenter(arguments.separation, device="cpu"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for image in images_with_points(arguments.data):
        path = arguments.out / f"{image.name}.npz"
        if path.exists():
            continue
        pixels, scores, points = scored(image, models)
        known = outlined(scores, points, rules)
        np.savez_compressed(path, image=pixels, labels=known.labels, ignore=known.ignore)
        print(path.name, int(known.labels.max()), flush=True)


if __name__ == "__main__":
    main()
