"""``wsinuc segment``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc.config import GROUPS, IMAGES, STAINS, SegmentConfig
from wsinuc.exports.formats.registry import parse_formats
from wsinuc.segmenters.shipped import shipped_models
from wsinuc.urls import Place
from wsinuc_cli.commands.segment.texts import SHOWN, describe_dry_run, describe_result, describe_use
from wsinuc_cli.failure import Failure, describe_error
from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import (
    DEFAULTS,
    PLACE,
    also_option,
    device_option,
    min_area_option,
    reader_options,
    start_logging,
    verbosity_options,
)
from wsinuc_cli.options.workers import worker_options
from wsinuc_cli.terminal import echo, echo_text

if TYPE_CHECKING:
    from wsinuc.pipeline.executor_config import ExecutorConfig
    from wsinuc.workflows.cohort.events import CohortEvent
    from wsinuc.workflows.cohort.slide_list import SlideJob
    from wsinuc.workflows.segment.run import Summary
    from wsinuc.workflows.segment.run_times import Conditions


@click.command(cls=SectionedCommand)
@click.argument("slides", nargs=-1, required=True, metavar="SLIDE...", type=PLACE)
@click.option(
    "-o",
    "--output",
    type=PLACE,
    metavar="DIR",
    help="Folder or URL for the results; that of slide.svs is DIR/slide.wsinuc.  [default: the current folder]",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="With -o URL: the folder in which results are made before they are uploaded; all workers must see it.  "
    "[default: the user's cache]",
)
@click.option(
    "--model",
    default=DEFAULTS["model"],
    show_default=True,
    metavar="NAME|FILE",
    help=f"A shipped model ({', '.join(shipped_models())}; wsinuc info --models describes them) or a checkpoint file.",
)
@device_option
@reader_options
@click.option(
    "--tissue",
    default=DEFAULTS["tissue"],
    show_default=True,
    metavar="auto|none|FILE",
    help="Where to look for nuclei: in tissue that is found automatically (auto), everywhere (none), or inside a mask "
    "(a PNG, or GeoJSON as for --roi).",
)
@click.option(
    "--roi",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Regions drawn in QuPath (.geojson, .geojson.gz or .zip); only nuclei whose centre lies inside are kept.",
)
@click.option(
    "--measure",
    default=DEFAULTS["measure"],
    show_default=True,
    metavar="GROUP,...|all|none",
    help=f"What is measured of each nucleus beyond area, outline and class: {', '.join(GROUPS)}.",
)
@click.option(
    "--stains",
    default=DEFAULTS["stains"],
    show_default=True,
    metavar="|".join(STAINS),
    help="Stain vectors of optical densities: those of QuPath, those of Ruifrok and Johnston, or fitted to each slide.",
)
@click.option(
    "--image",
    type=click.Choice(IMAGES),
    default=DEFAULTS["image"],
    show_default=True,
    help="How much of the slide is copied beside the label images, for napari: none, a thumbnail of about 1 um per "
    "pixel, or every pixel that the model reads.",
)
@click.option(
    "--cells",
    type=float,
    metavar="UM",
    help="Grow a cell around each nucleus, by up to so many um and without overlap; 5 is usual.",
)
@click.option(
    "--threshold",
    type=float,
    metavar="P",
    help="Foreground probability (0 to 1) from which a pixel belongs to a nucleus; a lower one finds more and larger "
    "nuclei.  [default: the model's own]",
)
@min_area_option
@click.option(
    "--block",
    default=DEFAULTS["block"],
    show_default=True,
    metavar="PX",
    help="Side of the square blocks in which a slide is worked on, in pixels; a multiple of 64.",
)
@click.option(
    "--batch-size", type=int, metavar="N", help="Tiles that the network sees at once.  [default: 1 on a CPU, else 8]"
)
@worker_options
@click.option(
    "--max-unreadable",
    default=DEFAULTS["max_unreadable"],
    show_default=True,
    metavar="SHARE",
    help="A slide counts as damaged when more than this share of its tissue cannot be decoded (0 to 1).",
)
@click.option(
    "--outlines",
    type=click.Choice(["smooth", "exact"]),
    default=DEFAULTS["outlines"],
    show_default=True,
    help="Outlines of nuclei.geojson: smooth, as QuPath measures them well, or exactly along the edges of pixels.",
)
@click.option(
    "--semantic/--no-semantic",
    default=DEFAULTS["semantic"],
    show_default=True,
    help="Also keep the class of every pixel, before nuclei are separated, as the label image semantic.",
)
@click.option(
    "--verify-input",
    is_flag=True,
    help="Hash every byte of each slide instead of samples; the hash is recorded, and compared when a run is resumed.",
)
@click.option(
    "--report/--no-report",
    default=DEFAULTS["report"],
    show_default=True,
    help="Write report.html, one page to look at, print and send, or leave it out.",
)
@also_option
@click.option("--overwrite", is_flag=True, help="Replace an existing result.")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Continue an interrupted run, or start over."
)
@click.option(
    "--skip-errors/--fail-fast",
    default=True,
    show_default=True,
    help="With several slides: go on with the others when one fails, or stop there.",
)
@click.option(
    "--attempts",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="How often a slide is tried when the fault may be temporary, such as a network disk that is away.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything, print what would be done and what it takes (memory, disk, time), and stop.",
)
@verbosity_options
def segment(
    slides: tuple[Place, ...],
    output: Place | None,
    dry_run: bool,
    skip_errors: bool,
    attempts: int,
    quiet: bool,
    verbose: bool,
    executor: ExecutorConfig,
    **settings: Any,
) -> None:
    """Find the nuclei of whole-slide images, or of ordinary images whose resolution is given with --mpp.

    \b
    wsinuc segment slide.svs
    wsinuc segment slide.svs --roi region.geojson --model accurate -o trial
    wsinuc segment slides/*.svs -o results --workers 4

    SLIDE is a slide, a folder of DICOM files, a URL, or a table of slides (CSV); several may be given.
    The result of slide.svs is the folder slide.wsinuc:

    \b
    report.html        counts, fields, distributions, quality on one page: look at it first
    preview.png        the slide with outlines as a picture
    nuclei.geojson     drag it onto the slide in QuPath
    nuclei/            the table, Parquet
    labels.ome.zarr    label images over the slide, OME-Zarr: open it in napari
    summary.json       counts, area, time, versions

    A table has the column slide and, where slides differ in their settings, the columns mpp, model, roi, tissue,
    threshold, min_area_um2 and name; its paths are relative to the table. Several slides also give report.html,
    which compares them, summary.md and summary.csv, and "wsinuc status DIR" says how far they are.

    Give the same command again to continue an interrupted run; slides that are complete with the same settings
    are left as they are. When a slide fails, the others continue, and the exit code is 1.
    """
    from wsinuc.workflows.cohort.slide_list import list_slides
    from wsinuc.workflows.cohort.state import FOLDER

    start_logging(quiet, verbose)
    # Settings are checked before any slide is looked for.
    config = SegmentConfig(**settings)
    parse_formats(config.also)
    jobs = list_slides(slides)
    out = output or Path()
    for job in jobs:
        if job.files > 1 and not quiet:
            echo(f"Note: {job.files} files of one DICOM series are one slide, {job.slide}: {job.folder(out)}", err=True)
    batch = Batch(jobs, out, config, quiet=quiet)
    if dry_run:
        batch.plan(executor)
        return batch.finish(records=False)
    # A folder that keeps records goes on keeping them, also when one slide is added.
    several = len(jobs) > 1 or any(path.suffix.lower() == ".csv" for path in slides if isinstance(path, Path))
    records = several or (isinstance(out, Path) and (out / FOLDER).is_dir())
    batch.segment(executor, records=records, verbose=verbose, skip_errors=skip_errors, attempts=attempts)
    # Tables over several slides need a file system; an object store has none.
    batch.finish(records=records and isinstance(out, Path))


class Batch:
    """Slides with their settings; shows how they go and remembers what went wrong with which."""

    def __init__(self, jobs: Sequence[SlideJob], out: Place, config: SegmentConfig, *, quiet: bool) -> None:
        self.jobs = jobs
        self.out = out
        self.config = config
        self.quiet = quiet
        self.failed: dict[Place, str] = {}
        self.done: list[Summary] = []
        self.before = 0

    def segment(self, executor: ExecutorConfig, *, records: bool, verbose: bool, **options: Any) -> None:
        """Segment all slides on the workers that ``executor`` names."""
        from wsinuc.pipeline.executor import open_executor
        from wsinuc.workflows.cohort.run import segment_cohort
        from wsinuc_cli.commands.segment.time_estimate import Stopwatch, conditions
        from wsinuc_cli.progress.cohort import cohort_reporter

        watch = Stopwatch()
        with cohort_reporter(len(self.jobs), quiet=self.quiet, verbose=verbose) as show:

            def on_event(event: CohortEvent) -> None:
                watch(event)
                show(event)
                self._note(event)

            with open_executor(executor) as workers:
                if workers.dashboard:
                    self._say(f"dashboard: {workers.dashboard}", err=True)
                summary = segment_cohort(
                    self.jobs, self.out, self.config, executor=workers, on_event=on_event, records=records, **options
                )
        models = {job.config(self.config).model for job in self.jobs}
        # Of several models at once, or of slides that failed on the way, nobody can tell what took how long.
        if len(models) == 1 and not self.failed:
            watch.keep(conditions(replace(self.config, model=models.pop()), executor))
        if summary.unfinished and self.failed:
            echo(f"stopped: {len(summary.unfinished)} of {len(self.jobs)} slides are not finished", err=True)

    def plan(self, executor: ExecutorConfig) -> None:
        """Print what segmenting each slide would do, and how long all of them take."""
        from wsinuc.workflows.segment.plan import estimate_segment
        from wsinuc_cli.commands.segment.time_estimate import conditions, describe_time

        tiles: dict[Conditions | None, list[int]] = {}
        for job in self.jobs:
            try:
                config = job.config(self.config)
                estimate = estimate_segment(job.slide, job.folder(self.out), config)
                known = conditions(config, executor)
                echo_text(describe_dry_run(estimate, describe_time(estimate.tiles, known)))
                tiles.setdefault(known, []).append(estimate.tiles)
            # One slide's fault must not hide what the others would do.
            except Exception as error:
                self._note_error(job, error)
        if len(self.jobs) > 1:
            for known, each in tiles.items():
                if known is None or len(tiles) == 1:
                    model = ""
                else:
                    model = f" with {known.model.partition(',')[0]}"
                echo(f"all {len(each)} slides{model}: {describe_time(sum(each), known)}")

    def _note(self, event: CohortEvent) -> None:
        from wsinuc.workflows.cohort.events import SlideDone, SlideFailed

        if isinstance(event, SlideFailed):
            if event.again:
                self._say(f"{event.job.slide}: {describe_error(event.error)}; it will be tried again", err=True)
            else:
                self._note_error(event.job, event.error)
        elif isinstance(event, SlideDone):
            if event.summary is None:
                self.before += 1
                self._say(f"{event.job.slide}: done before")
            else:
                self.done.append(event.summary)
                self._say_text(describe_result(event.summary))

    def _note_error(self, job: SlideJob, error: Exception) -> None:
        """Remember an error; it is shown now, or at the end when there is one slide only."""
        message = describe_error(error)
        self.failed[job.slide] = message
        if len(self.jobs) > 1:
            # Most messages name the file already.
            if job.slide.name in message:
                named = message
            else:
                named = f"{job.slide}: {message}"
            echo(f"error: {named}", err=True)

    def _say(self, text: str, *, err: bool = False) -> None:
        if not self.quiet:
            echo(text, err=err)

    def _say_text(self, text: str) -> None:
        if not self.quiet:
            echo_text(text)

    def finish(self, *, records: bool) -> None:
        """Say what to do with the results, and raise Failure when a slide failed."""
        if self.done:
            self._say_text(describe_use(self.done))
        if records and (self.done or self.before):
            names = ["summary.md", "summary.csv"]
            if self.config.report:
                names.insert(0, "report.html")
            self._say(f"  all      {', '.join(str(self.out / name) for name in names)}")
        # With one slide its error is the whole story, and is shown once.
        if self.failed and len(self.jobs) == 1:
            raise Failure(*self.failed.values())
        if self.failed:
            shown = ", ".join(map(str, list(self.failed)[:SHOWN]))
            more = ""
            if len(self.failed) > SHOWN:
                more = f" and {len(self.failed) - SHOWN:,} more"
            raise Failure(f"{len(self.failed)} of {len(self.jobs)} slides failed: {shown}{more}")
