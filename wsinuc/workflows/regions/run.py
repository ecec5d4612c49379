"""Results and annotations to figures by region."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from shapely.geometry.base import BaseGeometry

from wsinuc.errors import DataError, WsinucError
from wsinuc.nuclei import Frame, Nuclei
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.store.conditions import Conditions
from wsinuc.store.manifest import inspect
from wsinuc.store.parts import iter_nuclei
from wsinuc.urls import PathLike, Place, PlaceLike, to_path, to_place
from wsinuc.workflows.regions.bands import check_limits
from wsinuc.workflows.regions.drawn import SlideFrame, load_regions, named_regions
from wsinuc.workflows.regions.figures import Gatherer, RegionFigures
from wsinuc.workflows.regions.jobs import RegionJob


def measure_regions(
    result: PlaceLike,
    annotations: PathLike | Mapping[str, BaseGeometry],
    *,
    bands_um: Sequence[float] = (),
    where: str | Sequence[str] = (),
) -> list[RegionFigures]:
    """Count and measure the nuclei of a result by regions, in the order in which they are given.

    A nucleus belongs to every region that its centroid lies in, so that regions may nest and overlap. The table is read
    once, part by part; what is held are the measurements of nuclei inside of regions.

    Parameters
    ----------
    result
        A finished result, or its URL.
    annotations
        Closed annotations as QuPath exports them (``.geojson``, ``.geojson.gz`` or ``.zip``); or shapely's polygons by
        name, (x, y) in level-0 pixels from ``Slide.origin``, which is where QuPath counts from.
    bands_um
        Distances from each region's border at which bands end, ascending: ``(50, 100)`` counts nuclei that lie deeper
        than 100 um, 100 to 50 and 50 to 0 um inside, and 0 to 50 and 50 to 100 um outside.
    where
        Conditions that nuclei must meet to count, such as ``["probability>=0.6", "area_um2<200"]``.

    Returns
    -------
    list of RegionFigures
        Area in mm2, nuclei per class and per mm2, and medians of the measurements, of each region.

    Raises
    ------
    ConfigError
        The bands do not ascend, or the table has no such column or class as a condition asks for.
    DataError
        The annotations are damaged, or a region has no name, no area, or lies outside of the slide.
    OutputError, DamageError, RemoteError
        The result is not finished, damaged, or out of reach.

    Examples
    --------
    >>> import tempfile
    >>> import shapely
    >>> import wsinuc
    >>> out = tempfile.mkdtemp() + "/field.wsinuc"
    >>> summary = wsinuc.segment_slide("examples/data/field.png", out, wsinuc.SegmentConfig(mpp=0.499, model="student"))
    >>> [left, all_of_it] = wsinuc.measure_regions(
    ...     out, {"left half": shapely.box(0, 0, 120, 240), "field": shapely.box(0, 0, 240, 240)}
    ... )
    >>> left.region, round(left.area_mm2, 4), left.nuclei < all_of_it.nuclei == summary.nuclei
    ('left half', 0.0072, True)
    >>> bool(left.nuclei_per_mm2 == left.nuclei / left.area_mm2)
    True
    """
    limits = check_limits(bands_um)
    place = to_place(result)
    conditions = Conditions.parse(where)
    parts = map(conditions.of_nuclei, iter_nuclei(place))
    first = next(parts, None)
    if first is None:
        raise DataError(f"{place}: its table has no part: wsinuc verify says what is missing")
    summary = inspect(place).made.content
    frame = slide_frame(place, summary, first.frame)
    if isinstance(annotations, Mapping):
        regions = named_regions(annotations, frame)
    else:
        regions = load_regions(to_path(annotations), frame)
    gatherers = [Gatherer(region, limits, frame.bounds_um) for region in regions]
    for part in _with(first, parts):
        xy_um = part.level0_centroids()[:, ::-1] * np.asarray(frame.um_per_px)[::-1]
        for gatherer in gatherers:
            gatherer.add(part, xy_um)
    names = tuple(first.measurements)
    figures = [gatherer.figures(place.stem, first.class_names, names) for gatherer in gatherers]
    return [replace(each, where=conditions.texts) for each in figures]


def measure_jobs(
    jobs: Iterable[RegionJob], *, bands_um: Sequence[float] = (), where: Sequence[str] = ()
) -> Iterator[list[RegionFigures]]:
    """`measure_regions` of each, one after the other."""
    for job in jobs:
        yield measure_regions(job.result, job.annotations, bands_um=bands_um, where=where)


def slide_frame(place: Place, summary: Mapping[str, Any], frame: Frame) -> SlideFrame:
    """Where QuPath's pixels lie on the slide of a result.

    Raises
    ------
    DataError
        The result does not say, because an older version made it, and its slide cannot be opened.
    """
    down_y, down_x = frame.downsample
    height, width = summary["settings"]["shape"]
    origin = summary.get("origin")
    if origin is None:
        origin = _origin_of(place, summary)
    return SlideFrame(
        um_per_px=(frame.mpp / down_y, frame.mpp / down_x),
        shape_px=(height * down_y, width * down_x),
        origin_px=(float(origin[0]), float(origin[1])),
    )


def _origin_of(place: Place, summary: Mapping[str, Any]) -> tuple[int, int]:
    """The origin of a slide whose result does not record it."""
    config = summary["config"]
    try:
        with open_isolated(to_place(summary["slide"]), reader=config["reader"], mpp=config["mpp"]) as slide:
            return slide.origin
    except (WsinucError, OSError) as error:
        raise DataError(
            f"{place} was made by a version of wsinuc that did not record where QuPath's pixels begin, and its slide "
            f"cannot be asked ({error}): run this where the slide lies, or segment it again with --overwrite"
        ) from error


def _with(first: Nuclei, rest: Iterator[Nuclei]) -> Iterator[Nuclei]:
    yield first
    yield from rest
