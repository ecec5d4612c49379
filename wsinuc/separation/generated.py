"""From the maps that a generator draws to instances: five ways, by name.

Generated maps are the annotation of a generated image, so they are cleaner than what a segmenter
sees, and small pieces of nuclei at the edge of a patch count. What each way needs:

=============  ==========================================================================================
``components``  the semantic map alone: touching nuclei stay one
``distance``    the semantic map alone: watershed on the distance to its border, blobs are cut at necks
``hv``          and H and V (Nudiff, Yu et al. 2023): watershed where H or V falls from one nucleus to the next
``points``      and the distance to the centroid and a point per nucleus (Min, Oh, Jeong 2024)
``peaks``       and the distance to the centroid, where no points are known: its peaks stand in for them
=============  ==========================================================================================

``hv`` follows HoVer-Net's post-processing, which the released code of Nudiff repeats, but for what
makes it depend on the tile. HoVer-Net stretches H, V and their derivatives from the tile's minimum
to its maximum and cuts at 0.4 of that, so one steep contact, or none, moves every cut; here a
derivative is measured against what the kernel makes of a fall from +1 to -1. Its Sobel kernel has
21 px; ours has 2.75 um, 11 px at 0.25 um per pixel, because the wide one fails on small nuclei. And
the result is not the best of eight orientations: H and V are expected to grow to the right and
downwards, and turned structures must have been turned as vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ConfigError, DataError
from wsinuc.separation.watershed import (
    WatershedSettings,
    instances_from_distance,
    instances_from_hv,
    instances_from_pieces,
    instances_from_points,
    instances_from_shape,
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GeneratedMaps:
    """What a generator says about the nuclei of one image; all maps have the same ``(h, w)``.

    Raises
    ------
    DataError
        A map has another shape than the semantic one, or holds values that are no numbers.
    """

    semantic: NDArray[np.integer] | NDArray[np.floating]
    """``(h, w)``: integers are classes counted from 1, 0 is background; floats are the probability of a nucleus."""
    hv: NDArray[np.floating] | None = None
    """``(2, h, w)`` in [-1, 1]: H grows from a nucleus' left side to its right one, V from top to bottom; 0 outside."""
    distance: NDArray[np.floating] | None = None
    """``(h, w)`` in [0, 1]: 1 at a nucleus' centroid, 0 at its farthest pixels and outside."""
    points: NDArray[np.integer] | None = None
    """``(h, w)``: class at one pixel per nucleus, 0 elsewhere."""

    def __post_init__(self) -> None:
        if self.semantic.ndim != 2 or self.semantic.dtype.kind not in "iuf":
            raise DataError(
                f"a semantic map is (h, w) integers (classes) or floats (probability), got {self.semantic.dtype} of "
                f"shape {self.semantic.shape}"
            )
        for name, expected in (("hv", (2, *self.semantic.shape)), ("distance", self.semantic.shape)):
            values = getattr(self, name)
            if values is not None and values.shape != expected:
                raise DataError(f"{name} must be {expected} like the semantic map, got {values.shape}")
        if self.points is not None and (self.points.shape != self.semantic.shape or self.points.dtype.kind not in "iu"):
            raise DataError(
                f"points must be integers {self.semantic.shape} like the semantic map, got {self.points.dtype} of "
                f"shape {self.points.shape}"
            )
        # Clipping would turn infinite values into certain ones.
        for name in ("semantic", "hv", "distance"):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                raise DataError(f"the {name} map holds values that are no numbers: the sampling went wrong")

    @property
    def foreground(self) -> NDArray[np.uint8]:
        """uint8 ``(h, w)``, 255 = certainly nucleus."""
        if self.semantic.dtype.kind == "f":
            return _levels(self.semantic)
        return _levels(self.semantic > 0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Instances:
    """Nuclei of one generated image."""

    labels: NDArray[np.int32]
    """``(h, w)``: 0 background, 1..n in raster order, each one 4-connected piece without holes."""
    classes: NDArray[np.int32]
    """``(n + 1,)``: class of each label counted from 1; 0 for the background."""


SPECK_UM2 = 2.5
"""Area in um2 below which nothing is a nucleus in any tissue."""


def settings_for_maps(mpp: float, *, smallest_um2: float = SPECK_UM2) -> WatershedSettings:
    """Settings for generated maps at ``mpp`` um per pixel: what is below ``smallest_um2`` goes,
    gaps up to 1 um2 are filled.

    A segmenter's defaults would drop what the edge of a patch leaves of a nucleus, and close the gaps between nuclei.
    """
    return WatershedSettings(mpp=mpp, min_area_um2=max(smallest_um2, SPECK_UM2), max_hole_um2=1.0)


def separate(method: str, maps: GeneratedMaps, settings: WatershedSettings) -> Instances:
    """Instances and their classes from generated maps.

    A nucleus has the class of the point in it, where there are points and the method is ``points``;
    otherwise, and where no point fell into it, the class of most of its pixels. Probabilities know
    one class, 1.

    Parameters
    ----------
    method
        One of `SEPARATIONS`.
    settings
        As `settings_for_maps` has them for the maps' resolution.

    Returns
    -------
    Instances
        Labels ``(h, w)`` and the class of each.

    Raises
    ------
    ConfigError
        There is no such method, or the maps lack what it needs.
    """
    if method not in SEPARATIONS:
        raise ConfigError(f"separation must be one of {', '.join(SEPARATIONS)}, got {method!r}")
    needs, separation = SEPARATIONS[method]
    missing = [name for name in needs if getattr(maps, name) is None]
    if missing:
        raise ConfigError(
            f"separation {method} needs the maps {' and '.join(('semantic', *needs))}, but there is no "
            f"{' and no '.join(missing)}; components and distance need the semantic map alone"
        )
    labels = separation(maps, settings)
    return Instances(labels=labels, classes=_classes(labels, maps, by_point=method == "points"))


def _components(maps: GeneratedMaps, settings: WatershedSettings) -> NDArray[np.int32]:
    return instances_from_pieces(maps.foreground, settings)


def _distance(maps: GeneratedMaps, settings: WatershedSettings) -> NDArray[np.int32]:
    return instances_from_shape(maps.foreground, settings)


def _hv(maps: GeneratedMaps, settings: WatershedSettings) -> NDArray[np.int32]:
    assert maps.hv is not None  # `separate` has checked what SEPARATIONS asks for
    # From [-1, 1], as H and V are drawn.
    h, v = _levels(maps.hv / 2 + 0.5)
    return instances_from_hv(maps.foreground, h, v, settings)


def _points(maps: GeneratedMaps, settings: WatershedSettings) -> NDArray[np.int32]:
    assert maps.distance is not None
    assert maps.points is not None
    return instances_from_points(maps.foreground, _levels(maps.distance), maps.points > 0, settings)


def _peaks(maps: GeneratedMaps, settings: WatershedSettings) -> NDArray[np.int32]:
    assert maps.distance is not None
    return instances_from_distance(maps.foreground, _levels(maps.distance), settings)


Separation = Callable[[GeneratedMaps, WatershedSettings], NDArray[np.int32]]

SEPARATIONS: dict[str, tuple[tuple[str, ...], Separation]] = {
    "components": ((), _components),
    "distance": ((), _distance),
    "hv": (("hv",), _hv),
    "points": (("distance", "points"), _points),
    "peaks": (("distance",), _peaks),
}
"""Name of a separation -> the maps that it needs beside the semantic one, and the function that does it."""


def _levels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """[0, 1] in 256 levels; what a generator drew beyond is cut off."""
    levels: NDArray[np.uint8] = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    return levels


def _classes(labels: NDArray[np.int32], maps: GeneratedMaps, *, by_point: bool) -> NDArray[np.int32]:
    """``(n + 1,)`` class of each label; of equally frequent ones the lower."""
    count = int(labels.max(initial=0))
    if maps.semantic.dtype.kind == "f":
        classes = np.ones(count + 1, np.int32)
    else:
        classes = _majority(labels, maps.semantic, count)
    if by_point and maps.points is not None:
        pointed = _majority(labels, maps.points, count)
        # Where no point fell into a nucleus, its pixels decide.
        classes = np.where(pointed > 0, pointed, classes)
    classes[0] = 0
    return classes


def _majority(labels: NDArray[np.int32], classes: NDArray[Any], count: int) -> NDArray[np.int32]:
    """``(count + 1,)`` commonest class in each label, background pixels not counted; 0 where there is none."""
    # One count for each pair of label and class; argmax takes the lower of equal ones.
    width = int(classes.max(initial=0)) + 1
    known = (labels > 0) & (classes > 0)
    votes = np.bincount(labels[known] * width + classes[known], minlength=(count + 1) * width).reshape(count + 1, width)
    majority: NDArray[np.int32] = votes.argmax(axis=1).astype(np.int32)
    return majority
