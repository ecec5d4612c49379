"""What a file says about its resolution, and when that may be believed.

The resolution (um per level-0 pixel, "mpp") decides every area and which pixels the network sees, and files are often
silent or wrong about it. The rule: the user's word, else the file's own statement about the microscope, else an error.
A print resolution (72 or 300 dots per inch) reads as 353 or 85 um per pixel and is caught by the range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from defusedxml import DefusedXmlException, ElementTree

from wsinuc import arguments
from wsinuc.config import MPP_RANGE
from wsinuc.errors import MppError

ANISOTROPY = 0.05
"""Largest relative difference between um per pixel along y and x that is taken for rounding."""

# The sign for micro exists twice in Unicode, as U+00B5 and as the Greek letter; both are met.
_UM_PER_UNIT = {
    **dict.fromkeys(("µm", "\u03bcm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    **dict.fromkeys(("inch", "in"), 25_400.0),
}
_OME = "{*}Image/{*}Pixels"


def check_given_mpp(mpp: float) -> float:
    """The um per pixel that a user gave.

    Raises
    ------
    MppError
        No microscope has it.
    """
    mpp = arguments.number("mpp", mpp, MppError)
    if not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        raise MppError(
            f"--mpp must lie between {MPP_RANGE[0]} and {MPP_RANGE[1]} um per pixel, got {mpp:g}: "
            "0.25 is usual for a 40x scan, 0.5 for 20x"
        )
    return mpp


def resolve_mpp(mpp_yx: tuple[float, float] | None, source: str, name: str) -> float:
    """The file's um per level-0 pixel (geometric mean of y and x, so that areas are right).

    Parameters
    ----------
    mpp_yx
        What the file says, unchecked; None where it says nothing.
    source
        Which of its fields says so, for messages.
    name
        What messages call the slide.

    Raises
    ------
    MppError
        The file gives none, an absurd one, or two that differ between y and x.
    """
    if mpp_yx is None:
        raise MppError(
            f"{name} does not say its resolution: pass --mpp (um per pixel; 0.25 is usual for 40x, 0.5 for 20x)"
        )
    y, x = mpp_yx
    if not all(MPP_RANGE[0] <= v <= MPP_RANGE[1] for v in mpp_yx):
        raise MppError(
            f"{name} claims {x:.6g} x {y:.6g} um per pixel ({source}), outside {MPP_RANGE[0]} to {MPP_RANGE[1]}: "
            "probably a print resolution or a wrong unit; pass the true value with --mpp"
        )
    if abs(y - x) > ANISOTROPY * min(y, x):
        raise MppError(
            f"{name} claims {x:.6g} um per pixel along x but {y:.6g} along y ({source}): pixels should be square; "
            "pass the true value with --mpp"
        )
    return math.sqrt(y * x)


def mpp_from_properties(properties: Mapping[str, str], prefix: str) -> tuple[float, float] | None:
    """(y, x) um per pixel from ``<prefix>.mpp-y`` and ``-x``; None unless both are numbers."""
    return _positive_pair(properties.get(f"{prefix}.mpp-y"), properties.get(f"{prefix}.mpp-x"))


def mpp_from_ome(xml: str) -> tuple[float, float] | None:
    """(y, x) um per pixel of the first image of an OME-XML text; None when it has none.

    Examples
    --------
    >>> mpp_from_ome('<OME><Image><Pixels PhysicalSizeX="0.25" PhysicalSizeY="0.25"/></Image></OME>')
    (0.25, 0.25)
    """
    try:
        pixels = ElementTree.fromstring(xml).find(_OME)
    except (ElementTree.ParseError, DefusedXmlException):  # another reader says what is wrong with the text
        return None
    if pixels is None:
        return None
    return mpp_of_pixels(pixels)


def mpp_of_pixels(pixels: Any) -> tuple[float, float] | None:
    """(y, x) um per pixel of a ``Pixels`` element of OME-XML; None when it has none, or in a unit that is no length."""
    pair = _positive_pair(pixels.get("PhysicalSizeY"), pixels.get("PhysicalSizeX"))
    units = [um_per_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "YX"]
    # A unit such as "pixel" or "reference frame" says nothing about um.
    if pair is None or units[0] is None or units[1] is None:
        return None
    return pair[0] * units[0], pair[1] * units[1]


def um_per_unit(unit: str) -> float | None:
    """um in a unit of length as OME-XML and ImageJ write it; None for what is none, such as "pixel".

    Examples
    --------
    >>> um_per_unit("mm"), um_per_unit("\\\\u00B5m"), um_per_unit("pixel")
    (1000.0, 1.0, None)
    """
    # ImageJ escapes the sign for micro in its description.
    return _UM_PER_UNIT.get(unit.strip().lower().replace("\\u00b5", "µ"))


def _positive_pair(y: object, x: object) -> tuple[float, float] | None:
    try:
        pair = float(str(y)), float(str(x))
    except ValueError:
        return None
    if all(math.isfinite(v) and v > 0 for v in pair):
        return pair
    return None
