"""What can be measured of a nucleus: names, units, meaning, and what QuPath calls it.

Names carry their units. A column that depends on the model's classes ends with the name of the class.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wsinuc.nuclei.table import MEASUREMENTS

QUANTILES = (10, 50, 90)
"""Per cent of a part's pixels whose density is at most the written one."""
STAINS = ("haematoxylin", "eosin")
PARTS = ("nucleus", "rim", "ring")
STATISTICS = ("mean", "std", *(f"p{quantile}" for quantile in QUANTILES))
BANDS = 6
"""Octaves of the Fourier descriptors."""

_QUPATH_STAINS = {"haematoxylin": "Hematoxylin", "eosin": "Eosin"}
_QUPATH_STATISTICS = {"mean": "Mean", "std": "Std.Dev.", "p50": "Median"}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One column of measurements."""

    name: str
    group: str
    """``basic`` (in every result), ``shape``, ``stain``, ``texture``, ``neighbours`` or ``cells``."""
    unit: str
    """Empty for a number without one."""
    qupath: str = ""
    """What it is called in GeoJSON; empty for what is in the table alone."""


BASIC = (
    Measurement("area_um2", "basic", "um^2", "Nucleus: Area µm^2"),
    Measurement("length_um", "basic", "um", "Nucleus: Length µm"),
    Measurement("circularity", "basic", "", "Nucleus: Circularity"),
    Measurement("solidity", "basic", "", "Nucleus: Solidity"),
    Measurement("max_diameter_um", "basic", "um", "Nucleus: Max diameter µm"),
    Measurement("min_diameter_um", "basic", "um", "Nucleus: Min diameter µm"),
)
SHAPE = (
    Measurement("convex_area_um2", "shape", "um^2"),
    Measurement("convexity", "shape", ""),
    Measurement("equivalent_diameter_um", "shape", "um"),
    Measurement("extent", "shape", ""),
    Measurement("major_axis_um", "shape", "um"),
    Measurement("minor_axis_um", "shape", "um"),
    Measurement("eccentricity", "shape", "", "Nucleus: Eccentricity"),
    Measurement("orientation_deg", "shape", "degrees"),
    *(Measurement(f"box_{side}_px", "shape", "view px") for side in ("y0", "x0", "y1", "x1")),
    *(Measurement(f"fourier_{band}_rad2", "shape", "rad^2") for band in range(1, BANDS + 1)),
)


def _stain_measurement(stain: str, part: str, statistic: str) -> Measurement:
    qupath = ""
    if part == "nucleus" and statistic in _QUPATH_STATISTICS:
        qupath = f"{_QUPATH_STAINS[stain]}: Nucleus: {_QUPATH_STATISTICS[statistic]}"
    return Measurement(f"{stain}_{part}_{statistic}_od", "stain", "optical density", qupath)


STAIN = tuple(
    _stain_measurement(stain, part, statistic) for stain in STAINS for part in PARTS for statistic in STATISTICS
)
FIXED = {each.name: each for each in (*BASIC, *SHAPE, *STAIN)}
"""All columns whose names do not depend on classes."""

assert tuple(each.name for each in BASIC) == MEASUREMENTS


def columns_of(groups: Iterable[str]) -> tuple[str, ...]:
    """Names of the columns that a block writes when these groups are measured, in their order.

    Examples
    --------
    >>> columns_of(["shape"])[:8]
    ('area_um2', 'length_um', 'circularity', 'solidity', 'max_diameter_um', 'min_diameter_um', 'convex_area_um2', 'convexity')
    """
    wanted = {"basic", *groups}
    return tuple(each.name for each in FIXED.values() if each.group in wanted)


def units_of(columns: Iterable[str]) -> dict[str, str]:
    """Units of these columns, of those that have one."""
    known = ((name, FIXED[name].unit) for name in columns if name in FIXED)
    return {name: unit for name, unit in known if unit}


def qupath_names(columns: Iterable[str]) -> dict[str, str]:
    """What QuPath calls these columns, of those that are written for it.

    Examples
    --------
    >>> qupath_names(["eccentricity", "extent", "eosin_nucleus_p50_od"])
    {'eccentricity': 'Nucleus: Eccentricity', 'eosin_nucleus_p50_od': 'Eosin: Nucleus: Median'}
    """
    known = ((name, FIXED[name].qupath) for name in columns if name in FIXED)
    return {name: qupath for name, qupath in known if qupath}
