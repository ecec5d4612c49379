"""What a model's settings alone decide: how it sees a slide, and what blocks it needs. No network is built for it."""

from __future__ import annotations

import copy
import math
from dataclasses import Field, replace
from typing import Any, ClassVar, Protocol, Self

from wsinuc.errors import ConfigError
from wsinuc.nuclei.classes import REACH_UM, NucleusClass
from wsinuc.segmenters.base import check_classes, described, usual_mpp_range
from wsinuc.segmenters.cutoffs import Cutoffs
from wsinuc.separation.channels import FIRST_CLASS
from wsinuc.separation.settings import WatershedSettings

MAPS = {"distance": 1, "hv": 2}
"""Separation -> number of maps that a network regresses for it."""
STAINS = 2
"""Channels of the stains behind those of a model that is given classes afterwards."""


def typed_halo(base_halo: int, mpp: float) -> int:
    """Pixels to read around a block where nuclei get classes: neighbours count in a nucleus' class, and must be whole
    as it is itself."""
    return base_halo + math.ceil(REACH_UM / mpp) + 1


def typed_channels(base_channels: int, classes: int) -> int:
    """Foreground, disagreement, classes, then what the base has behind its first two, then the stains."""
    return base_channels + classes + STAINS


def check_separation(separation: str) -> None:
    """Raise ConfigError for what is no way in which networks separate nuclei."""
    if separation not in MAPS:
        raise ConfigError(f"separation must be one of {', '.join(MAPS)}, got {separation!r}")


def check_tiling(
    tile: int, margin: int, mpp_range: tuple[float, float] | None, classes: tuple[NucleusClass, ...]
) -> None:
    """Check what every segmenter's config says of its tiles and classes.

    Raises
    ------
    ConfigError
        The margins leave no core, the range of um per pixel is empty, or two classes have one name.
    """
    if tile <= 2 * margin:
        raise ConfigError(f"tile {tile} must exceed twice the margin {margin}")
    if mpp_range is not None and not mpp_range[0] <= mpp_range[1]:
        raise ConfigError(f"mpp_range begins with the finest um per pixel, got {mpp_range[0]} to {mpp_range[1]}")
    check_classes(classes)


class TilingConfig(Protocol):
    """What the settings of every model that sees slides in tiles have: a frozen dataclass with these fields."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def watershed(self) -> WatershedSettings: ...
    @property
    def separation(self) -> str: ...
    @property
    def classes(self) -> tuple[NucleusClass, ...]: ...
    @property
    def tile(self) -> int: ...
    @property
    def margin(self) -> int: ...
    @property
    def mpp_range(self) -> tuple[float, float] | None: ...


class Tiling:
    """Resolution, tiles, halo and channels of a model, from its settings."""

    config: TilingConfig
    own_watershed: WatershedSettings | None = None
    """Separation as its file has it, where ``config`` has other cutoffs."""

    def __repr__(self) -> str:
        return described(self)

    @property
    def mpp(self) -> float:
        """um per pixel the model was trained at."""
        return self.config.watershed.mpp

    @property
    def mpp_range(self) -> tuple[float, float]:
        """um per pixel of the slides it accepts, finest and coarsest."""
        return self.config.mpp_range or usual_mpp_range(self.mpp)

    @property
    def tile(self) -> int:
        """Side of a network input in pixels."""
        return self.config.tile

    @property
    def margin(self) -> int:
        """Pixels cropped from each side of a tile's scores."""
        return self.config.margin

    @property
    def min_halo(self) -> int:
        """Pixels to read around a block."""
        return self.config.watershed.min_halo

    @property
    def classes(self) -> tuple[NucleusClass, ...]:
        """What a nucleus can be."""
        return self.config.classes

    @property
    def channels(self) -> int:
        """Score channels: foreground, disagreement, classes, and the maps for separation."""
        return FIRST_CLASS + len(self.classes) + MAPS[self.config.separation]

    @property
    def cutoffs(self) -> Cutoffs:
        """From which probability and area there is a nucleus."""
        return Cutoffs.of(self.config.watershed)

    @property
    def own_cutoffs(self) -> Cutoffs:
        """The same as its file has it."""
        return Cutoffs.of(self.own_watershed or self.config.watershed)

    def with_cutoffs(self, cutoffs: Cutoffs) -> Self:
        """A copy on the same weights with other cutoffs."""
        other = copy.copy(self)
        other.own_watershed = self.own_watershed or self.config.watershed
        other.config = replace(self.config, watershed=cutoffs.within(self.config.watershed))
        return other
