"""``wsinuc regions``: nuclei counted and measured by the regions that somebody drew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from wsinuc.urls import Place
from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import PLACE, where_option
from wsinuc_cli.terminal import as_text, echo_text

FILE = click.Path(path_type=Path)
NAMES = 3
"""Columns of names at the beginning of each line."""


class Distances(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """Numbers with commas between them."""

    name = "distances"

    def convert(
        self, value: str | tuple[float, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(each) for each in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of distances in um such as 50,100,200", param, ctx)


@click.command(cls=SectionedCommand)
@click.argument("result", metavar="RESULT|TABLE", type=PLACE)
@click.argument("annotations", metavar="[ANNOTATIONS]", required=False, type=FILE)
@click.option(
    "-o", "--output", type=FILE, metavar="FILE", help="Write the figures as CSV; bands go to a second file beside it."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option(
    "--bands",
    type=Distances(),
    default=(),
    metavar="UM,...",
    help="Count nuclei by their distance from each region's border too, in bands that end at these distances, "
    "within and outside of it.",
)
@where_option("Count")
def regions(
    result: Place,
    annotations: Path | None,
    output: Path | None,
    overwrite: bool,
    bands: tuple[float, ...],
    where: tuple[str, ...],
) -> None:
    """Count and measure nuclei by regions that were drawn and named in QuPath.

    \b
    wsinuc regions slide.wsinuc annotations.geojson -o regions.csv
    wsinuc regions slide.wsinuc annotations.geojson --bands 25,50 -o regions.csv

    RESULT is a result of wsinuc segment, ANNOTATIONS the GeoJSON file of the regions on its slide. Several slides are
    given by a CSV table with the columns result and annotations.

    A region is called by its name, else by its class. Regions may nest and overlap: a nucleus counts in each that its
    centre lies in.
    """
    from wsinuc.own_files import check_outside_results
    from wsinuc.workflows.regions.jobs import RegionJob, read_job_table
    from wsinuc.workflows.regions.run import measure_jobs
    from wsinuc.workflows.regions.tables import band_lines, bands_file, to_lines, write_tables

    if annotations is not None:
        jobs = [RegionJob(result, annotations)]
    elif isinstance(result, Path) and result.suffix.lower() == ".csv":
        jobs = read_job_table(result)
    else:
        raise click.UsageError("give a result and the GeoJSON file of its regions, or a CSV table of several")
    if output is not None:
        check_outside_results(output)
    if output is not None and not overwrite:
        check_free(output, *([bands_file(output)] if bands else []))
    figures = [each for found in measure_jobs(jobs, bands_um=bands, where=where) for each in found]
    if where:
        echo_text(f"only nuclei where {' and '.join(where)}")
    echo_text(as_text(aligned(to_lines(figures))))
    if bands:
        echo_text(as_text(["", *aligned(band_lines(figures))]))
    if output is not None:
        echo_text(as_text([f"written: {path}" for path in write_tables(figures, output)]))


def check_free(*paths: Path) -> None:
    """Raise OutputError when something is there already."""
    from wsinuc.errors import OutputError

    for path in paths:
        if path.exists():
            raise OutputError(f"{path} is there already: add --overwrite to replace it, or choose another -o")


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells as columns: the first three, which are names, to the left, numbers to the right."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    rows = []
    for line in lines:
        names = [cell.ljust(width) for cell, width in zip(line[:NAMES], widths[:NAMES], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(line[NAMES:], widths[NAMES:], strict=True)]
        rows.append("  ".join([*names, *numbers]))
    return rows
