"""A finished result to a map, and the map to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsinuc import arguments, own_files
from wsinuc.errors import ConfigError, OutputError
from wsinuc.regular import require_parent
from wsinuc.store import iter_nuclei
from wsinuc.store.conditions import Conditions
from wsinuc.store.manifest import read_made
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.maps.grid import MapGrid, Sums
from wsinuc.workflows.maps.nuclei_map import NucleiMap
from wsinuc.workflows.maps.quantity import DENSITY, Quantity

FORMATS = {".ome.zarr": "ome-zarr", ".zarr": "ome-zarr", ".tiff": "tiff", ".tif": "tiff", ".png": "png"}
"""Ending of a file -> how it is written."""


def map_nuclei(
    result: PathLike,
    *,
    of: str = DENSITY,
    um: float = 50.0,
    class_name: str | None = None,
    where: str | Sequence[str] = (),
) -> NucleiMap:
    """The map of a quantity over a result.

    The table is read part by part; memory grows with the number of squares alone.

    Parameters
    ----------
    result
        A finished result, ``slide.wsinuc``.
    of
        density (nuclei per mm2), share (of a class among all nuclei), or what the mean is taken of: probability,
        disagreement, or the name of a measurement, such as area_um2.
    um
        Side of a square in um.
    class_name
        Only nuclei of this class; for share, the class.
    where
        Conditions that nuclei must meet to be on the map, such as ``["probability>=0.6", "area_um2<200"]``.

    Returns
    -------
    NucleiMap
        ``values``, float32 ``(rows, columns)``, and where they lie.

    Raises
    ------
    ConfigError
        The map is finer than the pixels, the table has no such measurement or class, or a condition asks for one.
    DamageError, OutputError
        As `wsinuc.iter_nuclei`.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> out = tempfile.mkdtemp() + "/field.wsinuc"
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student")
    >>> summary = wsinuc.segment_slide("examples/data/field.png", out, config)
    >>> density = wsinuc.map_nuclei(out, of="density", um=30)
    >>> density.values.shape, density.nuclei == summary.nuclei
    ((4, 4), True)
    """
    result = to_path(result)
    conditions = Conditions.parse(where)
    quantity = Quantity(of, class_name, (where,) if isinstance(where, str) else tuple(where))
    parts = map(conditions.of_nuclei, iter_nuclei(result))
    # Looks at the result before the first part is read, so that the summary below is one.
    first = next(parts)
    settings = read_made(result).content["settings"]
    height, width = settings["shape"]
    sums = Sums(MapGrid(um, first.frame.mpp, (height, width)), quantity)
    sums.add(first)
    for part in parts:
        sums.add(part)
    return NucleiMap(result=result, quantity=quantity, grid=sums.grid, values=sums.values(), nuclei=sums.total)


def format_of(path: Path) -> str:
    """How a map is written to a file of that name; raises ConfigError for an ending that stands for none."""
    for ending, name in FORMATS.items():
        if path.name.lower().endswith(ending):
            return name
    raise ConfigError(f"{path}: a map is written as {', '.join(FORMATS)}: give the file one of these endings")


def check_targets(paths: Sequence[Path]) -> None:
    """Raise ConfigError or OutputError for files that cannot be written: before the table is read."""
    for path in paths:
        if format_of(path) != "ome-zarr":
            own_files.check_place(path)
            continue
        own_files.check_outside_results(path)
        require_parent(path)
        if path.exists():
            raise OutputError(f"{path} is there already: remove it, or choose another name")


def write_map(nuclei_map: NucleiMap, path: PathLike) -> None:
    """Write a map in the format that the file's ending names; the file appears whole or not at all.

    Parameters
    ----------
    nuclei_map
        What `wsinuc.map_nuclei` has made.
    path
        ``.png`` for people; ``.tiff`` or ``.ome.zarr`` with the values and their resolution.

    Raises
    ------
    ConfigError
        The ending stands for no format.
    OutputError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import wsinuc
    >>> folder = Path(tempfile.mkdtemp())
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student")
    >>> summary = wsinuc.segment_slide("examples/data/field.png", folder / "field.wsinuc", config)
    >>> wsinuc.write_map(wsinuc.map_nuclei(folder / "field.wsinuc"), folder / "density.tiff")
    >>> (folder / "density.tiff").is_file()
    True
    """
    arguments.instance(nuclei_map, NucleiMap, "a map that wsinuc.map_nuclei has made")
    path = to_path(path)
    kind = format_of(path)
    if kind == "png":
        from wsinuc.workflows.maps.picture import write_picture

        write_picture(nuclei_map, path)
    elif kind == "tiff":
        from wsinuc.workflows.maps.files import write_tiff

        write_tiff(nuclei_map, path)
    else:
        from wsinuc.workflows.maps.files import write_container

        write_container(nuclei_map, path)
