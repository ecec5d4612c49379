"""``wsinuc segment``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc.config import SegmentConfig
from wsinuc.errors import ConfigError
from wsinuc_cli.main import Failure, describe_error
from wsinuc_cli.options import (
    DEFAULTS,
    cluster_options,
    device_option,
    reader_options,
    start_logging,
    verbosity_options,
)

if TYPE_CHECKING:
    from wsinuc.pipeline.executor import Executor, ExecutorConfig
    from wsinuc.segmenters.base import Segmenter
    from wsinuc.tasks.segment import Plan, Summary


@click.command()
@click.argument("slides", nargs=-1, required=True, metavar="SLIDE...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the results, made if need be. Each slide gets DIR/<stem>.wsinuc.  [default: current folder]",
)
@click.option("--model", default=DEFAULTS["model"], show_default=True, help="Shipped model, or a checkpoint file.")
@device_option
@reader_options
@click.option(
    "--tissue",
    default=DEFAULTS["tissue"],
    show_default=True,
    metavar="auto|none|FILE",
    help="Where to look: found automatically, everywhere, or in a mask (PNG, GeoJSON).",
)
@click.option(
    "--roi",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="GeoJSON, for example drawn in QuPath: keep only nuclei with their centre inside.",
)
@click.option(
    "--block", default=DEFAULTS["block"], show_default=True, help="Side of a block in pixels; multiple of 64."
)
@click.option(
    "--batch-size", type=int, metavar="N", help="Tiles per step of the network [default: 1 on a CPU, else 8]."
)
@cluster_options
@click.option(
    "--max-unreadable",
    default=DEFAULTS["max_unreadable"],
    show_default=True,
    help="Share of the tissue that may be undecodable before a slide counts as damaged.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing result.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Continue an interrupted run.")
@click.option("--dry-run", is_flag=True, help="Print what would be done and needed, and do nothing.")
@verbosity_options
def segment(
    slides: tuple[Path, ...],
    output: Path | None,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    executor: ExecutorConfig,
    **settings: Any,
) -> None:
    """Find the nuclei of one or many slides, or of ordinary images with --mpp.

    The result of slide.svs is the folder slide.wsinuc in the current folder, or in DIR with -o DIR:

    \b
    preview.png        the slide with outlines: look at it first
    nuclei.geojson     drag it onto the slide in QuPath
    nuclei/            the table, Parquet
    labels.ome.zarr    label images, OME-Zarr
    summary.json       counts, area, time, versions

    An interrupted run goes on when the same command is given again. One slide that fails does not stop the others;
    the exit code is then 1.
    """
    start_logging(quiet, verbose)
    results = result_folders(slides, output)
    config = SegmentConfig(**settings)
    batch = Batch(results, config, quiet=quiet, verbose=verbose)
    if dry_run:
        batch.run(batch.plan_one)
    else:
        batch.run_on(executor)
    batch.finish()


def result_folders(slides: Sequence[Path], output: Path | None) -> dict[Path, Path]:
    """Slide -> its result folder; raises ConfigError when two slides would share one."""
    owners: dict[Path, Path] = {}
    for slide in slides:
        folder = (output or Path()) / f"{slide.stem}.wsinuc"
        if folder in owners:
            raise ConfigError(
                f"{owners[folder]} and {slide} would both be written to {folder}: "
                "segment them one by one with different -o"
            )
        owners[folder] = slide
    return {slide: folder for folder, slide in owners.items()}


class Batch:
    """Several slides with one model; remembers what went wrong with which."""

    def __init__(self, results: dict[Path, Path], config: SegmentConfig, *, quiet: bool, verbose: bool) -> None:
        self.results = results
        self.config = config
        self.quiet, self.verbose = quiet, verbose
        self.failed: dict[Path, str] = {}
        self.done: list[Summary] = []
        self._segmenter: Segmenter | None = None
        self._executor: Executor | None = None

    def run(self, work: Callable[[Path, Path], None]) -> None:
        """Do ``work`` for every slide that can be opened; all are opened first, so that bad ones show at once."""
        readable = [slide for slide in self.results if self._attempt(slide, self._open)]
        if readable:
            self._segmenter = self._load()
        for slide in readable:
            self._attempt(slide, work, self.results[slide])

    def _attempt(self, slide: Path, work: Callable[..., None], *args: Path) -> bool:
        """Whether ``work`` went well; what it raised is shown now, or at the end when there is one slide only."""
        try:
            work(slide, *args)
        except Exception as error:
            message = describe_error(error)
            self.failed[slide] = message
            if len(self.results) > 1:
                click.echo(f"error: {message if slide.name in message else f'{slide}: {message}'}", err=True)
            return False
        return True

    def run_on(self, config: ExecutorConfig) -> None:
        """Segment every slide on the workers that the config names."""
        from wsinuc.pipeline.executor import open_executor

        with open_executor(config) as self._executor:
            if self._executor.dashboard and not self.quiet:
                click.echo(f"dashboard: {self._executor.dashboard}", err=True)
            self.run(self.segment_one)

    def _open(self, slide: Path) -> None:
        from wsinuc.slides import open_slide

        with open_slide(slide, reader=self.config.reader, mpp=self.config.mpp) as opened:
            opened.mpp  # noqa: B018  raises when the resolution is unknown

    def _load(self) -> Segmenter:
        from wsinuc.segmenters import load_segmenter

        return load_segmenter(self.config.model, device=self.config.device)

    def segment_one(self, slide: Path, folder: Path) -> None:
        """Segment one slide and show how it goes."""
        from wsinuc.tasks.segment import segment_slide
        from wsinuc_cli.progress import reporter

        with reporter(slide.name, quiet=self.quiet, verbose=self.verbose) as show:
            summary = segment_slide(
                slide, folder, self.config, segmenter=self._segmenter, executor=self._executor, on_event=show
            )
        self.done.append(summary)
        if not self.quiet:
            click.echo(describe_result(summary))

    def plan_one(self, slide: Path, folder: Path) -> None:
        """Print what segmenting one slide would do."""
        from wsinuc.tasks.segment import plan_segment

        click.echo(describe_dry_run(plan_segment(slide, folder, self.config, segmenter=self._segmenter)))

    def finish(self) -> None:
        """Say what to do with the results, and raise Failure when a slide failed."""
        if self.done and not self.quiet:
            click.echo(describe_use(self.done))
        if self.failed and len(self.results) == 1:
            raise Failure(*self.failed.values())
        if self.failed:
            raise Failure(
                f"{len(self.failed)} of {len(self.results)} slides failed: {', '.join(map(str, self.failed))}"
            )


def describe_result(summary: Summary) -> str:
    """One slide's result in a line, and what its reader should know."""
    from wsinuc_cli.progress import duration

    took = duration(summary.seconds["total"])
    head = f"{summary.slide}: {summary.nuclei:,} nuclei on {summary.tissue_mm2:.3g} mm2 of tissue in {took}"
    return "\n".join([head, *(f"  note: {note}" for note in summary.notes)])


def describe_use(done: Sequence[Summary]) -> str:
    """Where the results are and what to do with them."""
    folders = [Path(summary.out) for summary in done]
    example = folders[0]
    geojson = next((name for name in done[0].outputs if name.startswith("nuclei.geojson")), "nuclei.geojson")
    return "\n".join(
        [
            f"Results: {', '.join(map(str, folders))}",
            f"  look     {example / 'preview.png'}",
            f"  QuPath   open the slide, drag {example / geojson} onto it",
            f"  napari   napari {example / 'labels.ome.zarr'}   (with the plugin napari-ome-zarr)",
            f'  Python   pyarrow.parquet.read_table("{example / "nuclei"}")',
        ]
    )


def describe_dry_run(plan: Plan) -> str:
    """The plan for one slide, line by line."""
    height, width = plan.shape
    rows = [
        ("result", plan.out),
        ("reader", plan.reader),
        ("resolution", f"{plan.mpp:.4g} um per pixel from level {plan.level}: {width} x {height} pixels"),
        ("tissue", f"{plan.tissue_mm2:.3g} of {plan.slide_mm2:.3g} mm2 ({plan.tissue_share:.0%})"),
        ("blocks", f"{len(plan.blocks)} of {plan.blocks_total}, {plan.tiles} tiles for the network"),
        ("memory", f"about {plan.memory_bytes / 1e9:.1f} GB, and what the network needs"),
        ("disk", f"about {plan.disk_bytes / 1e6:.0f} MB"),
    ]
    return "\n".join([str(plan.slide), *(f"  {name:<11}{value}" for name, value in rows)])
