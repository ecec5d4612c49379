"""What the OME-XML of an OME-TIFF says: its images, where their planes are, which channel is red, the resolution."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from defusedxml import DefusedXmlException, ElementTree

from wsinuc.slides.dialect import DialectError, StackError
from wsinuc.slides.resolution import mpp_of_pixels

MAX_PLANES = 64
"""Most planes of an image that are looked for: three are needed, and a file can claim billions."""

_PRIMARIES = ("red", "green", "blue")
# Names that programs give channels by themselves, "Channel:0:1" or "C2", which say nothing about colours.
_NUMBERED = re.compile(r"(channel|ch|c)?[\s:_-]*\d*(:\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class OmeImage:
    """One ``Image`` of an OME-XML text."""

    name: str
    shape: tuple[int, int]
    """(height, width)."""
    channels: int
    """Colours in all, however they are stored."""
    samples: int
    """Colours that share a plane."""
    sections: int
    """Planes of focus times points of time."""
    planes: tuple[int, ...]
    """Number of the directory of each plane, in the order of the channels."""
    channel_names: tuple[str, ...]
    channel_colors: tuple[int, ...]
    """Red, green, blue, alpha in one number, as OME writes it; -1 is white."""
    significant_bits: int | None
    mpp_yx: tuple[float, float] | None
    elsewhere: bool
    """A plane lies in another file."""


def read_ome(xml: str, file_name: str) -> tuple[OmeImage, ...]:
    """The images that an OME-XML text describes; none when it is no XML, or describes nothing.

    Raises
    ------
    DialectError
        The text is only a pointer to another file, or a size in it is no number.
    """
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, DefusedXmlException):
        return ()
    # OME-TIFF in several files may keep the XML in one of them, or in a companion; the others hold this pointer.
    pointer = root.find("{*}BinaryOnly")
    if pointer is not None:
        companion = pointer.get("MetadataFile", "another file")
        raise DialectError(
            f"{file_name}: a part of an OME-TIFF in several files, described by {companion}: give that one"
        )
    try:
        return tuple(_image(image, root, file_name) for image in root.findall("{*}Image"))
    except (KeyError, ValueError, AttributeError) as error:
        raise DialectError(f"{file_name}: its OME-XML lacks a size, or one is no number ({error})") from error


def _image(image: Any, root: Any, file_name: str) -> OmeImage:
    pixels = image.find("{*}Pixels")
    channels = pixels.findall("{*}Channel")
    size_c = int(pixels.attrib["SizeC"])
    if channels:
        samples = int(channels[0].get("SamplesPerPixel", 1))
    else:
        samples = 1
    bits = pixels.get("SignificantBits")
    # SizeC counts colours, so RGB in one plane has SizeC 3 and SamplesPerPixel 3: one plane.
    count = max(1, size_c // max(samples, 1))
    return OmeImage(
        name=image.get("Name") or "",
        shape=(int(pixels.attrib["SizeY"]), int(pixels.attrib["SizeX"])),
        channels=size_c,
        samples=samples,
        sections=int(pixels.attrib["SizeZ"]) * int(pixels.attrib["SizeT"]),
        planes=_planes(pixels, min(count, MAX_PLANES)),
        channel_names=tuple(channel.get("Name") or "" for channel in channels),
        channel_colors=tuple(int(channel.get("Color", -1)) for channel in channels),
        significant_bits=int(bits) if bits else None,
        mpp_yx=mpp_of_pixels(pixels),
        elsewhere=_is_elsewhere(pixels, root, file_name),
    )


def _planes(pixels: Any, count: int) -> tuple[int, ...]:
    """Directory of each of the first ``count`` planes; what ``TiffData`` leaves out follows in order."""
    planes = list(range(count))
    for data in pixels.findall("{*}TiffData"):
        first = int(data.get("IFD", 0))
        start = int(data.get("FirstC", 0))
        # By OME's schema a TiffData with IFD is one plane unless it says more, and one without it means all of them.
        length = int(data.get("PlaneCount", 1 if "IFD" in data.attrib else count))
        for i in range(max(start, 0), min(start + length, count)):
            planes[i] = first + i - start
    return tuple(planes)


def _is_elsewhere(pixels: Any, root: Any, file_name: str) -> bool:
    everywhere = {uuid.text for uuid in root.iterfind(".//{*}UUID")}
    ours = {root.get("UUID"), *(u.text for u in root.iterfind(".//{*}UUID") if u.get("FileName") == file_name)}
    # One UUID alone means one file, and its FileName may be the one that it had before it was renamed.
    if len(everywhere) <= 1:
        return False
    return any(uuid.text not in ours for uuid in pixels.iterfind(".//{*}UUID"))


def rgb_order(image: OmeImage, file_name: str) -> tuple[int, ...]:
    """Which plane of an image with three is red, green and blue.

    Raises
    ------
    DialectError
        The channels are stains of fluorescence, or others that are no primary colours.

    Examples
    --------
    >>> rgb_order(read_ome(
    ...     '<OME><Image><Pixels SizeC="3" SizeX="1" SizeY="1" SizeZ="1" SizeT="1"><Channel Name="Blue"/>'
    ...     '<Channel Name="Green"/><Channel Name="Red"/></Pixels></Image></OME>', "a.tif")[0], "a.tif")
    (2, 1, 0)
    """
    for kinds in (_by_name(image.channel_names), _by_color(image.channel_colors)):
        if sorted(kinds) == sorted(_PRIMARIES):
            return tuple(kinds.index(primary) for primary in _PRIMARIES)
    if all(_NUMBERED.fullmatch(name) for name in image.channel_names):
        return (0, 1, 2)
    names = ", ".join(image.channel_names)
    raise DialectError(
        f"{file_name}: three channels named {names}: expected red, green and blue of a brightfield image"
    )


def _by_name(names: Sequence[str]) -> list[str]:
    return [next((p for p in _PRIMARIES if name.strip().lower() in (p, p[0])), "") for name in names]


def _by_color(colors: Sequence[int]) -> list[str]:
    # OME packs a colour as RGBA into a signed 32-bit number; the lowest byte is alpha.
    pure = {0xFF0000: "red", 0x00FF00: "green", 0x0000FF: "blue"}
    return [pure.get(color >> 8 & 0xFFFFFF, "") for color in colors]


def check_brightfield(image: OmeImage, file_name: str) -> None:
    """Raise DialectError unless the image is one plane of grey or colour, and lies in this file."""
    if image.elsewhere:
        raise DialectError(f"{file_name}: an OME-TIFF in several files: merge them into one first")
    if image.sections > 1:
        raise StackError(
            f"{file_name}: expected one image, got a stack of {image.sections} (planes of focus times points of time): "
            "export one of them, or a projection"
        )
    stored = (image.channels // max(image.samples, 1), image.samples)
    if stored not in ((1, 1), (1, 2), (1, 3), (1, 4), (3, 1)):
        raise DialectError(
            f"{file_name}: {image.channels} channels, {image.samples} to a plane: expected grey or RGB of a "
            "brightfield image"
        )
