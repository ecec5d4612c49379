"""Every knob of a run as frozen data, standard library only.

A config is what the command line builds and what ``summary.json`` records; nothing below ``workflows`` reads options
from anywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsinuc import arguments
from wsinuc.errors import ConfigError
from wsinuc.urls import PathLike

IMAGES = ("none", "thumbnail", "full")
"""How much of the slide is copied: nothing, about 1 um per pixel, or every pixel of the view."""
MPP_RANGE = (0.05, 2.0)
"""um per pixel outside this range are typing errors or broken metadata, not microscopes."""
CELL_RANGE = (0.5, 25.0)
"""How far cells may be grown from their nuclei, um."""
AREA_RANGE = (0.0, 1e5)
"""Least areas of nuclei in um2; the largest megakaryocytes have a few thousand."""
GROUPS = ("shape", "stain", "texture", "neighbours")
"""What can be measured of nuclei beyond what every table holds, in the order of the columns."""
STAINS = ("qupath", "ruifrok", "fitted")
"""Which stain vectors optical densities can be measured with."""


def measured_groups(text: str) -> tuple[str, ...]:
    """The groups of measurements that a text such as ``shape,stain`` names, each once and in the order of `GROUPS`.

    Raises
    ------
    ConfigError
        It names something else.

    Examples
    --------
    >>> measured_groups("stain, shape"), measured_groups("none")
    (('shape', 'stain'), ())
    """
    if arguments.text("measure", text) == "all":
        return GROUPS
    if text == "none":
        return ()
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise ConfigError(
            f"no group of measurements is called {unknown[0]!r}: give all, none, or some of {', '.join(GROUPS)} "
            "with commas between them"
        )
    return tuple(name for name in GROUPS if name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentConfig:
    """Settings of ``wsinuc segment`` for one slide; values outside their range raise `ConfigError`.

    Files may be given as text or as any path-like object; ``model`` and ``tissue`` are kept as text, ``roi`` and
    ``work`` as `pathlib.Path`.

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.SegmentConfig(model="accurate", mpp=0.25)
    >>> config.model, config.mpp, config.block
    ('accurate', 0.25, 2048)
    >>> wsinuc.SegmentConfig(roi="region.geojson").roi.name
    'region.geojson'
    """

    model: PathLike = "default"
    """Name of a shipped model or path of a segmenter checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    mpp: float | None = None
    """um per level-0 pixel given by the user; None takes it from the file."""
    reader: str = "auto"
    """auto, or one of ``wsinuc.slides.READERS``: openslide, tiffslide, tiff or image."""
    tissue: PathLike = "auto"
    """auto, none, or the path of a mask (PNG, or GeoJSON as for ``roi``)."""
    roi: PathLike | None = None
    """GeoJSON in level-0 pixels from ``Slide.origin``, as QuPath draws it, or its zip; only nuclei
    with their centroid inside are kept."""
    block: int = 2048
    """Side of a block's core in view pixels. Larger wastes less halo, smaller needs less memory."""
    batch_size: int | None = None
    """Tiles per forward pass; None takes what suits the device. Part of the result's identity: a
    convolution's last bits depend on it."""
    workers: int = 2
    """Blocks alive at once. Does not change the result."""
    measure: str = "shape,stain"
    """Groups of measurements: some of ``GROUPS`` with commas between them, ``all`` or ``none``."""
    stains: str = "qupath"
    """Stain vectors of optical densities, one of ``STAINS``: QuPath's "H&E default", those of Ruifrok and Johnston, or
    fitted to the slide."""
    cells: float | None = None
    """How far cells are grown from their nuclei, in um; None grows none."""
    threshold: float | None = None
    """Foreground probability from which a pixel belongs to a nucleus, above 0 and at most 1; None takes the model's
    own, for which the column ``probability`` is calibrated. Called as QuPath's scripts for StarDist call it; the
    counterpart of ``prob_thresh`` (StarDist), ``mask_threshold`` (InstanSeg) and, there as a logit,
    ``cellprob_threshold`` (Cellpose)."""
    min_area_um2: float | None = None
    """Least area of a nucleus in um2; smaller ones are dropped. None takes the model's own."""
    max_unreadable: float = 0.05
    """Largest share of the tissue's pixels that may be undecodable before the run fails."""
    resume: bool = True
    """Continue an interrupted run with the same settings."""
    outlines: Literal["smooth", "exact"] = "smooth"
    """Outlines of the file for QuPath: smooth, or along the edges of pixels. Table and labels are exact with either."""
    verify_input: bool = False
    """Hash all of the slide, instead of samples: the hash is recorded, and a run that is continued compares it."""
    report: bool = True
    """Write ``report.html``. Does not change the other outputs."""
    overwrite: bool = False
    """Replace an existing result."""
    image: str = "thumbnail"
    """How much of the slide is copied beside the label images, so that a viewer shows nuclei on tissue: none,
    thumbnail (about 1 um per pixel), or full (every pixel that the model reads)."""
    semantic: bool = False
    """Keep the class of every pixel, before nuclei are separated, as a label image of its own."""
    work: PathLike | None = None
    """Folder in which results below a URL are made, on a file system that all workers see; None takes the user's cache.
    Does not change the result."""

    also: str | Sequence[str] = ()
    """Formats that are written beside the result when it is complete, see ``wsinuc.exports.formats``; kept as a tuple.
    Does not change the result."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of measurements in the order of `GROUPS`."""
        return measured_groups(self.measure)

    def __post_init__(self) -> None:
        self._convert()
        measured_groups(self.measure)
        if self.stains not in STAINS:
            raise ConfigError(f"no stain vectors are called {self.stains!r}: give one of {', '.join(STAINS)}")
        if self.cells is not None and not CELL_RANGE[0] <= self.cells <= CELL_RANGE[1]:
            raise ConfigError(
                f"cells are grown by {CELL_RANGE[0]:g} to {CELL_RANGE[1]:g} um, got {self.cells:g}: 5 is usual"
            )
        check_threshold(self.threshold)
        check_min_area(self.min_area_um2)
        if self.mpp is not None and not MPP_RANGE[0] <= self.mpp <= MPP_RANGE[1]:
            raise ConfigError(
                f"mpp must lie between {MPP_RANGE[0]} and {MPP_RANGE[1]} um per pixel, got {self.mpp:g}: "
                "0.25 is usual for a 40x scan, 0.5 for 20x"
            )
        for name, low in (("block", 64), ("batch_size", 1), ("workers", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"{name} must be at least {low}, got {value}")
        if self.block % 64:
            raise ConfigError(f"block must be a multiple of 64 so that Zarr chunks align with it, got {self.block}")
        if self.outlines not in ("smooth", "exact"):
            raise ConfigError(
                f"outlines are smooth or exact, got {self.outlines!r}: smooth is what QuPath measures well"
            )
        check_image(self.image)
        if not 0.0 <= self.max_unreadable <= 1.0:
            raise ConfigError(f"max_unreadable is a share between 0 and 1, got {self.max_unreadable}")

    def _convert(self) -> None:
        """Paths and texts that were given in other forms, as the fields have them; raises ConfigError for the rest."""
        for name in ("model", "device", "reader", "tissue", "measure", "stains", "image"):
            object.__setattr__(self, name, _as_text(name, getattr(self, name)))
        for name in ("roi", "work"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, Path(_as_text(name, value)))
        for name in ("mpp", "cells", "threshold", "min_area_um2", "max_unreadable", "block", "batch_size", "workers"):
            object.__setattr__(self, name, _as_number(name, getattr(self, name)))
        object.__setattr__(self, "also", _as_texts("also", self.also))


_OPTIONAL = ("mpp", "cells", "threshold", "min_area_um2", "batch_size")
"""Numbers that may be None."""
_WHOLE = ("block", "batch_size", "workers")
"""Numbers of things."""


def _as_text(name: str, value: object) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return arguments.text(name, value)


def _as_texts(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{name} must be a list of texts, got {arguments.came(value)}")
    return tuple(_as_text(name, each) for each in value)


def _as_number(name: str, value: object) -> int | float | None:
    """A number as Python has it, or None where that may be."""
    if value is None and name in _OPTIONAL:
        return None
    if name in _WHOLE:
        return arguments.whole_number(name, value)
    return arguments.number(name, value)


def check_config(config: object) -> None:
    """Raise ConfigError for what is no `SegmentConfig`."""
    arguments.instance(config, SegmentConfig, "the settings as wsinuc.SegmentConfig(model=..., mpp=..., ...)")


def check_threshold(threshold: float | None) -> None:
    """Raise ConfigError for what is no foreground probability that can separate; None is the model's own."""
    if threshold is not None and not 0.0 < arguments.number("threshold", threshold) <= 1.0:
        raise ConfigError(
            f"threshold must be a probability above 0 and at most 1, got {threshold:g}: 0.5 is where nucleus and "
            "background are as likely, a lower one finds more and larger nuclei"
        )


def check_min_area(area_um2: float | None) -> None:
    """Raise ConfigError for what is no least area of a nucleus; None is the model's own."""
    if area_um2 is not None and not AREA_RANGE[0] <= arguments.number("min_area_um2", area_um2) <= AREA_RANGE[1]:
        raise ConfigError(
            f"the least area of a nucleus must lie between {AREA_RANGE[0]:g} and {AREA_RANGE[1]:g} um2, got "
            f"{area_um2:g}: a section of a lymphocyte has about 20"
        )


def check_image(image: str) -> None:
    """Raise ConfigError for a word that is none of ``IMAGES``."""
    if image not in IMAGES:
        raise ConfigError(f"the slide's copy must be one of {', '.join(IMAGES)}, got {image!r}")


DEFAULTS = SegmentConfig()
"""The settings of a run for which nothing is given."""
