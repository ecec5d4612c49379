"""The table of formats that a result can be written in.

A format is one function ``write_<format>(result: Path, out: Path, **options) -> None`` and a line in
``FORMATS``. The function reads the finished result through `wsinuc.store`, writes beside ``out`` and
renames at the end, and raises children of `WsinucError`; whatever stands in ``out`` is replaced or
refused. It is imported when it is used, and what it needs beyond wsinuc's own packages is an extra.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from wsinuc import arguments
from wsinuc.errors import ConfigError

Writer = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One form of a result."""

    name: str
    """What ``--to`` calls it."""
    about: str
    """What it is for, in a few words for the help."""
    writer: str
    """``module:function``."""
    endings: tuple[str, ...]
    """Endings that the name of its file may have; the first is that of the default name."""
    large_ending: str = ""
    """Ending of the default name for more nuclei than QuPath takes in one file; empty where there is no such limit."""
    packages: tuple[str, ...] = ()
    """Packages that it needs beyond those of wsinuc, by the names under which they are imported."""
    extra: str = ""
    """The extra of wsinuc that installs them."""

    def load(self) -> Writer:
        """The function that writes it."""
        module, _, function = self.writer.partition(":")
        writer: Writer = getattr(import_module(module), function)
        return writer

    def check_packages(self) -> None:
        """Raise ConfigError when a package is missing."""
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            raise ConfigError(
                f"the format {self.name} needs {' and '.join(missing)}, not installed here: "
                f"pip install 'wsinuc[{self.extra}]'"
            )

    def options(self) -> list[str]:
        """Names of its own options: the arguments of its function after ``result`` and ``out``."""
        _result, _out, *own = inspect.signature(self.load()).parameters
        return own

    def check_options(self, options: Iterable[str]) -> None:
        """Raise ConfigError for an option that it does not have."""
        own = self.options()
        for option in options:
            if option not in own:
                known = f"it has {', '.join(own)}" if own else "it has none"
                raise ConfigError(f"the format {self.name} has no option {option}: {known}")


FORMATS = {
    each.name: each
    for each in (
        Format(
            name="geoparquet",
            about="one table with polygons for geopandas, DuckDB, polars, R and QGIS",
            writer="wsinuc.exports.formats.geoparquet:write_geoparquet",
            endings=(".nuclei.parquet", ".parquet", ".geoparquet"),
        ),
        Format(
            name="csv",
            about="one table without polygons for spreadsheets and R",
            writer="wsinuc.exports.formats.csv:write_csv",
            endings=(".nuclei.csv", ".csv"),
        ),
        Format(
            name="csv.gz",
            about="the same, compressed",
            writer="wsinuc.exports.formats.csv:write_csv_gz",
            endings=(".nuclei.csv.gz", ".csv.gz"),
        ),
        Format(
            name="geojson",
            about="detections for QuPath",
            writer="wsinuc.exports.formats.geojson:write_result_geojson",
            endings=(".nuclei.geojson", ".geojson", ".geojson.gz", ".zip"),
            large_ending=".nuclei.geojson.zip",
        ),
        Format(
            name="ome-zarr",
            about="label images over the slide for napari and QuPath",
            writer="wsinuc.exports.ome_zarr.export:write_ome_zarr",
            endings=(".ome.zarr", ".zarr"),
        ),
        Format(
            name="spatialdata",
            about="shapes, label image and table for scverse",
            writer="wsinuc.exports.scverse.spatial:write_spatialdata",
            endings=(".spatialdata.zarr", ".zarr"),
            packages=("spatialdata",),
            extra="spatialdata",
        ),
        Format(
            name="anndata",
            about="measurements and neighbours for scanpy and squidpy",
            writer="wsinuc.exports.scverse.table:write_anndata",
            endings=(".h5ad", ".zarr"),
            packages=("anndata",),
            extra="anndata",
        ),
    )
}
"""Formats by name, in the order of the help."""


def parse_formats(names: str | Iterable[str]) -> tuple[Format, ...]:
    """The formats of a list of names, each once, with all that they need.

    Parameters
    ----------
    names
        Names, or one text of names with commas between them.

    Raises
    ------
    ConfigError
        There is no format of that name, or a package that it needs is not installed.

    Examples
    --------
    >>> [each.name for each in parse_formats("csv,geojson,csv")]
    ['csv', 'geojson']
    """
    if isinstance(names, str):
        names = names.split(",")
    if not isinstance(names, Iterable):
        raise ConfigError(
            f"expected the name of a format, got {arguments.came(names)}: choose from {', '.join(FORMATS)}"
        )
    formats: dict[str, Format] = {}
    for name in names:
        kind = _format(arguments.text("the name of a format", name).strip().lower())
        kind.check_packages()
        formats[kind.name] = kind
    return tuple(formats.values())


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ConfigError(f"there is no format {name!r}: choose from {', '.join(FORMATS)}")
    return FORMATS[name]
