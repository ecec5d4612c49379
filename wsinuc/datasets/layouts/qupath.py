"""Slides that were annotated in QuPath: each region of class ``Region*`` is an image, read from the slide on demand.

In a region every nucleus is outlined or marked; see `qupath_objects` for what an object means and `qupath_pixels` for
the pixels that it has. Pixels are those of the finest level, at the slide's resolution, and coordinates count from
``Slide.origin``, as QuPath's do. Nothing is extracted: the slide is opened for its header when the set is opened, and
for its pixels when an image is asked for.

- The image is the bounding box of the region. What lies in the box but not in the region, in an area of class
  ``Ignore*`` or in an earlier region is ignored.
- Where outlines overlap, the first one keeps the pixel.
- An outline that crosses the region's edge is cut there, like a nucleus at the border of an image.
- A point in an outline names its class, unless it has one. A point in no outline is a nucleus whose outline is not
  known: where other nuclei are outlined, the pixels within 8 um are ignored.
- Where nothing is outlined, the set is one of points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import UNLABELLED, Annotation, Cutting, Layout, Row
from wsinuc.datasets.class_names import free_classes, numbers_of, spelling_notes
from wsinuc.datasets.layouts.qupath_check import FEWEST_NUCLEI, fits
from wsinuc.datasets.layouts.qupath_files import AnnotatedFile, annotated_files, is_annotated, is_result
from wsinuc.datasets.layouts.qupath_objects import OUTSIDE, REGION, Color, read_drawing
from wsinuc.datasets.layouts.qupath_pixels import (
    POINT_RADIUS_UM,
    Painted,
    box_of,
    discs,
    ignored_pixels,
    paint,
)
from wsinuc.datasets.layouts.qupath_slide import AnnotatedSlide, slide_header
from wsinuc.errors import DataError
from wsinuc.grid import Box
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.tissue.outlines import Outlines

if TYPE_CHECKING:
    from wsinuc.datasets.corrections.correction import Correction

Value = TypeVar("Value", np.bool_, np.int32)

MAX_REGION_PX = 2**26
"""A larger region would not fit into memory beside its labels."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Region:
    """One image of the set."""

    slide: AnnotatedSlide
    number: int
    """Of the slide's regions, from 0."""
    outline: Outlines
    box: Box
    """In pixels of the file."""
    nuclei: tuple[int, ...]
    """Which nuclei of the drawing meet the box."""
    ignored: tuple[Outlines, ...]
    """Ignored areas and earlier regions that meet the box."""


UNSEEN = "regions of which nothing counts, because areas of class Ignore* or earlier regions cover them"
"""What is said of them."""


class QuPathLayout(Layout):
    """A slide with its annotations, a folder of them, or a table; attributes ``slide``, ``region`` and the table's.

    Parameters
    ----------
    path
        A slide, a folder, or a table with the columns slide and annotations.
    annotations
        Those of the one slide; None looks beside it.
    regions
        Class or name of the regions, as a pattern.
    mpp
        um per pixel that the user gives for all slides.
    otherwise
        um per pixel of slides that do not say it.
    """

    name = "qupath"
    expected = "slide.svs with slide.geojson beside it, as QuPath exports it, or a table slide,annotations"
    open_classes = True

    def __init__(
        self,
        path: Path,
        *,
        annotations: Path | None = None,
        regions: str = REGION,
        mpp: float | None = None,
        otherwise: float | None = None,
    ) -> None:
        super().__init__(path)
        self._given_mpp = mpp
        self._otherwise = otherwise
        self._slides = [self._open_slide(file, regions) for file in annotated_files(path, annotations)]
        self._regions = [region for slide in self._slides for region in _regions_of(slide)]
        ignored = [ignored_pixels(region.outline, region.ignored, region.box) for region in self._regions]
        painted = [_painted(region, ignore) for region, ignore in zip(self._regions, ignored, strict=True)]
        self._unseen = frozenset(
            region for region, ignore in zip(self._regions, ignored, strict=True) if bool(ignore.all())
        )
        outlined = any(len(each.sources) > 1 for each in painted)
        marked = any(len(slide.drawing.points) for slide in self._slides)
        if outlined:
            self.kind = "instances"
        elif marked:
            self.kind = "points"
        else:
            self.kind = UNLABELLED
        names = self._names(painted)
        self.classes = self._named_classes(names)
        self._number = numbers_of(self.classes, path)
        corrected = [line for slide in self._slides if slide.correction for line in _corrected(slide, slide.correction)]
        self.notes = (*corrected, *self._notes(painted), *spelling_notes(names, self.classes))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return is_annotated(path)

    def scan(self) -> tuple[Row, ...]:
        return tuple(self._by_name[name][0] for name in self._by_name)

    def read(self, row: Row) -> Annotation:
        _, region = self._by_name[row["name"]]
        # Unknown where counting is all that is wanted; any number will do then.
        mpp = self._given_mpp or float(row["mpp"] or self._otherwise or 1.0)
        ignore = ignored_pixels(region.outline, region.ignored, region.box)
        painted = _painted(region, ignore)
        classes = self._label_classes(region, painted)
        points, point_classes = self._points(region, (painted.labels == 0) & ~ignore)
        if self.kind == "instances":
            ignore |= discs(points, POINT_RADIUS_UM / mpp, region.box.shape) & (painted.labels == 0)
        marked = self.kind == "points" or len(points) > 0
        pixels = region.slide.pixels(region.box)
        if len(painted.sources) > FEWEST_NUCLEI and not fits(pixels, painted.labels > 0, ~ignore):
            raise DataError(_misfit(region, len(painted.sources) - 1))
        return Annotation(
            image=pixels,
            labels=painted.labels,
            classes=classes if self.classes and self.kind == "instances" else None,
            points=points if marked else None,
            point_classes=point_classes if marked and self.classes else None,
            ignore=ignore if ignore.any() else None,
        )

    def cutting(self, row: Row) -> Cutting:
        _, region = self._by_name[row["name"]]
        slide = region.slide
        return Cutting(slide=slide.file.slide, box=region.box.shift(*slide.origin_yx), shape=slide.shape)

    def unlabelled(self) -> str:
        left_out = sum((slide.drawing.left_out for slide in self._slides), Counter())
        left_out[UNSEEN] += len(self._unseen)
        elsewhere = ", ".join(f"{what}: {count:,}" for what, count in (+left_out).items())
        return (
            f"{self.path}: no nucleus in its regions ({len(self._regions)}), in which every nucleus has to be outlined "
            f"or marked (found {elsewhere or 'nothing else'}): are these another slide's annotations, or were the "
            "regions exported alone? Export all objects"
        )

    def _open_slide(self, file: AnnotatedFile, regions: str) -> AnnotatedSlide:
        """The header of a slide and its annotations; of a result its slide and what was corrected."""
        if is_result(file.slide):
            from wsinuc.datasets.layouts.corrected_slide import open_corrected

            return open_corrected(file, regions=regions, mpp=self._given_mpp, otherwise=self._otherwise)
        header = slide_header(file.slide)
        mpp = self._given_mpp or file.mpp or header.mpp or self._otherwise
        drawing = read_drawing(file.annotations, regions=regions, mpp=mpp)
        return AnnotatedSlide(
            file=file, mpp=header.mpp, shape=header.shape, origin_yx=header.origin_yx, drawing=drawing
        )

    @cached_property
    def _by_name(self) -> dict[str, tuple[Row, _Region]]:
        rows: dict[str, tuple[Row, _Region]] = {}
        for region in self._regions:
            file = region.slide.file
            name = f"{file.slide.stem}_{region.number + 1}"
            if name in rows:
                raise DataError(
                    f"{self.path}: {file.slide} and {rows[name][1].slide.file.slide} have one name, by which images "
                    "are known: rename one of them"
                )
            drawn = region.slide.drawing.regions[region.number]
            row = {"name": name, "slide": file.slide.stem, "region": drawn.name or str(region.number + 1)}
            row |= file.attributes
            if not row.get("mpp"):
                row["mpp"] = "" if region.slide.mpp is None else f"{region.slide.mpp:.17g}"
            rows[name] = (row, region)
        return rows

    def _label_classes(self, region: _Region, painted: Painted) -> NDArray[np.int32]:
        """(labels.max() + 1,) class of each label: of its outline, else of the first point in it."""
        drawing = region.slide.drawing
        names = [drawing.nuclei[region.nuclei[source]].class_name for source in painted.sources[1:]]
        classes = np.array([0, *(self._number.get(name.casefold(), 0) for name in names)], np.int32)
        places, kinds = self._marks(region)
        labels = _at(painted.labels, places)
        # From the last to the first, so that the first one stays.
        for label, kind in zip(labels[::-1].tolist(), kinds[::-1].tolist(), strict=True):
            if label and kind and not (names[label - 1]):
                classes[label] = kind
        return classes

    def _points(self, region: _Region, counted: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """(n, 2) (y, x) and class of the points on the pixels that count and lie in no outline."""
        places, kinds = self._marks(region)
        free = _at(counted, places)
        return places[free], kinds[free]

    def _marks(self, region: _Region) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """(n, 2) (y, x) and class of all points in a region; the centres of pixels have whole numbers."""
        drawing = region.slide.drawing
        inside = region.outline.contains(drawing.points)
        places = drawing.points[inside, ::-1] - (region.box.y0, region.box.x0) - 0.5
        names = [name for name, there in zip(drawing.point_classes, inside.tolist(), strict=True) if there]
        last = np.array(region.box.shape) - 1
        return places.clip(0, last), np.array([self._number.get(name.casefold(), 0) for name in names], np.int32)

    def _names(self, painted: Sequence[Painted]) -> Counter[str]:
        """Names of classes in the regions, as they are written -> how often."""
        names = Counter(name for slide in self._slides for name in slide.drawing.point_classes)
        for region, each in zip(self._regions, painted, strict=True):
            nuclei = region.slide.drawing.nuclei
            names.update(nuclei[region.nuclei[source]].class_name for source in each.sources[1:])
        return names

    def _named_classes(self, names: Counter[str]) -> tuple[NucleusClass, ...]:
        """The classes by name, so that two sets of the same classes have them in one order, in QuPath's colours."""
        colors: dict[str, Color] = {}
        for slide in self._slides:
            colors = {name.casefold(): color for name, color in slide.drawing.colors.items()} | colors
        return tuple(
            replace(each, color=colors.get(each.name.casefold(), each.color)) for each in free_classes(names, self.path)
        )

    def _notes(self, painted: Sequence[Painted]) -> tuple[str, ...]:
        counts: Counter[str] = Counter()
        for slide in self._slides:
            mine = [each for each in zip(self._regions, painted, strict=True) if each[0].slide is slide]
            counts += _counts(slide, mine, self._unseen)
        return tuple(f"{what}: {count:,}" for what, count in counts.items())


def _counts(
    slide: AnnotatedSlide, painted: Sequence[tuple[_Region, Painted]], unseen: frozenset[_Region]
) -> Counter[str]:
    """What was done to a slide's annotations -> to how many of them."""
    labelled: set[int] = set()
    covered: set[int] = set()
    hidden: set[int] = set()
    cut: set[int] = set()
    empty = 0
    hidden_regions = 0
    for region, each in painted:
        labelled |= {region.nuclei[i] for i in each.sources[1:]}
        covered |= {region.nuclei[i] for i in each.covered}
        hidden |= {region.nuclei[i] for i in each.hidden}
        cut |= {region.nuclei[i] for i in each.cut}
        if region in unseen:
            hidden_regions += 1
        elif len(each.sources) == 1 and not region.outline.contains(slide.drawing.points).any():
            empty += 1
    counts = Counter({f"{what}, left out": count for what, count in slide.drawing.left_out.items()})
    # Their bounding boxes meet the one of a region, but no pixel of theirs lies in it.
    counts[f"{OUTSIDE}, left out"] += len(slide.drawing.nuclei) - len(labelled | hidden)
    counts["outlines under earlier ones, left out"] += len(hidden - labelled)
    counts["outlines that overlap earlier ones, which keep the shared pixels"] += len(covered)
    counts["outlines that cross the edge of what is annotated, cut there"] += len(cut)
    counts["regions without a nucleus, all of whose pixels are background"] += empty
    counts[UNSEEN] += hidden_regions
    return +counts


def _corrected(slide: AnnotatedSlide, correction: Correction) -> list[str]:
    """What was changed in a result, and where that counts."""
    return [f"{slide.file.annotations.name}: {note}" for note in correction.notes()]


def _regions_of(slide: AnnotatedSlide) -> list[_Region]:
    """The regions of a slide, cut to it."""
    drawing = slide.drawing
    extent = Box.of_shape(slide.shape).shift(-slide.origin_yx[0], -slide.origin_yx[1])
    bounds = np.array([nucleus.outline.bounds for nucleus in drawing.nuclei]).reshape(-1, 4)
    regions = []
    for number, drawn in enumerate(drawing.regions):
        box = box_of(drawn.outline)
        if box is None:
            continue
        if not box.overlaps(extent):
            raise DataError(_outside(slide, drawn.outline, extent))
        box = box.clip(extent)
        if box.shape[0] * box.shape[1] > MAX_REGION_PX:
            raise DataError(
                f"{slide.file.annotations}: region {number + 1} is {box.shape[1]:,} x {box.shape[0]:,} px, up to "
                f"{MAX_REGION_PX:,} px are read: is every nucleus in it annotated? Draw smaller regions where it is so"
            )
        meets = (bounds[:, 0] < box.x1) & (bounds[:, 2] > box.x0) & (bounds[:, 1] < box.y1) & (bounds[:, 3] > box.y0)
        # Where two regions share pixels, they are the first one's.
        others = (*drawing.ignored, *(earlier.outline for earlier in drawing.regions[:number]))
        regions.append(
            _Region(
                slide=slide,
                number=number,
                outline=drawn.outline,
                box=box,
                nuclei=tuple(np.flatnonzero(meets).tolist()),
                ignored=tuple(other for other in others if _reaches(other, box)),
            )
        )
    return regions


def _reaches(outline: Outlines, box: Box) -> bool:
    """Whether an outline may have pixels in a box."""
    own = box_of(outline)
    return own is not None and own.overlaps(box)


def _outside(slide: AnnotatedSlide, outline: Outlines, extent: Box) -> str:
    x0, y0, x1, y1 = outline.bounds
    return (
        f"{slide.file.annotations}: a region spans x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f}, outside the slide "
        f"{slide.file.slide.name}, which spans x {extent.x0} to {extent.x1}, y {extent.y0} to {extent.y1}: are these "
        "another slide's annotations, or not in full-resolution pixels?"
    )


def _misfit(region: _Region, count: int) -> str:
    file = region.slide.file
    return (
        f"{file.annotations}: the {count} outlines of region {region.number + 1} hold pixels of {file.slide.name} that "
        "are no darker than the others, as nuclei are: are these another slide's annotations, or of a copy that was "
        "cropped, turned or scaled?"
    )


def _painted(region: _Region, ignore: NDArray[np.bool_]) -> Painted:
    nuclei = region.slide.drawing.nuclei
    return paint([nuclei[i].outline for i in region.nuclei], ignore, region.box)


def _at(pixels: NDArray[Value], places: NDArray[np.float64]) -> NDArray[Value]:
    """(n,) the values of the pixels that places (n, 2) (y, x) lie in."""
    # Centres are whole numbers, and a place between two pixels belongs to the second.
    y, x = np.floor(places + 0.5).astype(np.intp).T
    values: NDArray[Value] = pixels[y, x]
    return values
