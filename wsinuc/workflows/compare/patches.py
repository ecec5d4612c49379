"""What is measured of a set of annotated images before it is compared with another: all of it, patch by patch.

Both sets are cut into patches of one size at one resolution, so that a nucleus at the edge, a field of view and the
number of images mean the same on both sides. Everything stays by patch: halves of a set are then a choice of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skimage.measure import regionprops_table

from wsinuc.config import MPP_RANGE
from wsinuc.datasets.augmentation.augment import parted, resized
from wsinuc.datasets.base import Dataset, LabelledImage, cut
from wsinuc.errors import ConfigError, DataError
from wsinuc.grid import Box
from wsinuc.metrics.distributions import class_proportions
from wsinuc.models.features.image_vectors import FeatureNetwork

QUANTITIES = {
    "nuclei_per_patch": "nuclei per patch",
    "nuclei_per_mm2": "nuclei per mm²",
    "area_um2": "area of a nucleus, µm²",
    "axis_ratio": "minor / major axis",
    "ellipse_fill": "area / area of its ellipse",
    "neighbour_um": "to the nearest centroid, µm",
    **{f"od_{color}": f"optical density, {color}" for color in ("red", "green", "blue")},
    **{f"od_sd_{color}": f"SD of optical density, {color}" for color in ("red", "green", "blue")},
}
"""What is compared -> what plots call it."""
PROPERTIES = ("area", "bbox", "centroid", "axis_major_length", "axis_minor_length")

Watch = Callable[[int, int], None]
"""Told after each image: how many are done, of how many."""


def _nobody(done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """How images become patches."""

    size_px: int = 128
    """Side of a patch."""
    mpp: float = 0.5
    """um per pixel of the patches; images of another resolution are resampled."""
    seed: int = 0
    """Seed of all that is drawn at random, such as where the grid of patches lies in an image that it does not fill."""

    def __post_init__(self) -> None:
        if self.size_px < 8:
            raise ConfigError(f"a patch needs a side of at least 8 px, got {self.size_px}")
        if not MPP_RANGE[0] <= self.mpp <= MPP_RANGE[1]:
            raise ConfigError(
                f"mpp of the patches must lie between {MPP_RANGE[0]} and {MPP_RANGE[1]}, got {self.mpp:g}"
            )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PatchFigures:
    """Everything measured of n patches."""

    places: tuple[tuple[int, int], ...]
    """For each patch its image's position in the data set, and which of the image's patches it is."""
    vectors: NDArray[np.float32]
    """(n, width) what the feature network sees."""
    probabilities: NDArray[np.float32] | None
    """(n, classes) what it takes the patch for, if it says so."""
    proportions: NDArray[np.float64]
    """(n, classes + 1) share of background and of each class of nuclei."""
    quantities: dict[str, tuple[NDArray[np.float64], ...]]
    """For each of `QUANTITIES` the values of each patch: one, or one per nucleus."""
    images: int
    """Images that the patches were cut from, those that are too small included."""
    too_small: int = 0
    """Images that are smaller than a patch, and so in none."""
    coarsest_mpp: float = 0.0
    """um per pixel of the coarsest image; above the patches' its patches are magnified and lack detail."""

    def __len__(self) -> int:
        return len(self.places)

    def values(self, name: str) -> NDArray[np.float64]:
        """All values of a quantity, patch after patch; may be none."""
        return np.concatenate([np.zeros(0), *self.quantities[name]])

    def take(self, chosen: Sequence[int] | NDArray[np.integer]) -> PatchFigures:
        """The figures of some of the patches."""
        return replace(
            self,
            places=tuple(self.places[i] for i in chosen),
            vectors=self.vectors[chosen],
            probabilities=None if self.probabilities is None else self.probabilities[chosen],
            proportions=self.proportions[chosen],
            quantities={name: tuple(values[i] for i in chosen) for name, values in self.quantities.items()},
        )


@dataclass(frozen=True, slots=True, eq=False)
class ClassNumbers:
    """Classes as both sets count them."""

    names: tuple[str, ...]
    """What proportions tell apart besides background."""
    number: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    """(classes of the set + 1,) its class -> position in ``names`` plus 1; -1 where the class of a
    nucleus is not known."""

    def map_of(self, patch: LabelledImage) -> NDArray[np.int64]:
        """(h, w) 0 is background, then positions in ``names`` plus 1; -1 is a nucleus of unknown class."""
        if len(self.number) == 1 or patch.classes is None:
            return (patch.labels > 0).astype(np.int64)
        return np.where(patch.labels > 0, self.number[patch.classes[patch.labels]], 0)


def cut_patches(image: LabelledImage, index: int, cutting: Cutting) -> list[LabelledImage]:
    """All patches of image number ``index`` that fit side by side, at the wanted resolution, row by row.

    Patches that hold ignored pixels are left out, since their nuclei are not all annotated.

    Where the grid leaves pixels over, they are shared out between its two sides at random; an image
    smaller than a patch has none.
    """
    scale = image.mpp / cutting.mpp
    size = cutting.size_px
    shape = (max(1, round(image.labels.shape[0] * scale)), max(1, round(image.labels.shape[1] * scale)))
    rows = shape[0] // size
    columns = shape[1] // size
    if not rows * columns:
        return []
    pixels, labels = resized(image, Box.of_shape(image.labels.shape), shape)
    labels, ignore = parted(labels)
    whole = replace(image, image=pixels, labels=labels, mpp=cutting.mpp, points=None, point_classes=None, ignore=ignore)
    # By the image's number, so that its patches are the same whatever the images before it are.
    rng = np.random.default_rng((cutting.seed, index))
    y0, x0 = (int(rng.integers(side % size + 1)) for side in shape)
    corners = [(y0 + row * size, x0 + column * size) for row in range(rows) for column in range(columns)]
    patches = [cut(whole, Box(y, x, y + size, x + size)) for y, x in corners]
    return [patch for patch in patches if patch.ignore is None or not patch.ignore.any()]


def measure_patches(
    dataset: Dataset, network: FeatureNetwork, cutting: Cutting, classes: ClassNumbers, on_image: Watch = _nobody
) -> PatchFigures:
    """Cut every image of a data set and measure every patch.

    Raises
    ------
    DataError
        The set marks nuclei with points, no image holds a patch, or an image cannot be read.
    ConfigError
        The network does not take patches of this size.
    """
    if dataset.layout.kind == "points":
        raise DataError(
            f"{dataset.path} marks nuclei with points; sizes and forms are compared of outlined nuclei only"
        )
    places: list[tuple[int, int]] = []
    seen = []
    proportions = []
    measured = []
    too_small = 0
    coarsest = 0.0
    for index, image in enumerate(dataset):
        patches = cut_patches(image, index, cutting)
        coarsest = max(coarsest, image.mpp)
        too_small += not patches
        places += [(index, i) for i in range(len(patches))]
        # One pass per image: patches of a whole set would not fit the memory.
        if patches:
            seen.append(network(np.stack([patch.image for patch in patches])))
        proportions += [class_proportions(classes.map_of(patch), len(classes.names)) for patch in patches]
        measured += [measure_patch(patch) for patch in patches]
        on_image(index + 1, len(dataset))
    if not places:
        raise DataError(
            f"no image of {dataset.path} holds a patch of {cutting.size_px} px at {cutting.mpp:g} um per px "
            f"({cutting.size_px * cutting.mpp:g} um): choose smaller patches (--patch)"
        )
    probabilities = [each.probabilities for each in seen if each.probabilities is not None]
    return PatchFigures(
        places=tuple(places),
        vectors=np.concatenate([each.vectors for each in seen]),
        probabilities=np.concatenate(probabilities) if probabilities else None,
        proportions=np.stack(proportions),
        quantities={name: tuple(each[name] for each in measured) for name in QUANTITIES},
        images=len(dataset),
        too_small=too_small,
        coarsest_mpp=coarsest,
    )


def measure_patch(patch: LabelledImage) -> dict[str, NDArray[np.float64]]:
    """Values of each of `QUANTITIES` in one patch: one value, or one per nucleus.

    * ``nuclei_per_patch`` counts what is seen, in part or whole; ``nuclei_per_mm2`` leaves out what
      touches the upper or the left edge, so that a density does not depend on the size of patches
      (Gundersen's counting frame).
    * Area and form are of nuclei that touch no edge: ``axis_ratio`` and ``ellipse_fill`` refer to the ellipse with the
      nucleus' second moments, whose area is the nucleus' own when it is an ellipse; 1 is a perfect one.
    * ``neighbour_um`` is the distance of each centroid to the nearest other one in the patch.
    * ``od_...`` are mean and standard deviation over the patch of the optical density ``-log10((I + 1) / 256)``.
    """
    props = regionprops_table(patch.labels, properties=PROPERTIES)
    height, width = patch.labels.shape
    counted = (props["bbox-0"] > 0) & (props["bbox-1"] > 0)
    whole = counted & (props["bbox-2"] < height) & (props["bbox-3"] < width)
    area, major, minor = (np.asarray(props[key], float)[whole] for key in (PROPERTIES[0], *PROPERTIES[3:]))
    # Pixels are squares, not points: each has a second moment of its own, 1/12, without which a line has no width.
    major, minor = (np.sqrt(axis**2 + 16 / 12) for axis in (major, minor))
    density = -np.log10((patch.image.reshape(-1, 3).astype(np.float64) + 1) / 256)
    colors = dict(zip(list(QUANTITIES)[6:], [*density.mean(axis=0), *density.std(axis=0)], strict=True))
    return {
        "nuclei_per_patch": np.array([len(counted)], float),
        "nuclei_per_mm2": np.array([counted.sum() / (height * width * (patch.mpp / 1000) ** 2)]),
        "area_um2": area * patch.mpp**2,
        "axis_ratio": minor / major,
        "ellipse_fill": area / (np.pi / 4 * major * minor),
        "neighbour_um": _nearest(np.stack([props["centroid-0"], props["centroid-1"]], axis=1)) * patch.mpp,
        **{name: np.array([value]) for name, value in colors.items()},
    }


def _nearest(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each point to the nearest other; nothing where there is no other."""
    if len(points) < 2:
        return np.zeros(0)
    # The nearest of all is the point itself.
    distances: NDArray[np.float64] = cKDTree(points).query(points, k=2)[0][:, 1]
    return distances
