"""``wsinuc bench``."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli.help.sections import INPUT, SectionedCommand, option_in
from wsinuc_cli.options.common import DEFAULTS, device_option, start_logging, verbosity_options
from wsinuc_cli.terminal import as_text, echo, echo_text

if TYPE_CHECKING:
    from wsinuc.workflows.bench.report import BenchReport, StageResult


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """``WIDTHxHEIGHT`` in pixels."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """(width, height)."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)x(\d+)", str(value))
        if not match:
            self.fail(f"{value!r} is no size: expected WIDTHxHEIGHT, for example 100000x80000", param, ctx)
        return int(match[1]), int(match[2])


@click.command(cls=SectionedCommand)
@click.option(
    "--slide",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A slide of your own, instead of one that is made from real tissue.",
)
@option_in(
    INPUT,
    "--size",
    type=Size(),
    default="4096x4096",
    show_default=True,
    metavar="WxH",
    help="Width and height in pixels of the slide that is made when --slide is not given.",
)
@click.option(
    "--model",
    default=DEFAULTS["model"],
    show_default=True,
    metavar="NAME|FILE",
    help="Shipped model or checkpoint file.",
)
@device_option
@click.option(
    "--tissue",
    default=DEFAULTS["tissue"],
    show_default=True,
    metavar="auto|none|FILE",
    help="Where to look, as in segment.",
)
@click.option(
    "--stages",
    default="all stages",
    show_default=True,
    metavar="NAME,...",
    help="Stages to measure: read, network, separate, measure, render and export on one block; all is the whole slide.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="Runs of each stage; medians are shown.",
)
@click.option(
    "--threads",
    "workers",
    type=click.IntRange(min=1),
    default=DEFAULTS["workers"],
    show_default=True,
    metavar="N",
    help="Blocks at once in the stage 'all', as in segment.",
)
@click.option(
    "--block", default=1024, show_default=True, metavar="PX", help="Side of a block in pixels; a multiple of 64."
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="File for the figures as JSON.",
)
@verbosity_options
def bench(
    slide: Path | None,
    size: tuple[int, int],
    stages: str,
    json_path: Path | None,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> None:
    """Measure how fast this machine is, stage by stage, and how near each stage comes to what is possible here.

    A slide is made from real tissue. Every stage of a run is measured alone on one block of it, and then the slide
    is segmented as a whole. CPU seconds count all threads and child processes; memory is that of all processes.
    """
    from wsinuc.exports.atomic import replacing
    from wsinuc.workflows.bench.config import STAGES, BenchConfig
    from wsinuc.workflows.bench.run import run_bench

    start_logging(quiet, verbose)
    if json_path and not json_path.absolute().parent.is_dir():
        raise click.UsageError(f"--json {json_path}: there is no folder {json_path.parent}")
    names: tuple[str, ...] = STAGES
    if stages != "all stages":
        names = tuple(name.strip() for name in stages.split(","))
    config = BenchConfig(slide=slide, width=size[0], height=size[1], stages=names, **settings)
    report = run_bench(config, on_stage=None if quiet else lambda name: echo(f"... {name}", err=True))
    echo_text(describe(report))
    if json_path:
        with replacing(json_path) as stream:
            stream.write((json.dumps(dataclasses.asdict(report), indent=2) + "\n").encode())


def describe(report: BenchReport) -> str:
    """The figures as a table."""
    height, width = report.slide_shape
    lines = [
        f"wsinuc {report.wsinuc} on {report.cores} cores, {report.device} ({report.machine})",
        f"model {report.model} ({report.identity}), {report.workers} blocks of {report.block} px at once",
        f"{report.slide}: {width} x {height} pixels, worked on at {report.mpp:.3g} um per pixel",
        f"{'stage':<9}{'Mpx/s':>9}{'s/mm2':>9}{'CPU s/Mpx':>11}{'nuclei/s':>10}{'memory MB':>11}  of its ceiling",
        *(_row(stage) for stage in report.stages),
    ]
    if report.network_busy is not None:
        lines.append(f"the network was busy for {report.network_busy:.0%} of the blocks' time")
    if report.end_to_end_over_network is not None:
        lines.append(
            f"the whole run took {report.end_to_end_over_network:.3f} times as long as the time inside the network, "
            "which works on the blocks' margins, too"
        )
    return as_text(lines)


def _row(stage: StageResult) -> str:
    if stage.nuclei:
        rate = f"{stage.nuclei / stage.seconds:,.0f}"
    else:
        rate = "-"
    share = ""
    if stage.share_of_ceiling is not None:
        share = f"{stage.share_of_ceiling:.0%} of {stage.ceiling}"
    return (
        f"{stage.stage:<9}{stage.mpx_per_s:>9.3g}{stage.seconds_per_mm2:>9.3g}{stage.cpu_seconds_per_mpx:>11.3g}"
        f"{rate:>10}{stage.peak_memory_bytes / 1e6:>11,.0f}  {share}".rstrip()
    )
