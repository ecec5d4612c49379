"""``wsinuc export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wsinuc.exports.formats.registry import FORMATS
from wsinuc.urls import Place
from wsinuc_cli.options import PLACE
from wsinuc_cli.sections import SectionedCommand
from wsinuc_cli.terminal import echo

FORMAT_HELP = ", ".join(FORMATS)


@click.command(cls=SectionedCommand)
@click.argument("results", nargs=-1, required=True, metavar="RESULT...", type=PLACE)
@click.option("--to", required=True, metavar="FORMAT,...", help=f"One or several of {FORMAT_HELP}.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="The file, or a folder for it.  [default: beside the result]",
)
@click.option(
    "--slide",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="geojson: the slide, when a result of version 0.2.0 asks for it.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there already.")
def export(results: tuple[Place, ...], to: str, output: Path | None, overwrite: bool, **options: Any) -> None:
    """Write finished results for other programs.

    RESULT is a result (slide.wsinuc). The name of what is written follows from it:

    \b
    geoparquet   slide.nuclei.parquet    geopandas, DuckDB, polars, R, QGIS
    csv, csv.gz  slide.nuclei.csv        spreadsheets, R
    geojson      slide.nuclei.geojson    QuPath

    The table in slide.wsinuc/nuclei is GeoParquet itself, in parts: geopandas.read_parquet, DuckDB and
    polars read it as it lies.
    """
    from wsinuc.exports.formats.registry import parse_formats
    from wsinuc.exports.formats.write import export as write
    from wsinuc.exports.formats.write import finished

    # What is wrong with the request shows before anything is written.
    formats = parse_formats(to)
    folders = [finished(result) for result in results]
    if output is not None and len(folders) * len(formats) > 1 and not output.is_dir():
        raise click.UsageError(f"several files are to be written: make a folder {output} first, or leave out -o")
    given = {name: value for name, value in options.items() if value is not None}
    for folder in folders:
        for kind in formats:
            echo(f"{folder}: {write(folder, kind.name, output, overwrite=overwrite, **given)}")
