"""The slide of a corrected result with the nuclei that it has now.

Pixels come from the slide, which lies where the result says or beside the result.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from wsinuc.datasets.corrections.correction import correct
from wsinuc.datasets.corrections.detections import read_detections
from wsinuc.datasets.corrections.returned import read_returned
from wsinuc.datasets.layouts.qupath_files import AnnotatedFile
from wsinuc.datasets.layouts.qupath_slide import AnnotatedSlide, slide_header
from wsinuc.errors import DataError, MppError
from wsinuc.grid import Box
from wsinuc.store.manifest import read_made
from wsinuc.urls import to_place


def open_corrected(file: AnnotatedFile, *, regions: str, mpp: float | None, otherwise: float | None) -> AnnotatedSlide:
    """The slide of a result, with the nuclei that somebody corrected.

    Parameters
    ----------
    file
        The folder of the result, and what came back.
    regions
        Class or name of the regions, as a pattern.
    mpp, otherwise
        um per pixel of all slides, and of those that do not say it.

    Raises
    ------
    DataError
        The slide is not there, or the file is none of this result's.
    MppError
        Nothing tells the resolution.
    """
    slide = slide_of(file.slide)
    header = slide_header(slide)
    recorded = header.mpp or _given_mpp(file.slide)
    known = mpp or file.mpp or recorded or otherwise
    if known is None:
        raise MppError(f"the resolution of {slide} is not recorded; give it with --mpp")
    detections = read_detections(file.slide, header.origin_yx)
    returned = read_returned(file.annotations, detections, regions=regions, mpp=known)
    extent = Box.of_shape(header.shape).shift(-header.origin_yx[0], -header.origin_yx[1])
    correction = correct(returned, detections, extent=extent, mpp=known)
    return AnnotatedSlide(
        file=replace(file, slide=slide),
        mpp=recorded,
        shape=header.shape,
        origin_yx=header.origin_yx,
        drawing=correction.drawing,
        correction=correction,
    )


def slide_of(result: Path) -> Path:
    """The slide of a result: where the result says, or of the same name beside the result; raises DataError."""
    noted = to_place(str(read_made(result).content.get("slide", "")))
    candidates = [result.resolve().parent / noted.name]
    if isinstance(noted, Path):
        candidates.insert(0, noted)
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise DataError(
        f"the slide of {result} is not at {noted}, nor beside the result: put {noted.name} into the folder of the "
        "result, whose pixels are needed"
    )


def _given_mpp(result: Path) -> float | None:
    """um per pixel that the user gave for the run; None without."""
    config: dict[str, Any] = read_made(result).content.get("config", {})
    return config.get("mpp")
