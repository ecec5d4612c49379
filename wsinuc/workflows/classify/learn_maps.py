"""Nuclei with classes to a network that says at every place what kind of nucleus lies there.

What is learned is what will be asked: the mean of a class' map over a nucleus is its probability, and its
logarithm at the annotated class is what a step raises. Pixels without an annotated nucleus say nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsinuc.datasets.augmentation.augment import jitter_stain, mix_densities
from wsinuc.errors import ConfigError, DataError
from wsinuc.models.devices import on_device
from wsinuc.models.networks.supervised_unet import SupervisedUNet
from wsinuc.models.pixels import to_network
from wsinuc.models.training.config import check_one_pass
from wsinuc.models.training.loop import FitConfig, Progress, fit, training_identity
from wsinuc.models.training.state import DATA
from wsinuc.orientation import dihedral
from wsinuc.segmenters.class_network import (
    HALF,
    ClassWeights,
    build_class_network,
    class_network_shape,
    class_probabilities,
)
from wsinuc.workflows.classify.marked import MarkedImage

FEWEST = 8
"""Pixels of the network that a nucleus must have in a crop to be learned from: of less of it, little is seen."""
_FLOOR = 1e-4  # a nucleus that is certainly something else must not decide a whole step


@dataclass(frozen=True, slots=True, kw_only=True)
class MapsConfig:
    """How the network is made and learned."""

    base: int = 16
    """Width of its finest level."""
    levels: int = 4
    """Resolutions."""
    crop: int = 256
    """Side of a crop in its pixels."""
    batch: int = 4
    """Crops of one step."""
    stain: float = 0.5
    """Strength of the stain jitter, see `jitter_stain`."""
    dyes: float = 0.2
    """How far the dyes' own colours may be others, see `mix_densities`. Both are strong, because annotated images come
    from few laboratories: with weak ones the network took the dark nuclei of other sites for lymphocytes."""
    balance: float = 0.7
    """How far rare classes weigh more than they occur: 0 not at all, 1 as much as the frequent ones in total."""
    seed: int = 0
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=2400, lr=3e-3, warmup=50, cosine=True, weight_decay=1e-2, ema=0.998, log_every=100, save_every=200
        )
    )
    """How long and how fast."""

    def __post_init__(self) -> None:
        check_one_pass(self.fit)
        if self.crop % (2**self.levels) or self.batch < 1:
            raise ConfigError(
                f"crops have a side that is a multiple of {2**self.levels} px and there is at least one, "
                f"got {self.crop} and {self.batch}"
            )
        if not 0 <= self.balance <= 1:
            raise ConfigError(f"balance lies between 0 and 1, got {self.balance}")


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """An image as the network sees it."""

    pixels: NDArray[np.uint8]
    """RGB ``(h, w, 3)``."""
    labels: NDArray[np.int32]
    """``(h, w)``, 0 background."""
    classes: NDArray[np.int64]
    """``(n + 1,)`` of each label from 1, 0 where it is not known."""


def learn_maps(
    marked: Sequence[MarkedImage],
    classes: int,
    state: Path,
    config: MapsConfig,
    *,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None = None,
) -> ClassWeights:
    """Train a network of classes.

    The same call goes on from ``state``, where an interrupted one has left it.

    Returns
    -------
    shape, weights
        As `typed_checkpoint` takes them.

    Raises
    ------
    DataError
        A class has no nucleus.
    CheckpointError
        ``state`` is of another training.
    """
    fields = [_field(image, config.crop) for image in marked]
    weights = class_weights(np.concatenate([image.classes for image in marked]), classes, config.balance)
    shape = class_network_shape(classes, base=config.base, levels=config.levels)
    # Right before the network: its first weights depend on nothing that was drawn earlier.
    torch.manual_seed(config.seed)
    network = on_device(build_class_network(shape), device).train()
    learned = fit(
        network,
        _Loss(network, fields, torch.from_numpy(weights).to(device), config, device),
        config.fit,
        state=state,
        on_progress=on_progress,
        images=config.batch,
        settings=training_identity(config)
        | {"nuclei": sum(image.counts.nuclei for image in marked), DATA: _identity(fields)},
    )
    return shape, {name: value.cpu() for name, value in learned.items()}


def _identity(fields: Sequence[_Field]) -> str:
    """Names what is learned from, so that a training goes on with the images and classes that it began with."""
    facts = hashlib.sha256()
    for each in fields:
        for array in (each.pixels, each.labels, each.classes):
            facts.update(repr(array.shape).encode())
            facts.update(np.ascontiguousarray(array).data)
    return f"{len(fields)} images, {facts.hexdigest()[:12]}"


def class_weights(classes: NDArray[np.integer], count: int, balance: float) -> NDArray[np.float32]:
    """What a nucleus of each class weighs, float32 ``(count + 1,)``; 0 for those without a class.

    Examples
    --------
    >>> class_weights(np.array([1, 1, 1, 2, 0]), 2, 1.0).round(2).tolist()
    [0.0, 0.6700000166893005, 2.0]
    """
    numbers = np.bincount(classes, minlength=count + 1)[1:].astype(np.float64)
    if not numbers.all():
        raise DataError(f"class {int(np.argmin(numbers)) + 1} of {count} has no nucleus to learn from")
    weights = (numbers.sum() / (count * numbers)) ** balance
    # The mean over all nuclei is 1, so that the rate of learning does not depend on the balance.
    weights /= (weights * numbers).sum() / numbers.sum()
    return np.concatenate([[0.0], weights]).astype(np.float32)


def mean_over_nuclei(probabilities: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean of maps ``(classes, h, w)`` over each of ``count`` labels ``(h, w)``, ``(count, classes)``, and areas."""
    at = labels.reshape(-1)
    sums = probabilities.new_zeros(len(probabilities), count)
    sums = sums.index_add(1, at, probabilities.reshape(len(probabilities), -1))
    areas = torch.bincount(at, minlength=count)
    return (sums / areas.clamp(min=1)).T, areas


@dataclass(frozen=True, slots=True, eq=False)
class _Loss:
    """The loss of a step: of crops that its number decides."""

    network: SupervisedUNet
    fields: Sequence[_Field]
    weights: Tensor
    config: MapsConfig
    device: torch.device

    def __call__(self, step: int) -> Tensor:
        rng = np.random.default_rng([self.config.seed, step])
        crops = [self._crop(rng) for _ in range(self.config.batch)]
        pixels = np.stack([crop.pixels for crop in crops])
        probabilities = class_probabilities(self.network, to_network(pixels, self.device), 0)
        loss = probabilities.sum() * 0.0
        weight = loss
        for crop, maps in zip(crops, probabilities, strict=True):
            labels = torch.from_numpy(crop.labels.astype(np.int64)).to(self.device)
            means, areas = mean_over_nuclei(maps, labels, len(crop.classes))
            classes = torch.from_numpy(crop.classes).to(self.device)
            known = (classes > 0) & (areas >= FEWEST)
            right = means[known].gather(1, classes[known, None] - 1)[:, 0]
            loss = loss - (self.weights[classes[known]] * torch.log(right + _FLOOR)).sum()
            weight = weight + self.weights[classes[known]].sum()
        return loss / weight.clamp(min=1.0)

    def _crop(self, rng: np.random.Generator) -> _Field:
        """A random square of a random image, turned, in another stain."""
        source = self.fields[int(rng.integers(len(self.fields)))]
        side = self.config.crop
        top, left = (int(rng.integers(length - side + 1)) for length in source.labels.shape)
        place = (slice(top, top + side), slice(left, left + side))
        turn = int(rng.integers(8))
        pixels = jitter_stain(dihedral(source.pixels[place], turn), rng, self.config.stain)
        pixels = mix_densities(pixels, rng, self.config.dyes)
        return _Field(pixels, np.ascontiguousarray(dihedral(source.labels[place], turn)), source.classes)


def _field(image: MarkedImage, least: int) -> _Field:
    """An image at the network's resolution, continued by mirroring where a side is shorter than ``least``."""
    height, width = (side // HALF * HALF for side in image.segmented.labels.shape)
    pixels = image.seen[:height, :width].reshape(height // HALF, HALF, width // HALF, HALF, 3)
    labels = image.segmented.labels[1:height:HALF, 1:width:HALF]
    missing = [(0, max(0, least - side)) for side in labels.shape]
    return _Field(
        pixels=np.pad(np.rint(pixels.mean(axis=(1, 3))).astype(np.uint8), [*missing, (0, 0)], mode="symmetric"),
        # Nuclei that are there only in the mirror are not learned from: half of one is no nucleus.
        labels=np.pad(labels, missing),
        classes=np.concatenate([[0], image.classes]).astype(np.int64),
    )
