"""Which of the images in a TIFF file is the slide, and which are smaller versions of it.

A file may hold the slide, its pyramid (behind the slide, or in SubIFDs), a photo of the whole glass (macro), of its
label and a thumbnail, in any order. OME-XML says which is which; without it the largest image is the slide, and what
has the same shape at a smaller size, and is stored alike, is a level of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import tifffile
from tifffile import PHOTOMETRIC

from wsinuc.errors import SlideError
from wsinuc.limits import listed
from wsinuc.slides.dialect import Dialect, DialectError, StackError
from wsinuc.slides.resolution import um_per_unit
from wsinuc.slides.tiff.directories import Directory, DirectoryError, check_segments, directories
from wsinuc.slides.tiff.ome import OmeImage, check_brightfield, read_ome, rgb_order
from wsinuc.slides.tiff.samples import dialect_of

MAX_LEVELS = 64
"""Most levels of a pyramid; 30 halvings make one pixel of the largest image."""

# Bio-Formats calls these images of an OME-TIFF "label image", "macro image" and the like, in any spelling.
_SIDE_IMAGE = re.compile(r"(?i)(^|[^a-z])(macro|label|thumb(nail)?|overview|barcode)([^a-z]|$)")
# Aperio's ImageDescription has the scanner's line first ("Aperio Image Library ..."), then the title; others the title
# alone. A slide's own description has a size there, or nothing.
_SIDE_TITLE = re.compile(r"(?i)\s*(?:aperio[^\n]*\n\s*)?(macro|label|thumbnail|overview)\b")
_MASK = 4  # bit of NewSubfileType (254): a transparency mask for another image of the file
# By tifffile's names for formats, which it tells by what makers write into tags of the first directory.
_VENDORS = {
    "svs": "aperio",
    "scn": "leica",
    "ndpi": "hamamatsu",
    "philips": "philips",
    "bif": "ventana",
}
_COMPARABLE = 2  # an image whose sides are more than half as long as the slide's is no level of it, and no thumbnail
_UM_PER_UNIT = {2: 25_400.0, 3: 10_000.0}  # ResolutionUnit (296): inch, centimetre; 1 is no unit at all
_INCH = 2  # what TIFF 6.0 takes a missing ResolutionUnit for

Pages = tuple[tifffile.TiffPage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffLayout:
    """The slide in a TIFF file."""

    vendor: str
    """The scanner's maker where the file names one that OpenSlide knows; else ``ome-tiff`` or ``tiff``."""
    dialect: Dialect
    levels: tuple[Pages, ...]
    """The directories of each level, the finest first: one, or three for red, green and blue."""
    mpp_yx: tuple[float, float] | None = None
    """um per pixel as stored, not yet turned."""
    mpp_source: str = "none"
    objective_power: float | None = None
    significant_bits: int | None = None
    """Bits of a sample in use, where OME-XML says so."""
    associated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a user should know of the choice."""

    @property
    def first(self) -> tifffile.TiffPage:
        """The finest level's directory."""
        return self.levels[0][0]

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sample, once decoded."""
        assert self.first.dtype is not None  # else there is no Dialect
        return self.first.dtype.itemsize

    @property
    def is_vendors(self) -> bool:
        """Whether a scanner's maker wrote the file."""
        return self.vendor in _VENDORS.values()

    @property
    def is_one_striped_image(self) -> bool:
        """Nothing of it can be read without the rest: an ordinary image."""
        return len(self.levels) == 1 and len(self.levels[0]) == 1 and not self.first.is_tiled


def read_layout(tiff: tifffile.TiffFile, name: str) -> TiffLayout:
    """The slide in an open TIFF file; decodes no pixel.

    Raises
    ------
    DirectoryError
        The file claims what cannot be.
    DialectError
        There is no image of a kind that becomes RGB, or there are several planes of focus.
    SlideError
        tifffile finds no image at all.
    """
    entries = directories(tiff, name)
    if not entries:
        raise SlideError(f"{name}: a TIFF file without an image that tifffile can read")
    xml = ""
    if entries[0].page.is_ome:
        xml = entries[0].page.description
    images = read_ome(xml, name) if xml else ()
    if images:
        layout = _of_ome(images, entries, name)
    else:
        layout = _of_tags(entries, tiff, name)
    # Hamamatsu's strips are whole levels, which OpenSlide takes apart.
    if layout.vendor != "hamamatsu":
        check_pages(layout, name)
    return layout


def check_pages(layout: TiffLayout, name: str) -> None:
    """Raise DirectoryError when a strip or tile of a level is too large to be unpacked."""
    for pages in layout.levels:
        for page in pages:
            check_segments(page, name)


def _of_ome(images: Sequence[OmeImage], entries: Sequence[Directory], name: str) -> TiffLayout:
    # A file may hold nothing but a label: then that is what was asked for.
    slides = [image for image in images if not _SIDE_IMAGE.search(image.name)] or list(images)
    chosen = max(slides, key=lambda image: image.shape[0] * image.shape[1])
    image = _as_stored(chosen, entries)
    check_brightfield(image, name)
    if any(not 0 <= plane < len(entries) for plane in image.planes):
        raise DirectoryError(f"{name}: its OME-XML names planes that the file does not hold: damaged or incomplete")
    planes = tuple(entries[plane] for plane in image.planes)
    first = planes[0].page
    if any((plane.page.imagelength, plane.page.imagewidth) != image.shape for plane in planes):
        raise DirectoryError(
            f"{name}: its OME-XML claims {image.shape[1]} x {image.shape[0]} pixels, the image has others"
        )
    dialect = dialect_of(first, name)
    # Red, green and blue as channels of their own: each is stored as a grey image.
    if len(planes) == 3:
        if dialect.color != "grey" or any(dialect_of(plane.page, name) != dialect for plane in planes):
            raise DialectError(f"{name}: three channels that are not stored alike as grey")
        dialect = replace(dialect, color="rgb", planar=True, order=rgb_order(image, name))
    # OME-TIFF keeps the levels of each plane in its SubIFDs; a level needs all of its channels.
    depth = min(len(plane.below) for plane in planes)
    below = [tuple(plane.below[i] for plane in planes) for i in range(depth)]
    return TiffLayout(
        vendor="ome-tiff",
        dialect=dialect,
        levels=_pyramid(tuple(plane.page for plane in planes), below, name),
        mpp_yx=image.mpp_yx or _mpp_of_tags(first),
        mpp_source="OME PhysicalSizeX, PhysicalSizeY" if image.mpp_yx else "TIFF XResolution, YResolution",
        significant_bits=image.significant_bits,
        associated=tuple(other.name or "unnamed" for other in images if other is not chosen),
        notes=_passed_over(chosen, slides),
    )


def _passed_over(chosen: OmeImage, slides: Sequence[OmeImage]) -> tuple[str, ...]:
    """A note on images that may be slides as well, such as other pieces of tissue on the glass."""
    names = [
        other.name or "unnamed"
        for other in slides
        if other is not chosen and min(other.shape) * _COMPARABLE > min(chosen.shape)
    ]
    if not names:
        return ()
    height, width = chosen.shape
    return (
        f"of several images in the file the largest is read, {chosen.name or 'unnamed'} ({width} x {height} px), and "
        f"not: {listed(names)}",
    )


def _as_stored(image: OmeImage, entries: Sequence[Directory]) -> OmeImage:
    """The image with its colours in one plane, where the file has them so and its XML forgot to say it."""
    plane = image.planes[0] if image.planes else len(entries)
    if not 0 <= plane < len(entries) or image.samples > 1 or image.channels == 1:
        return image
    if entries[plane].page.samplesperpixel != image.channels:
        return image
    return replace(image, samples=image.channels, planes=image.planes[:1])


def _of_tags(entries: Sequence[Directory], tiff: tifffile.TiffFile, name: str) -> TiffLayout:
    pages = [page for directory in entries for page in (directory.page, *directory.below) if _is_image(page)]
    if not pages:
        raise DialectError(f"{name}: a TIFF file without an image")
    slides = [page for page in pages if not _title(page)] or pages
    # Vendors put thumbnails and macros in front, between and behind the levels; only size is a rule without exception.
    first = max(slides, key=_area)
    vendor = next((vendor for kind, vendor in _VENDORS.items() if getattr(tiff, f"is_{kind}", False)), "tiff")
    if vendor == "tiff":
        _refuse_stacks(first, entries, tiff, name)
    own = next((directory.below for directory in entries if directory.page is first), ())
    below = [(page,) for page in pages if page is not first and _may_be_level(page, first, own)]
    levels = _pyramid((first,), below, name)
    # What is no level is an associated image.
    used = {page.offset for pages in levels for page in pages}
    if first.is_svs:
        aperio = tifffile.tifffile.svs_description_metadata(first.description)
    else:
        aperio = {}
    mpp = _positive(aperio.get("MPP"))
    return TiffLayout(
        vendor=vendor,
        dialect=dialect_of(first, name),
        levels=levels,
        mpp_yx=(mpp, mpp) if mpp else _mpp_of_tags(first) or _mpp_of_imagej(first, tiff),
        mpp_source="Aperio MPP" if mpp else "TIFF XResolution, YResolution",
        objective_power=_positive(aperio.get("AppMag")),
        associated=tuple(_title(page) or "unnamed" for page in pages if page.offset not in used),
    )


def _is_image(page: tifffile.TiffPage) -> bool:
    return _area(page) > 0 and page.photometric != PHOTOMETRIC.MASK and not int(page.subfiletype) & _MASK


def _area(page: tifffile.TiffPage) -> int:
    return page.imagelength * page.imagewidth


def _title(page: tifffile.TiffPage) -> str:
    """What the image shows, where Aperio, Philips, Ventana and others say so: label, macro, thumbnail."""
    match = _SIDE_TITLE.match(page.description)
    return match[1].lower() if match else ""


def _refuse_stacks(first: tifffile.TiffPage, entries: Sequence[Directory], tiff: tifffile.TiffFile, name: str) -> None:
    # A pyramid behind the slide has other sizes, and thumbnails of the slide's size do not exist: equals are a stack.
    alike = [d.page for d in entries if _is_image(d.page) and d.page.shape == first.shape and not d.page.is_reduced]
    # ImageJ writes large stacks as one directory, whose description alone says how many images follow it.
    count = max(len(alike), first.imagedepth, int(_imagej(tiff).get("images", 1)))
    if count > 1:
        raise StackError(
            f"{name}: expected one image, got a stack of {count} (planes of focus, points of time or channels): "
            "export one of them as RGB"
        )


def _may_be_level(page: tifffile.TiffPage, first: tifffile.TiffPage, own: Sequence[tifffile.TiffPage]) -> bool:
    """Whether an image is stored as the slide's levels are.

    A thumbnail has the slide's shape, too, but is not tiled.
    """
    if _title(page):
        return False
    # NewSubfileType says "reduced version of another image" of levels, but also of some makers' thumbnails and macros,
    # whose shape or title tells them apart.
    marked = page.is_reduced or any(page is other for other in own)
    return marked or (first.is_tiled and page.is_tiled)


def _pyramid(first: Pages, below: Sequence[Pages], name: str) -> tuple[Pages, ...]:
    """The levels among images that may be some, by size; those of another shape or colour are left out."""
    # Smaller levels often lack the tag of the orientation, so it is compared without.
    dialect = replace(dialect_of(first[0], name), orientation=1)
    levels = {_area(first[0]): first}
    # A stack of thousands is not compared image by image.
    for pages in below[: MAX_LEVELS * 4]:
        if _area(pages[0]) < _area(first[0]) and _is_smaller_version(pages[0], first[0]):
            try:
                alike = all(replace(dialect_of(page, name), orientation=1) == dialect for page in pages)
            except DialectError:
                continue
            if alike and pages[0].samplesperpixel == first[0].samplesperpixel:
                # Of two levels of one size the first counts.
                levels.setdefault(_area(pages[0]), pages)
    return tuple(levels[area] for area in sorted(levels, reverse=True)[:MAX_LEVELS])


def _is_smaller_version(page: tifffile.TiffPage, first: tifffile.TiffPage) -> bool:
    """Whether both sides shrank alike, up to a row or column that was cut off or padded."""
    expected = first.imagewidth * page.imagelength / first.imagelength
    # A row too many or too few is that much of a width on a slide that is wider than high.
    slack = 1.5 * max(1.0, first.imagewidth / first.imagelength)
    return abs(expected - page.imagewidth) <= slack


def _mpp_of_tags(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """um per pixel (y, x) from the resolution tags, believed or not."""
    unit = page.tags.valueof("ResolutionUnit", _INCH)
    pair = [_positive_fraction(page.tags.valueof(f"{axis}Resolution")) for axis in "YX"]
    if unit not in _UM_PER_UNIT or pair[0] is None or pair[1] is None:
        return None
    return _UM_PER_UNIT[unit] / pair[0], _UM_PER_UNIT[unit] / pair[1]


def _mpp_of_imagej(page: tifffile.TiffPage, tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    """um per pixel (y, x) as ImageJ writes it: pixels per unit in the resolution tags, the unit in the description."""
    um = um_per_unit(str(_imagej(tiff).get("unit", "")))
    pair = [_positive_fraction(page.tags.valueof(f"{axis}Resolution")) for axis in "YX"]
    if um is None or pair[0] is None or pair[1] is None:
        return None
    return um / pair[0], um / pair[1]


def _imagej(tiff: tifffile.TiffFile) -> dict[str, Any]:
    """What ImageJ wrote into the file; nothing where another program wrote it."""
    if not tiff.is_imagej:
        return {}
    return tiff.imagej_metadata or {}


def _positive(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    if 0 < number < float("inf"):
        return number
    return None


def _positive_fraction(value: object) -> float | None:
    """A TIFF rational as a number, when both of its parts are positive; some writers put a plain number there."""
    if isinstance(value, int | float):
        return _positive(value)
    if not isinstance(value, tuple) or len(value) != 2 or not all(part > 0 for part in value):
        return None
    return float(value[0] / value[1])
