"""``wsinuc export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc.errors import ConfigError
from wsinuc.urls import Place
from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import FORMAT_NAMES, FORMATS_TYPE, PLACE, where_option
from wsinuc_cli.terminal import echo

if TYPE_CHECKING:
    from wsinuc.exports.formats.registry import Format


@click.command(cls=SectionedCommand)
@click.argument("results", nargs=-1, required=True, metavar="RESULT...", type=PLACE)
@click.option("--to", required=True, type=FORMATS_TYPE, metavar="FORMAT,...", help=f"One or several of {FORMAT_NAMES}.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="The file or folder to write, or a folder to write into.  [default: beside the result]",
)
@click.option(
    "--slide",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="geojson: the slide, where a result of version 0.2.0 has to ask it and it has moved.",
)
@click.option(
    "--outlines",
    type=click.Choice(["smooth", "exact"]),
    help="geojson: outlines that QuPath measures well, or along the edges of pixels.  [default: smooth]",
)
@click.option(
    "--ngff", "version", metavar="0.4|0.5", help="ome-zarr: the version of OME-NGFF; QuPath reads 0.4.  [default: 0.5]"
)
@click.option(
    "--image",
    metavar="none|thumbnail|full",
    help="ome-zarr: how much of the slide is copied below the labels.  [default: what the result has]",
)
@click.option(
    "--neighbours-um",
    type=float,
    metavar="UM",
    help="spatialdata, anndata: the longest distance of two neighbours.  [default: 50]",
)
@where_option("Not for ome-zarr and spatialdata: write")
@click.option("--overwrite", is_flag=True, help="Replace what is there already.")
def export(
    results: tuple[Place, ...], to: tuple[str, ...], output: Path | None, overwrite: bool, **options: Any
) -> None:
    """Write finished results for other programs.

    \b
    wsinuc export slide.wsinuc --to csv
    wsinuc export results/*.wsinuc --to spatialdata,geoparquet
    wsinuc export slide.wsinuc --to geojson --where "probability>=0.6" -o certain.geojson

    RESULT is a result (slide.wsinuc). What is written stands beside it, under a name that follows from
    the format:

    \b
    geoparquet    slide.nuclei.parquet      geopandas, DuckDB, polars, R, QGIS
    csv, csv.gz   slide.nuclei.csv          spreadsheets, R
    geojson       slide.nuclei.geojson      QuPath
    ome-zarr      slide.ome.zarr            napari, QuPath
    spatialdata   slide.spatialdata.zarr    scverse
    anndata       slide.h5ad                scanpy, squidpy

    The table in slide.wsinuc/nuclei is GeoParquet itself, in parts: geopandas.read_parquet, DuckDB and
    polars read it as it lies.
    """
    from wsinuc.exports.formats.registry import parse_formats
    from wsinuc.exports.formats.write import export as write
    from wsinuc.exports.formats.write import finished, target
    from wsinuc.store.conditions import Conditions

    # What is wrong with the request shows before anything is written.
    formats = parse_formats(to)
    given = {name: value for name, value in options.items() if value not in (None, ())}
    own = options_by_format(formats, given)
    Conditions.parse(given.get("where", ()))
    folders = [finished(result) for result in results]
    if output is not None and len(folders) * len(formats) > 1 and not output.is_dir():
        raise click.UsageError(f"several files are to be written: make the folder {output} first, or leave out -o")
    for folder in folders:
        for kind in formats:
            target(folder, kind, output, overwrite=overwrite)
    for folder in folders:
        for kind in formats:
            echo(f"{folder}: {write(folder, kind.name, output, overwrite=overwrite, **own[kind.name])}")


def options_by_format(formats: tuple[Format, ...], given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each format those options that it has. Raises ConfigError for an option that none of them has."""
    own = {kind.name: {name: given[name] for name in given if name in kind.options()} for kind in formats}
    for name in given:
        if not any(name in each for each in own.values()):
            raise ConfigError(f"none of the formats {', '.join(own)} has an option {name.replace('_', '-')}")
    # A file with all nuclei beside one with some would be taken for one of the same.
    whole = [name for name, each in own.items() if "where" in given and "where" not in each]
    if whole:
        raise ConfigError(f"{' and '.join(whole)} hold all nuclei of a result: export them apart, without --where")
    return own
