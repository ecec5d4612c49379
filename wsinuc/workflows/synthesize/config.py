"""What both kinds of synthesis are told, and where the chance of a sample comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.datasets.augmentation.augment import Augmentation, augmented_crop, parted
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.errors import ConfigError, DataError
from wsinuc.models.diffusion.samplers import SamplerConfig
from wsinuc.models.diffusion.schedules import strided_timesteps

PARTS = ("structure", "image", "layout")
"""What of a sample is drawn from chance, each part from its own, so that one can be exchanged and the others stay."""
_PLAIN = Augmentation(zoom=1.0, stain=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisConfig:
    """How samples are made; which ones a number ``k`` means depends on ``seed`` and ``k`` alone.

    Raises
    ------
    ConfigError
        A number is not positive, or the guidance below -1.

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.SynthesisConfig(size=128, workers=2)
    >>> config.size, config.sampler.name, config.sampler.steps
    (128, 'dpm++', 20)
    """

    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    guidance: float | None = None
    """w of `wsinuc.models.diffusion.guidance`, which is s - 1 of method C's notation. None: 1, as
    the released code of both has it (s = 2), or 0 where the network was trained without dropping
    its condition."""
    size: int | None = None
    """Side of the images in pixels; None is that of the patches the network was trained on."""
    batch: int | None = None
    """Samples that are computed together; None: 1 on a CPU, which gains nothing from more, else 8."""
    workers: int = 1
    """Processes; more than one pay on a CPU."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "batch", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.guidance is not None and not -1 <= self.guidance < float("inf"):
            raise ConfigError(f"guidance must be at least -1 (no condition at all), got {self.guidance}")

    def batch_on(self, device: torch.device) -> int:
        """Samples per batch on this device."""
        return self.batch or (1 if device.type == "cpu" else 8)


def sequence_of(seed: int, index: int, part: str) -> np.random.SeedSequence:
    """The chance of one part of sample ``index``."""
    return np.random.SeedSequence((seed, index, PARTS.index(part)))


def seed_of(seed: int, index: int, part: str) -> int:
    """The same as one number below 2^63, for generators of PyTorch."""
    return int(sequence_of(seed, index, part).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True, slots=True, eq=False)
class RealField:
    """A square of an annotated image."""

    image: LabelledImage
    """Where it was cut out."""
    pixels: NDArray[np.uint8]
    """(size, size, 3) RGB."""
    labels: NDArray[np.int32]
    """(size, size) one number per connected piece of a nucleus."""
    classes: NDArray[np.int32] | None
    """(labels.max() + 1,) class of each; None where the data set has none."""


def real_field(image: LabelledImage, rng: np.random.Generator, *, mpp: float, size: int) -> RealField:
    """A random square of ``size`` px at ``mpp``, turned or flipped; smaller images are continued by mirroring."""
    pixels, signed = augmented_crop(image, mpp, rng, size=size, augmentation=_PLAIN)
    nuclei, _ = parted(signed)
    # mirroring shows a nucleus several times, under one number: each piece becomes a nucleus of its own
    labels = cc3d.connected_components(nuclei, connectivity=8).astype(np.int32, copy=False)
    if image.classes is None:
        return RealField(image, pixels, labels, None)
    classes = np.zeros(labels.max(initial=0) + 1, np.int32)
    classes[labels] = image.classes[nuclei]
    classes[0] = 0
    return RealField(image, pixels, labels, classes)


def check_drawable(size: int, sampler: SamplerConfig, *, stride: int, steps: int) -> None:
    """Raise ConfigError for a side or a way back that a network does not have.

    Parameters
    ----------
    stride
        Sides are multiples of it.
    steps
        Timesteps that the network was trained on.
    """
    if size % stride:
        raise ConfigError(
            f"images have a side that is a multiple of {stride} px with this network, got {size}: "
            f"--size {max(1, round(size / stride)) * stride} would do"
        )
    # Raises for more steps than there are.
    strided_timesteps(steps, sampler.steps)
    if sampler.restart >= steps:
        raise ConfigError(f"images can be restarted from timesteps 1 to {steps - 1}, got {sampler.restart}")


def check_outlined(dataset: Dataset) -> None:
    """Raise DataError for a data set whose nuclei are points: read as outlines, it would hold none at all."""
    if dataset.layout.kind == "points":
        raise DataError(
            f"{dataset.path} marks nuclei with points, and structures and layouts are taken from outlined ones; a "
            "joint generator (--method cosyn) takes the points of one image from a file, --layout NAME.csv"
        )


def resolved_guidance(asked: float | None, drop_rate: float, condition: str) -> float:
    """The guidance to use with a network whose ``condition`` was dropped that often in training.

    Raises
    ------
    ConfigError
        Guidance of a network that never saw an image without its condition.
    """
    if asked is None:
        return 1.0 if drop_rate else 0.0
    if asked and not drop_rate:
        raise ConfigError(
            f"guidance {asked:g} needs a network that has seen images without their {condition}, but this one was "
            "trained with drop rate 0: use --guidance 0, or train on with a drop rate"
        )
    return asked
