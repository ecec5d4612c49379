"""Crops that a student learns from: clean scores of the teacher, the same tissue as another laboratory would show it.

Crop ``k`` is a function of the seed and ``k`` alone: a resumed training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsinuc.datasets.augment import Augmentation, distorted
from wsinuc.datasets.orientation import dihedral
from wsinuc.models import losses
from wsinuc.models.dense import DenseOutput
from wsinuc.segmenters.soft_targets import SoftTarget, soft_target
from wsinuc.tasks.teacher_patches import COLORS


@dataclass(frozen=True, slots=True, eq=False)
class SoftCrop:
    """One example."""

    image: NDArray[np.uint8]
    """(size, size, 3) RGB."""
    target: SoftTarget


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SoftCropSource:
    """Kept patches to cut from, and how."""

    read: Callable[[int], NDArray[np.uint8]]
    """Pixels and scores of a patch by its number; see `wsinuc.tasks.teacher_patches.TeacherPatches.patch`."""
    numbers: Sequence[int]
    """Of the patches."""
    classes: int
    """Of the teacher, without background."""
    separation: str
    mpp: float
    size: int
    """Side of a crop in pixels."""
    seed: int
    augmentation: Augmentation

    def crop(self, index: int) -> SoftCrop:
        """Crop number ``index``: anywhere in any patch, in any of the eight orientations."""
        rng = np.random.default_rng((self.seed, index))
        patch = self.read(self.numbers[int(rng.integers(len(self.numbers)))])
        y, x = (int(rng.integers(side - self.size + 1)) for side in patch.shape[1:])
        part = np.ascontiguousarray(patch[:, y : y + self.size, x : x + self.size])
        turn = int(rng.integers(8))
        image = distorted(np.moveaxis(part[:COLORS], 0, 2), self.mpp, rng, self.augmentation)
        return SoftCrop(np.ascontiguousarray(dihedral(image, turn)), self._target(part).turned(turn))

    def whole(self, index: int) -> SoftCrop:
        """A whole patch as it is."""
        patch = np.ascontiguousarray(self.read(index))
        return SoftCrop(np.ascontiguousarray(np.moveaxis(patch[:COLORS], 0, 2)), self._target(patch))

    def batch(self, step: int, count: int) -> list[SoftCrop]:
        """The ``count`` crops of a training step."""
        return [self.crop(step * count + i) for i in range(count)]

    def _target(self, patch: NDArray[np.uint8]) -> SoftTarget:
        return soft_target(patch[COLORS:], self.classes, self.separation)


def soft_loss(raw: DenseOutput, targets: Sequence[SoftTarget], map_weight: float) -> Tensor:
    """Cross-entropy against the teacher's probabilities, and the squared error of its maps.

    H and V count where the teacher sees a nucleus, a distance everywhere.
    """
    device = raw.classes.device
    wanted = torch.from_numpy(np.stack([target.probabilities for target in targets])).to(device)
    maps = torch.from_numpy(np.stack([target.maps for target in targets])).to(device)
    entropy = losses.soft_cross_entropy(raw.classes, wanted)
    return entropy + map_weight * losses.map_loss(raw.maps, maps, wanted[:, 0] < 0.5)
