"""What the readers see in a slide: the first thing to look at when a result surprises."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from wsinuc.errors import MppError, SlideError
from wsinuc.grid import Box
from wsinuc.slides import READERS
from wsinuc.slides.base import Slide
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.tissue import find_tissue
from wsinuc.urls import Place, redact, to_place

_TISSUE_VIEW_MPP = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelDescription:
    """One level of the pyramid."""

    shape: tuple[int, int]
    """(height, width) in the level's own pixels."""
    downsample: tuple[float, float]
    """Level-0 pixels per pixel, (y, x)."""
    mpp: float | None
    """um per pixel, when the slide's resolution is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideDescription:
    """What ``wsinuc info`` shows."""

    path: Place
    reader: str
    """The reader that opened the file."""
    readers: dict[str, str]
    """What every reader makes of the file: a summary, or why it refuses."""
    vendor: str
    levels: tuple[LevelDescription, ...]
    mpp: float | None
    """um per level-0 pixel that a run would use; None when it would refuse."""
    mpp_source: str
    """Where that is from: the option, or the field of the file."""
    mpp_problem: str | None
    """Why a run would refuse, and what to do."""
    objective_power: float | None
    bounds: Box | None
    """The scanned part in level-0 pixels, when the file names one."""
    origin: tuple[int, int]
    """(y, x) in level-0 pixels of the corner of the image that QuPath shows by default."""
    associated: tuple[str, ...]
    notes: tuple[str, ...]
    """What to know of how the pixels are read: bits, orientation, transparency."""
    tissue_share: float | None
    """Share of the slide that holds tissue, 0 to 1; None without a resolution."""
    tissue_mm2: float | None


def describe_slide(path: str | Place, reader: str = "auto", mpp: float | None = None) -> SlideDescription:
    """What the readers see in a slide.

    Raises
    ------
    SlideError
        No reader can open the file. (A slide without a resolution is described, and the problem named.)
    """
    path = to_place(path)
    with open_isolated(path, reader=reader, mpp=mpp) as slide:
        known_mpp, problem = _mpp_or_problem(slide)
        share: float | None = None
        mm2: float | None = None
        if known_mpp is not None:
            share, mm2 = _tissue(slide)
        description = SlideDescription(
            path=path,
            reader=slide.reader,
            readers={},
            vendor=slide.vendor,
            levels=_levels(slide, known_mpp),
            mpp=known_mpp,
            mpp_source="--mpp" if mpp is not None else slide.header.mpp_source,
            mpp_problem=problem,
            objective_power=slide.header.objective_power,
            bounds=slide.bounds,
            origin=slide.origin,
            associated=slide.header.associated,
            notes=slide.header.notes,
            tissue_share=share,
            tissue_mm2=mm2,
        )
    # Once the slide is closed, so that its reader process is asked again instead of a new one for each opinion.
    return replace(description, readers={name: _opinion(path, name) for name in READERS})


def _mpp_or_problem(slide: Slide) -> tuple[float | None, str | None]:
    try:
        return slide.mpp, None
    except MppError as error:
        return None, str(error)


def _levels(slide: Slide, mpp: float | None) -> tuple[LevelDescription, ...]:
    return tuple(
        LevelDescription(shape=shape, downsample=step, mpp=None if mpp is None else mpp * math.sqrt(step[0] * step[1]))
        for shape, step in zip(slide.level_shapes, slide.level_downsamples, strict=True)
    )


def _tissue(slide: Slide) -> tuple[float, float]:
    """Share of the slide, and mm2."""
    view = slide.at(_TISSUE_VIEW_MPP)
    tissue = find_tissue(view)
    return tissue.area_px() / (view.shape[0] * view.shape[1]), tissue.area_px() * view.mpp**2 / 1e6


def _opinion(path: Place, reader: str) -> str:
    try:
        with open_isolated(path, reader=reader) as slide:
            height, width = slide.level_shapes[0]
            if slide.file_mpp is None:
                mpp = "no resolution"
            else:
                mpp = f"{slide.file_mpp:.4g} um per pixel"
            count = len(slide.level_shapes)
            if count == 1:
                levels = "1 level"
            else:
                levels = f"{count} levels"
            return f"{slide.vendor}, {width} x {height} px, {levels}, {mpp}"
    except SlideError as error:
        return redact(str(error.__cause__ or error))
