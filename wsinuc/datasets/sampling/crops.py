"""Endless augmented crops of annotated images, for training networks.

Crop ``k`` is a function of the seed and ``k`` alone: a resumed training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cc3d
import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.augmentation.augment import Augmentation, augmented_crop, parted
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One training example."""

    image: NDArray[np.uint8]
    """(size, size, 3) RGB."""
    labels: NDArray[np.int32]
    """(size, size) 0 is background, one number per connected piece of a nucleus."""
    class_map: NDArray[np.int32]
    """(size, size) class of each pixel counted from 1; 0 in the background and in nuclei of unknown class."""
    source: int
    """Which of the images it was cut from."""
    ignore: NDArray[np.bool_] | None = None
    """(size, size) pixels that count in no loss; None where all count."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropSource:
    """Annotated images to cut from, and how.

    Raises
    ------
    DataError
        There is no image, or labels are no integers.
    """

    images: Sequence[LabelledImage]
    mpp: float
    """um per pixel of the crops."""
    size: int
    """Side of a crop in pixels."""
    seed: int
    weights: Sequence[float] | None = None
    """How often each image is drawn, relative to the others; None draws in proportion to their area in um2."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    turned: bool = True
    """Whether crops are also turned and flipped."""

    def __post_init__(self) -> None:
        if not self.images:
            raise DataError("no annotated image to train on: check the data set's filters")
        if self.size < 1:
            raise ConfigError(f"a crop needs a side of at least 1 px, got {self.size}")
        if self.weights is not None and len(self.weights) != len(self.images):
            raise ConfigError(f"{len(self.images)} images need as many weights, got {len(self.weights)}")
        for sample in self.images:
            if not np.issubdtype(sample.labels.dtype, np.integer) or sample.labels.ndim != 2:
                raise DataError(
                    f"{sample.name}: labels must be integers (h, w), one number per nucleus; "
                    f"got {sample.labels.dtype} of shape {sample.labels.shape}"
                )

    @property
    def shares(self) -> NDArray[np.float64]:
        """Probability of each image."""
        weights = self.weights
        # Areas on the glass, so that every place is equally likely whatever the resolution.
        if weights is None:
            weights = [sample.labels.size * sample.mpp**2 for sample in self.images]
        shares: NDArray[np.float64] = np.asarray(weights, np.float64)
        return shares / float(shares.sum())

    def crop(self, index: int) -> Crop:
        """Crop number ``index``."""
        rng = np.random.default_rng((self.seed, index))
        source = int(rng.choice(len(self.images), p=self.shares))
        sample = self.images[source]
        image, labels = augmented_crop(
            sample, self.mpp, rng, size=self.size, augmentation=self.augmentation, turned=self.turned
        )
        ignore = None
        if sample.ignore is not None:
            labels, ignore = parted(labels)
        if sample.classes is None:
            classes = (labels > 0).astype(np.int32)
        else:
            classes = sample.classes[labels]
        # Mirroring can show a nucleus twice, and each copy has a centre of its own.
        pieces = cc3d.connected_components(labels, connectivity=8).astype(np.int32, copy=False)
        return Crop(image, pieces, classes, source, ignore)

    def batch(self, step: int, count: int) -> list[Crop]:
        """The ``count`` crops of a training step."""
        return [self.crop(step * count + i) for i in range(count)]
