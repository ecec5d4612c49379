"""Crops that a student learns from: clean scores of the teacher, the same tissue as another laboratory would show it.

Crops come in pairs that show the same tissue a little apart, in the same stain and focus. Each is
sampled anew from the kept pixels, so the student sees what a slide looks like that begins
elsewhere, and `inconsistency` says how much its answer depends on that.

Pair ``k`` is a function of the seed and ``k`` alone: a resumed training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from wsinuc.datasets.augmentation.augment import Augmentation, distorted
from wsinuc.models.networks.dense import DenseOutput
from wsinuc.models.training import losses
from wsinuc.orientation import dihedral
from wsinuc.separation.soft_targets import SoftTarget, soft_target

COLORS = 3
"""Leading channels of a kept patch: RGB; the teacher's follow."""
APART = 15
"""Most pixels by which the crops of a pair are moved along each axis: any place of a network that
joins up to 16 pixels."""
_EVEN = 0.3  # probability that they are moved by whole pixels of the student: by the network's grid, not the samples


Level = TypeVar("Level", np.uint8, np.float32)
"""What a plane holds: pixels, or what the teacher says."""


@dataclass(frozen=True, slots=True, eq=False)
class SoftCrop:
    """One example."""

    image: NDArray[np.uint8]
    """(size, size, 3) RGB."""
    target: SoftTarget
    corner: tuple[float, float] = (0.0, 0.0)
    """Where it lies in what both crops of a pair were cut from, in its own pixels (y, x)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SoftCropSource:
    """Kept patches to cut from, and how."""

    read: Callable[[int], NDArray[np.uint8]]
    """Pixels and scores of a patch by its number; see `wsinuc.workflows.distill.patches.TeacherPatches.patch`."""
    numbers: Sequence[int]
    """Of the patches."""
    classes: int
    """Of the teacher, without background."""
    separation: str
    mpp: float
    """um per pixel of the crops."""
    step: float
    """Kept pixels per pixel of a crop, at least 1."""
    size: int
    """Side of a crop in pixels."""
    seed: int
    augmentation: Augmentation

    def pair(self, index: int) -> tuple[SoftCrop, SoftCrop]:
        """Pair number ``index``: anywhere in any patch, in any of the eight orientations."""
        # By its number alone: a resumed training draws what an uninterrupted one would.
        rng = np.random.default_rng((self.seed, index))
        patch = self.read(self.numbers[int(rng.integers(len(self.numbers)))])
        extent = min(math.ceil((self.size + min(APART, self.size // 4)) * self.step), patch.shape[1])
        y, x = (int(rng.integers(side - extent + 1)) for side in patch.shape[1:])
        field = np.ascontiguousarray(patch[:, y : y + extent, x : x + extent])
        # Both crops of a pair are turned alike, or their overlap would have no common pixels.
        turn = int(rng.integers(8))
        one, other = self._corners(rng, extent / self.step - self.size)
        # The pixels alone: the teacher has seen the patch as it is, and its scores stay what they are.
        image = distorted(np.moveaxis(field[:COLORS], 0, 2), self.mpp / self.step, rng, self.augmentation)
        image = dihedral(image, turn)
        target = self._target(field).turned(turn)
        return self._cut(image, target, one), self._cut(image, target, other)

    def whole(self, index: int) -> SoftCrop:
        """A whole patch as it is, at the resolution of the crops."""
        patch = np.ascontiguousarray(self.read(index))
        # A whole number of pixels may come out a little too small.
        side = int(patch.shape[1] / self.step + 1e-6)
        return self._cut(np.moveaxis(patch[:COLORS], 0, 2), self._target(patch), (0.0, 0.0), side)

    def batch(self, step: int, count: int) -> list[SoftCrop]:
        """The ``count`` crops of a training step, the first of all pairs before the second ones."""
        pairs = [self.pair(step * count + i) for i in range(count // 2)]
        # `inconsistency` relies on this order.
        return [one for one, _ in pairs] + [other for _, other in pairs]

    def _corners(self, rng: np.random.Generator, room: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where the crops of a pair lie, in their own pixels, the second not before the first;
        whole ones if step is 1."""
        if self.step == 1:
            return (0.0, 0.0), (float(rng.integers(int(room) + 1)), float(rng.integers(int(room) + 1)))
        one = rng.uniform(0, min(1.0, room), 2)
        apart = rng.uniform(0, room - one)
        other = one + (np.floor(apart) if rng.random() < _EVEN else apart)
        return (float(one[0]), float(one[1])), (float(other[0]), float(other[1]))

    def _target(self, patch: NDArray[np.uint8]) -> SoftTarget:
        return soft_target(patch[COLORS:], self.classes, self.separation)

    def _cut(
        self, image: NDArray[np.uint8], target: SoftTarget, corner: tuple[float, float], side: int | None = None
    ) -> SoftCrop:
        """The square with this corner, sampled as a slide is: by triangles as wide as the coarser pixel."""
        size = side or self.size
        if self.step == 1:
            at = tuple(slice(int(start), int(start) + size) for start in corner)
            probabilities, maps = (
                np.ascontiguousarray(values[:, *at]) for values in (target.probabilities, target.maps)
            )
            return SoftCrop(np.ascontiguousarray(image[at]), SoftTarget(probabilities, maps), corner)
        top, left = (start * self.step for start in corner)
        reach = size * self.step
        box = (left, top, min(left + reach, image.shape[1]), min(top + reach, image.shape[0]))

        def sampled(plane: NDArray[Level]) -> NDArray[Level]:
            return np.array(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR, box=box))

        probabilities, maps = (
            np.stack([sampled(np.ascontiguousarray(plane)) for plane in values])
            for values in (target.probabilities, target.maps)
        )
        return SoftCrop(sampled(np.ascontiguousarray(image)), SoftTarget(probabilities, maps), corner)


def soft_loss(raw: DenseOutput, targets: Sequence[SoftTarget], map_weight: float) -> Tensor:
    """Cross-entropy against the teacher's probabilities, and the squared error of its maps.

    H and V count where the teacher sees a nucleus, a distance everywhere.
    """
    device = raw.classes.device
    wanted = torch.from_numpy(np.stack([target.probabilities for target in targets])).to(device)
    maps = torch.from_numpy(np.stack([target.maps for target in targets])).to(device)
    entropy = losses.soft_cross_entropy(raw.classes, wanted)
    return entropy + map_weight * losses.map_loss(raw.maps, maps, wanted[:, 0] < 0.5)


def inconsistency(raw: DenseOutput, crops: Sequence[SoftCrop]) -> Tensor:
    """How differently a student answers to the two crops of each pair: mean square over probabilities and maps.

    The edge of a crop, where the student lacks context, is left out.

    Parameters
    ----------
    raw
        Outputs for ``crops``, the first crop of all pairs before the second ones, as `SoftCropSource.batch` gives them.
    """
    values = torch.cat([raw.classes.softmax(1)[:, 1:], raw.maps], 1)
    count = len(crops) // 2
    rim = values.shape[-1] // 5  # the edge, where a crop lacks context
    differences = []
    for k in range(count):
        y, x = crops[k].corner
        down, right = crops[count + k].corner
        one = moved(values[k], down - y, right - x)
        other = values[count + k][:, : one.shape[1], : one.shape[2]]
        both = torch.stack([one, other])[..., rim:-rim, rim:-rim]
        # Only one of them was interpolated: means of 3 x 3 pixels leave little of what that alone changes.
        smooth = functional.avg_pool2d(both, 3, 1)
        differences.append((smooth[0] - smooth[1]).square().mean())
    return torch.stack(differences).mean()


def moved(values: Tensor, down: float, right: float) -> Tensor:
    """What ``(channels, h, w)`` holds so many pixels further down and right, interpolated; as far as there is any."""
    for axis, distance in ((1, down), (2, right)):
        whole = math.floor(distance)
        part = distance - whole
        values = values.narrow(axis, whole, values.shape[axis] - whole)
        if part:
            here, there = (values.narrow(axis, start, values.shape[axis] - 1) for start in (0, 1))
            values = here * (1 - part) + there * part
    return values
