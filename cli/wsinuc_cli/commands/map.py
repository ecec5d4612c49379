"""``wsinuc map``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import where_option
from wsinuc_cli.terminal import echo_text

if TYPE_CHECKING:
    from wsinuc.workflows.maps.nuclei_map import NucleiMap


@click.command(cls=SectionedCommand)
@click.argument("result", metavar="RESULT", type=click.Path(path_type=Path))
@click.option(
    "--of",
    default="density",
    show_default=True,
    metavar="density|share|MEAN",
    help="Nuclei per mm2, the share of a class, or what the mean is taken of: probability, disagreement, or a "
    "measurement such as area_um2.",
)
@click.option("--class", "class_name", metavar="NAME", help="Only nuclei of this class; for share, the class.")
@where_option("Map")
@click.option("--um", type=float, default=50.0, show_default=True, metavar="UM", help="Side of the squares in um.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="FILE",
    help="File to write: .ome.tiff (QuPath), .ome.zarr (napari) or .png (over the slide); may be given several times.",
)
def map(
    result: Path, of: str, class_name: str | None, where: tuple[str, ...], um: float, output: tuple[Path, ...]
) -> None:
    """Draw a map of nuclei: their density, the share of a class, or the mean of a measurement, in squares.

    RESULT is a folder that "wsinuc segment" has made.

    \b
    wsinuc map slide.wsinuc --of density --um 50 -o density.png -o density.ome.tiff
    wsinuc map slide.wsinuc --of share --class Lymphocyte -o lymphocytes.png
    wsinuc map slide.wsinuc --of area_um2 --um 100 -o area.ome.zarr
    """
    from wsinuc.workflows.maps.run import check_targets, map_nuclei, write_map

    check_targets(output)
    nuclei_map = map_nuclei(result, of=of, um=um, class_name=class_name, where=where)
    for path in output:
        write_map(nuclei_map, path)
        echo_text(f"{path}: {describe(nuclei_map)}")


def describe(nuclei_map: NucleiMap) -> str:
    """The map in a line."""
    rows, columns = nuclei_map.grid.shape
    low, high = nuclei_map.limits
    squares = f"{columns:,} x {rows:,} squares of {nuclei_map.grid.um:g} um"
    return f"{nuclei_map.nuclei:,} nuclei in {squares}, colours from {low:.4g} to {high:.4g}"
