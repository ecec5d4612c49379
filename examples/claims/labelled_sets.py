"""What the claims are measured on: 256 px squares at 0.25 um per px, as the papers have them, of three data sets.

TNBC and NuInsSeg are gold: people drew the outlines, of one class. BRCA-M2C is silver: people gave
points of three classes, and the outlines are those that the shipped model `fast` draws around them.
Nuclei without a point, and points without a nucleus, count in no loss and in no score.

Squares to learn from and squares to test on are of different patients (TNBC, BRCA-M2C) or of
different images (NuInsSeg, whose organs no pre-training has seen). What does not fill a square is
left out.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets import open_dataset
from wsinuc.datasets.augmentation.augment import parted, resized
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.split import Split
from wsinuc.grid import Box
from wsinuc.segmenters import load_segmenter
from wsinuc.workflows.classify.marked import MarkedImage, exchanged_axes, mark

sys.path.insert(0, str(Path(__file__).parents[1]))
from train_teacher import NUINSSEG_MPP

EXAMPLES = Path(__file__).parents[1]
MPP = 0.25
SIDE = 256
FEWEST = 0.02
"""Share of a square that must be nucleus, or there is little to learn from it."""
SILVER_MODEL = "fast"
LONELY_UM = 3.0
"""Radius around a point without a nucleus in which pixels are ignored."""
OF_EACH_TEST_IMAGE = 2
"""Squares of each test image of BRCA-M2C; it has thirty."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSet:
    """Squares to learn from, and squares to test on."""

    name: str
    classes: tuple[str, ...]
    gold: bool
    """Whether people drew the outlines."""
    pool: Sequence[LabelledImage]
    test: Sequence[LabelledImage]

    @property
    def fingerprint(self) -> str:
        """Of all pixels and labels: runs on another version of the set are done again."""
        digest = hashlib.sha256()
        for square in (*self.pool, *self.test):
            digest.update(square.name.encode())
            for array in (square.image, square.labels, square.classes, square.ignore):
                digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def windows(pool: Sequence[LabelledImage], count: int, seed: int) -> list[LabelledImage]:
    """Squares to learn from, of as many images as there are; the first of more windows are the same windows."""
    rng = np.random.default_rng(seed)
    usable = [square for square in pool if known_nuclei(square).mean() >= FEWEST]
    by_image: dict[str, list[LabelledImage]] = {}
    for index in rng.permutation(len(usable)):
        by_image.setdefault(usable[index].attributes["image"], []).append(usable[index])
    turns = max(len(squares) for squares in by_image.values())
    order = [squares[turn] for turn in range(turns) for squares in by_image.values() if turn < len(squares)]
    if len(order) < count:
        raise ValueError(f"{count} windows are wanted and {len(order)} squares hold enough nuclei")
    return order[:count]


def known_nuclei(square: LabelledImage) -> NDArray[np.bool_]:
    """Pixels of nuclei whose class is known."""
    return square.class_map > 0


def squares_of(image: LabelledImage, side: int = SIDE) -> list[LabelledImage]:
    """An image at `MPP`, cut into squares around its middle."""
    factor = image.mpp / MPP
    height, width = (round(length * factor) for length in image.labels.shape)
    pixels, signed = resized(image, Box.of_shape(image.labels.shape), (height, width))
    labels, ignore = parted(signed)
    top = (height % side) // 2
    left = (width % side) // 2
    squares = []
    for y in range(top, height - side + 1, side):
        for x in range(left, width - side + 1, side):
            window = np.s_[y : y + side, x : x + side]
            squares.append(
                replace(
                    image,
                    name=f"{image.name}_{y}_{x}",
                    image=np.ascontiguousarray(pixels[window]),
                    labels=np.ascontiguousarray(labels[window]),
                    ignore=np.ascontiguousarray(ignore[window]) if image.ignore is not None else None,
                    attributes={**image.attributes, "image": image.name},
                    mpp=MPP,
                    points=None,
                    point_classes=None,
                )
            )
    return squares


def all_squares(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """The squares of several images."""
    return [square for image in images for square in squares_of(image)]


def tnbc(data: Path, cache: Path) -> LabelledSet:
    """Patients 01 to 08 teach, 09 to 11 test."""
    dataset = open_dataset(data / "tnbc", mpp=0.25)
    split = Split.load(EXAMPLES / "low_data" / "tnbc_split.json")
    pool = all_squares(list(split.of(dataset, "train")))
    return LabelledSet("tnbc", ("Nucleus",), True, pool, all_squares(list(split.of(dataset, "test"))))


def nuinsseg(data: Path, cache: Path) -> LabelledSet:
    """The organs that nothing has seen: every other image of each teaches, the others test."""
    dataset = open_dataset(data / "nuinsseg", mpp=NUINSSEG_MPP)
    held = list(Split.load(EXAMPLES / "nuinsseg_split.json").of(dataset, "held_organs"))
    held.sort(key=lambda image: image.name)
    return LabelledSet("nuinsseg", ("Nucleus",), True, all_squares(held[::2]), all_squares(held[1::2]))


def brca(data: Path, cache: Path) -> LabelledSet:
    """The authors' validation patients teach, their test patients test; classes are silver."""
    folder = data / "brca_m2c"
    images = {image.name: image for image in open_dataset(str(folder))}
    base = load_segmenter(SILVER_MODEL, device="cpu")

    def silver(part: str) -> list[LabelledImage]:
        listed = [line.rsplit(".", 1)[0] for line in (folder / f"brca_ds_{part}.txt").read_text().split()]
        # Its files name rows x and columns y.
        chosen = [exchanged_axes(images[name]) for name in listed if name in images]
        marked = mark(chosen, base, cache=cache)
        return [silver_image(image, each) for image, each in zip(chosen, marked, strict=True)]

    test = [square for image in silver("test") for square in squares_of(image)[:OF_EACH_TEST_IMAGE]]
    return LabelledSet("brca", ("Lymphocyte", "Epithelial", "Stromal"), False, all_squares(silver("val")), test)


def silver_image(image: LabelledImage, marked: MarkedImage) -> LabelledImage:
    """Outlines of the model, with the classes that points give them."""
    segmented = marked.segmented
    labels = segmented.labels
    classes = np.concatenate([[0], marked.classes]).astype(np.int32)
    mpp = image.mpp * float(segmented.downsample.mean())
    ignore = (labels > 0) & (classes[labels] == 0)
    ignore |= near_lonely_points(marked.points, labels, LONELY_UM / mpp)
    return replace(
        image,
        image=segmented.pixels,
        labels=labels,
        classes=classes,
        ignore=ignore,
        mpp=mpp,
        points=None,
        point_classes=None,
    )


def near_lonely_points(points: NDArray[np.float64], labels: NDArray[np.int32], radius: float) -> NDArray[np.bool_]:
    """Background pixels near a point that no nucleus holds: one was missed there."""
    near = np.zeros(labels.shape, np.bool_)
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    for y, x in points:
        inside = 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]
        if inside and labels[int(y), int(x)] == 0:
            near |= (rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 <= radius**2
    lonely: NDArray[np.bool_] = near & (labels == 0)
    return lonely


SETS = {"tnbc": tnbc, "nuinsseg": nuinsseg, "brca": brca}
"""Name -> what reads it from DATA, with a folder in which segmentations are kept."""
FOLDERS = {"tnbc": "tnbc", "nuinsseg": "nuinsseg", "brca": "brca_m2c"}
"""Name -> its folder in DATA."""
TISSUE = ("sbu_tcga", "camelyon", "oral", "nct_crc", "bcss", "nuinsseg", "brca_m2c")
"""Folders in DATA of the tissue that denoisers are pre-trained on."""


def require_folders(data: Path, names: Sequence[str]) -> None:
    """End with one line where DATA lacks a folder: that must not come to light after hours."""
    missing = [name for name in dict.fromkeys(names) if not (data / name).is_dir()]
    if missing:
        raise SystemExit(
            f"{data} has no folder {' and no '.join(missing)}: examples/claims/README.md says which data sets these "
            "are, and which are needed for what"
        )
