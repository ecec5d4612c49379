"""What can be measured of a nucleus: names, units, meaning, and what QuPath calls it.

Names carry their units. A column that depends on the model's classes ends with the name of the class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from wsinuc.nuclei.table import MEASUREMENTS

QUANTILES = (10, 50, 90)
"""Per cent of a part's pixels whose density is at most the written one."""
STAINS = ("haematoxylin", "eosin")
PARTS = ("nucleus", "rim", "ring")
STATISTICS = ("mean", "std", *(f"p{quantile}" for quantile in QUANTILES))
OF_PIXELS = frozenset({"stain", "texture"})
"""Groups that need the slide's pixels."""
OF_BLOCKS = frozenset({"shape", "stain", "texture"})
"""Groups that a block can measure of the nuclei that it owns."""
BANDS = 6
"""Octaves of the Fourier descriptors."""
NEAREST = 5
"""How many neighbours' distances are written."""
RADII_UM = (25, 50, 100)
"""Radii of the circles in which neighbours are counted."""

_QUPATH_STAINS = {"haematoxylin": "Hematoxylin", "eosin": "Eosin"}
_QUPATH_PARTS = ("nucleus", "cytoplasm")
_QUPATH_STATISTICS = {"mean": "Mean", "std": "Std.Dev.", "p50": "Median"}

POSES = ("orientation_deg", "box_y0_px", "box_x0_px", "box_y1_px", "box_x1_px")
"""Where a nucleus lies and how it is turned, which says nothing of its class, and of many nuclei has no mean."""


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


def _stain_measurement(stain: str, part: str, statistic: str, group: str = "stain") -> Measurement:
    qupath = ""
    if part in _QUPATH_PARTS and statistic in _QUPATH_STATISTICS:
        qupath = f"{_QUPATH_STAINS[stain]}: {part.capitalize()}: {_QUPATH_STATISTICS[statistic]}"
    return Measurement(f"{stain}_{part}_{statistic}_od", group, "optical density", qupath)


STAIN = tuple(
    _stain_measurement(stain, part, statistic) for stain in STAINS for part in PARTS for statistic in STATISTICS
)
_HARALICK = (
    ("asm", "Angular second moment"),
    ("contrast", "Contrast"),
    ("correlation", "Correlation"),
    ("sum_of_squares", "Sum of squares"),
    ("inverse_difference_moment", "Inverse difference moment"),
    ("sum_average", "Sum average"),
    ("sum_variance", "Sum variance"),
    ("sum_entropy_bits", "Sum entropy"),
    ("entropy_bits", "Entropy"),
    ("difference_variance", "Difference variance"),
    ("difference_entropy_bits", "Difference entropy"),
    ("imc1", "Information measure of correlation 1"),
    ("imc2", "Information measure of correlation 2"),
)
TEXTURE = (
    *(
        Measurement(
            f"haralick_{name}",
            "texture",
            "bits" if name.endswith("_bits") else "",
            f"Hematoxylin: Nucleus: Haralick {title} (F{k})",
        )
        for k, (name, title) in enumerate(_HARALICK)
    ),
    Measurement("gradient_mean_od_per_um", "texture", "optical density/um", "Hematoxylin: Nucleus: Gradient mean"),
    Measurement("gradient_std_od_per_um", "texture", "optical density/um", "Hematoxylin: Nucleus: Gradient Std.Dev."),
)
NEIGHBOURS = (
    *(
        Measurement(f"neighbour_{k}_um", "neighbours", "um", f"Distance to neighbour {k} µm")
        for k in range(1, NEAREST + 1)
    ),
    Measurement("delaunay_degree", "neighbours", "", "Delaunay: Num neighbors"),
)
NEAREST_OF_CLASS = Measurement("nearest_um", "neighbours", "um", "Distance to detection {} µm")
COUNTS = tuple(Measurement(f"count_{radius}um", "neighbours", "", f"Count within {radius} µm") for radius in RADII_UM)
DENSITIES = tuple(
    Measurement(f"density_{radius}um_per_mm2", "neighbours", "1/mm^2", f"Density within {radius} µm per mm^2")
    for radius in RADII_UM
)
CELLS = (
    *(Measurement(f"cell_{each.name}", "cells", each.unit, each.qupath.replace("Nucleus:", "Cell:")) for each in BASIC),
    Measurement("nucleus_cell_area_ratio", "cells", "", "Nucleus/Cell area ratio"),
)
CYTOPLASM = tuple(
    _stain_measurement(stain, "cytoplasm", statistic, "cells") for stain in STAINS for statistic in STATISTICS
)
"""Of cells, where the group ``stain`` is measured."""
FIXED = {
    each.name: each for each in (*BASIC, *SHAPE, *STAIN, *TEXTURE, *NEIGHBOURS, *COUNTS, *DENSITIES, *CELLS, *CYTOPLASM)
}
"""All columns whose names do not depend on classes."""
BY_CLASS = {each.name: each for each in (NEAREST_OF_CLASS, *COUNTS, *DENSITIES)}
"""What is also measured of each class, where there are several: the name of the class follows after an underscore."""

assert tuple(each.name for each in BASIC) == MEASUREMENTS


def columns_of(groups: Iterable[str]) -> tuple[str, ...]:
    """Names of the columns of these groups that do not depend on classes, in their order.

    Examples
    --------
    >>> columns_of(["shape"])[4:8]
    ('max_diameter_um', 'min_diameter_um', 'convex_area_um2', 'convexity')
    """
    wanted = {"basic", *groups}
    return tuple(each.name for each in FIXED.values() if each.group in wanted)


def neighbour_columns(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of the group ``neighbours`` in their order, of a model with these classes.

    Examples
    --------
    >>> neighbour_columns(["Tumour", "Immune"])[5:10]
    ('delaunay_degree', 'nearest_um_Tumour', 'nearest_um_Immune', 'count_25um', 'count_50um')
    """
    if len(class_names) < 2:
        class_names = ()
    names = [each.name for each in NEIGHBOURS]
    names += [f"{NEAREST_OF_CLASS.name}_{name}" for name in class_names]
    for kind in (COUNTS, DENSITIES):
        names += [each.name for each in kind]
        names += [f"{each.name}_{name}" for name in class_names for each in kind]
    return tuple(names)


def measurement(column: str) -> Measurement | None:
    """What a column is, also one of a class; None for an unknown one.

    Examples
    --------
    >>> measurement("count_25um_Tumour").qupath
    'Count within 25 µm: Tumour'
    """
    if column in FIXED:
        return FIXED[column]
    for name, each in BY_CLASS.items():
        if column.startswith(f"{name}_"):
            kind = column.removeprefix(f"{name}_")
            qupath = each.qupath.format(kind) if "{}" in each.qupath else f"{each.qupath}: {kind}"
            return replace(each, name=column, qupath=qupath)
    return None


def units_of(columns: Iterable[str]) -> dict[str, str]:
    """Units of these columns, of those that have one."""
    known = ((name, measurement(name)) for name in columns)
    return {name: each.unit for name, each in known if each is not None and each.unit}


def qupath_names(columns: Iterable[str]) -> dict[str, str]:
    """What QuPath calls these columns, of those that are written for it.

    Examples
    --------
    >>> qupath_names(["eccentricity", "extent", "eosin_nucleus_p50_od"])
    {'eccentricity': 'Nucleus: Eccentricity', 'eosin_nucleus_p50_od': 'Eosin: Nucleus: Median'}
    """
    known = ((name, measurement(name)) for name in columns)
    return {name: each.qupath for name, each in known if each is not None and each.qupath}
