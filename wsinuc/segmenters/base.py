"""What the pipeline needs of a segmenter, and nothing more.

A segmenter has two halves so that both can work at once: ``predict`` runs on the accelerator and turns pixels into
scores, ``separate`` runs on the CPU and turns scores into instances. Both are pure functions of their argument and
of the segmenter's own constants.

Scores are uint8; `wsinuc.separation.channels` says what each channel holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from wsinuc.arguments import came
from wsinuc.config import GROUPS, STAINS, SegmentConfig
from wsinuc.errors import ConfigError
from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.normalisation import ColourNormalisation

Tile = Annotated[int, Meta(ge=16, le=8192)]
Margin = Annotated[int, Meta(ge=0, le=4096)]
Certainty = tuple[Annotated[float, Meta(ge=-1e3, le=1e3)], Annotated[float, Meta(ge=-1e3, le=1e3)]]
"""Slope and offset of a logistic curve, see `wsinuc.metrics.calibration.certainty`."""
MOST_CLASSES = 64
"""Classes of nuclei that a model tells apart, at most."""
Classes = Annotated[tuple[NucleusClass, ...], Meta(min_length=1, max_length=MOST_CLASSES)]
"""What a model tells apart: each has a channel of its scores."""


def check_classes(classes: tuple[NucleusClass, ...]) -> None:
    """Raise ConfigError where two classes have one name: tables and exports could not tell them apart."""
    names = [each.name for each in classes]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"two classes of nuclei are called {twice!r}")


def usual_mpp_range(mpp: float) -> tuple[float, float]:
    """um per pixel, finest and coarsest, of slides for a model that records nothing else.

    Examples
    --------
    >>> usual_mpp_range(0.5)
    (0.1, 1.1)
    """
    # Scanners' levels are a factor of 2 apart; the tenth more lets a slide of 0.505 um serve a model of 0.25.
    return 0.1, 2.2 * mpp


def check_segmenter(segmenter: object) -> None:
    """Raise ConfigError for what cannot be a segmenter."""
    if not (hasattr(segmenter, "predict") and hasattr(segmenter, "separate")):
        raise ConfigError(f"expected a segmenter as wsinuc.load_segmenter gives it, got {came(segmenter)}")


def described(model: Tiled) -> str:
    """A model on one line, as ``repr`` shows it: its kind, its resolution, its classes."""
    names = ", ".join(each.name for each in model.classes)
    return f"<{type(model).__name__}: {model.mpp:g} um per pixel; classes: {names}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What has to be measured of nuclei so that a model can tell them apart."""

    measure: tuple[str, ...]
    """Groups of `wsinuc.config.GROUPS`."""
    stains: str
    """One of `wsinuc.config.STAINS`."""

    def __post_init__(self) -> None:
        if not set(self.measure) <= set(GROUPS) or self.stains not in STAINS:
            raise ConfigError(f"nothing is measured that is called {', '.join(self.measure)}, by {self.stains}")

    def check(self, config: SegmentConfig) -> None:
        """Raise ConfigError where a run measures less, or otherwise."""
        self.require(config.groups, config.stains)

    def require(self, groups: tuple[str, ...], stains: str) -> None:
        """Raise ConfigError where groups or stain vectors are not those that the model needs."""
        missing = [group for group in self.measure if group not in groups]
        if missing:
            wanted = [group for group in GROUPS if group in {*self.measure, *groups}]
            raise ConfigError(
                f"the model tells nuclei apart by measurements of {', '.join(missing)}, which are not asked for: "
                f"add --measure {','.join(wanted)}"
            )
        if "stain" in self.measure and stains != self.stains:
            raise ConfigError(
                f"the model tells nuclei apart by densities with the stain vectors {self.stains}, got {stains}: "
                f"add --stains {self.stains}"
            )


class Tiled(Protocol):
    """How a model sees a slide, which is all that planning needs of it."""

    @property
    def mpp(self) -> float:
        """The resolution that it works at, in um per pixel."""
        ...

    @property
    def mpp_range(self) -> tuple[float, float]:
        """The finest and the coarsest slides that it takes: finer ones are shrunk, coarser ones lack detail."""
        ...

    @property
    def tile(self) -> int:
        """Side of a network input in pixels."""
        ...

    @property
    def margin(self) -> int:
        """Pixels cropped from each side of a tile's scores."""
        ...

    @property
    def min_halo(self) -> int:
        """Twice the diameter of the largest nucleus that it accepts; blocks are read with at least that around them."""
        ...

    @property
    def classes(self) -> tuple[NucleusClass, ...]:
        """What a nucleus can be, each with a name and a colour."""
        ...

    @property
    def channels(self) -> int:
        """The number of its scores."""
        ...


@runtime_checkable
class Segmenter(Tiled, Protocol):
    """Pixels to scores to instances, at one resolution: what `wsinuc.load_segmenter` gives.

    It is a protocol, so that any class with these properties and methods is a segmenter.

    Examples
    --------
    >>> import wsinuc
    >>> segmenter = wsinuc.load_segmenter("student", device="cpu")
    >>> segmenter
    <NetworkSegmenter: 0.25 um per pixel; classes: Nucleus>
    >>> isinstance(segmenter, wsinuc.Segmenter)
    True
    """

    @property
    def batch_size(self) -> int:
        """Tiles per forward pass that suit its device."""
        ...

    @property
    def identity(self) -> str:
        """Names weights and settings: two segmenters with equal identity give equal results on one device."""
        ...

    def calibrate(self, samples: NDArray[np.uint8]) -> Segmenter:
        """A segmenter adjusted to a slide; this one if it needs no adjustment.

        Parameters
        ----------
        samples
            Samples of the slide's tissue, RGB, uint8 ``(n, side, side, 3)``.
        """
        ...

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB ``(n, tile, tile, 3)`` to scores ``(n, channels, stride, stride)``, the margin cropped."""
        ...

    def separate(self, scores: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Scores ``(channels, h, w)`` to labels ``(h, w)``: 0 background, 1..n.

        Each label is one 4-connected piece without holes.
        """
        ...


@runtime_checkable
class Fitted(Segmenter, Protocol):
    """A segmenter whose calibration can be kept and given to others; every one whose ``calibrate``
    does anything is one.

    ``predict`` of ``s.with_statistics(s.calibrate(samples).statistics())`` is that of
    ``s.calibrate(samples)`` to the bit.
    """

    def statistics(self) -> dict[str, NDArray[np.float32]]:
        """What ``calibrate`` has measured, by name; empty before."""
        ...

    def with_statistics(self, statistics: dict[str, NDArray[np.float32]]) -> Segmenter:
        """This segmenter with the statistics of another one; raises KeyError when that had another network."""
        ...


@runtime_checkable
class Certain(Protocol):
    """A segmenter that has been measured: it knows how often nuclei are right that look as they do."""

    def certainty(self, nuclei: Nuclei) -> NDArray[np.float32]:
        """The probability ``(n,)`` of each that it is one; those of ``nuclei`` are the means over their pixels."""
        ...


@runtime_checkable
class Coloured(Protocol):
    """A segmenter that may know the colours of the images that it was trained on."""

    @property
    def training_colours(self) -> ColourNormalisation | None:
        """Their optical densities; None where they were not recorded."""
        ...


@runtime_checkable
class Classifying(Segmenter, Protocol):
    """A segmenter that tells nuclei apart after separation, each as a whole, instead of pixel by pixel.

    What it says of a nucleus may depend on nothing farther from it than ``min_halo`` allows for.
    """

    def classify(self, labels: NDArray[np.int32], scores: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The first ``2 + classes`` channels of ``scores`` with the classes of the nuclei
        ``labels`` ``(h, w)`` in them."""
        ...


@runtime_checkable
class Measuring(Protocol):
    """A model whose classes follow from measurements."""

    @property
    def needs(self) -> Needs:
        """Which."""
        ...


@runtime_checkable
class ByMeasurement(Measuring, Segmenter, Protocol):
    """A segmenter that tells nuclei apart when all that is asked for has been measured of them."""

    def with_classes(self, nuclei: Nuclei) -> Nuclei:
        """Nuclei with all their measurements, and their classes."""
        ...
