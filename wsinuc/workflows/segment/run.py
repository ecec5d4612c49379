"""Slide to result: plan, segment block by block, number, render, export, sum up.

The blocks are the long part and the only one that is not done again: each is stored as soon as it is finished, so that
an interrupted run (a crash, Ctrl-C, a full disk) goes on from there when the same command is given again. What follows
is made from the stored blocks in a working area and appears in the result only when all of it is whole.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import zarr

from wsinuc.config import DEFAULTS, SegmentConfig, check_config
from wsinuc.errors import OutputError, SlideError
from wsinuc.exports.ome_zarr.copy_plan import plan_copy
from wsinuc.exports.ome_zarr.metadata import SEMANTIC, Canvas
from wsinuc.exports.ome_zarr.render import render_labels
from wsinuc.exports.ome_zarr.slide_copy import write_copy
from wsinuc.exports.pictures.preview import Preview
from wsinuc.exports.qupath.geojson import default_geojson_name, write_geojson
from wsinuc.exports.report.distributions import Distributions
from wsinuc.exports.report.facts import SlideFacts
from wsinuc.grid import Block, Box, in_stripes
from wsinuc.nuclei import Nuclei, write_nuclei
from wsinuc.nuclei.columns import Provenance
from wsinuc.nuclei.stains import StainVectors
from wsinuc.pipeline.executor import Executor, ThreadExecutor
from wsinuc.pipeline.stain_fit import stain_vectors
from wsinuc.segmenters.base import Segmenter
from wsinuc.semantic.classes import map_classes
from wsinuc.semantic.image import SemanticImage, class_areas
from wsinuc.store import MAX_ID, Entry, ResultStore, disk_errors
from wsinuc.store.pieces import ClassMaps
from wsinuc.urls import PlaceLike
from wsinuc.workflows.segment.also import check_also, write_also
from wsinuc.workflows.segment.distribute import PartReader, as_workers_see_it, block_job, render_job
from wsinuc.workflows.segment.events import BlockDone, Event, Finished, Planned, StageStarted
from wsinuc.workflows.segment.numbering import Numbering
from wsinuc.workflows.segment.plan import Plan, Prepared, plan_segment, prepare
from wsinuc.workflows.segment.report import slide_facts, write_report
from wsinuc.workflows.segment.slide_input import SlideInput, is_unchanged, look_at_input
from wsinuc.workflows.segment.summary import (
    RunFiles,
    RunTimings,
    Summary,
    Tally,
    notes_of,
    restore,
    summarize,
    tally,
    unreadable_share,
)

__all__ = ["Plan", "Summary", "plan_segment", "segment_slide"]


def segment_slide(
    slide_path: PlaceLike,
    out: PlaceLike,
    config: SegmentConfig = DEFAULTS,
    *,
    segmenter: Segmenter | None = None,
    executor: Executor | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Summary:
    """Find the nuclei of a slide and write the result directory ``out``.

    Parameters
    ----------
    slide_path
        Slide or ordinary image, or the URL of a TIFF slide.
    out
        The result's own directory (``<stem>.wsinuc``), created with its parents; or its URL, to
        which it is brought when it has been made below ``config.work``.
    config
        All settings.
    segmenter
        A loaded model (`wsinuc.load_segmenter`), which takes the place of ``config.model`` and ``config.device``.
    executor
        Who makes the blocks, see ``wsinuc.pipeline.executor.open_executor``; None is
        ``config.workers`` threads. Several calls may share one.
    on_event
        Called on this thread with what has happened (``wsinuc.workflows.segment.events``): shows progress, and
        may raise to end the run, whose finished blocks are kept.

    Returns
    -------
    Summary
        What ``summary.json`` holds: counts, areas, times. `wsinuc.read` opens the result.

    Raises
    ------
    WsinucError
        What ``prepare`` raises; SlideError when more of the tissue than ``config.max_unreadable``
        cannot be decoded; OutputError when ``out`` cannot be used or the disk is full; RemoteError
        when a store cannot be reached; ClusterError when workers die, or see other files. Finished
        blocks are kept, then and on KeyboardInterrupt.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> result = tempfile.mkdtemp() + "/field.wsinuc"
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student")
    >>> summary = wsinuc.segment_slide("examples/data/field.png", result, config)
    >>> summary.nuclei > 0
    True
    >>> summary.outputs
    ('labels.ome.zarr', 'nuclei', 'nuclei.geojson', 'preview.png', 'report.html')
    """
    check_config(config)
    check_also(out, config)
    emit = on_event or (lambda event: None)
    executor = executor or ThreadExecutor(config.workers)
    with prepare(slide_path, out, config, segmenter) as (prepared, plan):
        plan = as_workers_see_it(plan, prepared, config, executor)
        store = ResultStore(out, config.work)
        with (
            store.open_run(plan.settings, resume=config.resume, overwrite=config.overwrite),
            disk_errors(store.directory),
        ):
            return _Run(prepared, plan, store, config, executor, emit).execute()


class Onlooker(Protocol):
    """Somebody who is shown each part of the table while it is at hand."""

    def add(self, part: Nuclei) -> None:
        """Take notice of the nuclei of a part."""
        ...


class _Run:
    """One run over an open slide and an open store."""

    def __init__(
        self,
        prepared: Prepared,
        plan: Plan,
        store: ResultStore,
        config: SegmentConfig,
        executor: Executor,
        emit: Callable[[Event], None],
    ) -> None:
        self.prepared = prepared
        self.plan = plan
        self.store = store
        self.config = config
        self.executor = executor
        self.emit = emit
        self.seconds: dict[str, float] = {}

    def execute(self) -> Summary:
        """All stages, in order."""
        begin = time.perf_counter()
        unpublished = self.store.unpublished()
        if unpublished is not None:
            return self._publish(restore(unpublished))
        slide_input = self._look_at_input()
        earlier = self.store.finished()
        # Blocks come first and alone: they are the long part, and all that follows is made from them.
        with self._stage("blocks"):
            entries = self._segment(earlier)
        self._check_unchanged(slide_input, entries.keys() - earlier.keys())
        total = tally(entries.values())
        self._check_readable(total)
        owners = {index: entry.nuclei for index, entry in sorted(entries.items()) if entry.nuclei}
        counts = self._write_outputs(owners, total, slide_input)
        self.seconds["total"] = time.perf_counter() - begin
        timings = RunTimings(
            seconds=self.seconds,
            network_seconds=sum(entry.seconds["network"] for index, entry in entries.items() if index not in earlier),
            resumed=len(earlier),
        )
        outputs = tuple(sorted(path.name for path in self.store.ready.iterdir()))
        files = RunFiles(
            input=slide_input,
            outputs=outputs,
            counts=counts,
            semantic_mm2=self._semantic_mm2(),
            stains=self._stains,
        )
        return self._publish(summarize(self.prepared, self.plan, self.config, total, timings, files))

    def _publish(self, summary: Summary) -> Summary:
        if self.store.remote is not None:
            self.emit(StageStarted(name="upload"))
        self.store.publish(asdict(summary))
        if self.config.also:
            self.emit(StageStarted(name="formats"))
            write_also(self.store.directory, self.config)
        self.emit(Finished(summary=summary))
        return summary

    def _segment(self, earlier: dict[int, Entry]) -> dict[int, Entry]:
        """Ledger entries of all blocks: those of an interrupted run, and the rest, made now."""
        plan = self.plan
        grid = self.prepared.grid
        entries = dict(earlier)
        nuclei = sum(entry.nuclei for entry in earlier.values())
        unreadable = sum(len(entry.unreadable) for entry in earlier.values())
        self.emit(Planned(blocks=len(plan.blocks), resumed=len(earlier), nuclei=nuclei, plan=plan))
        todo = [grid[index] for index in in_stripes(grid, plan.blocks) if index not in earlier]
        if not todo:
            return entries
        job = block_job(self.executor, self.prepared, plan, self.store, self.config)
        # closing: when the caller is interrupted, the workers are waited for before the lock is given back.
        with closing(self.executor.run(job, todo, accelerator=True)) as results:
            for block, entry in results:
                entries[block.index] = entry
                nuclei += entry.nuclei
                unreadable += len(entry.unreadable)
                self.emit(BlockDone(done=len(entries), total=len(plan.blocks), nuclei=nuclei, unreadable=unreadable))
        return entries

    @cached_property
    def _stains(self) -> StainVectors | None:
        """What optical densities were measured with; None where none were."""
        name = self.plan.settings["stains"]
        if name is None:
            return None
        tissue = self.prepared.selection.tissue
        return stain_vectors(name, self.prepared.view, tissue, self.store.work / "stains")

    def _look_at_input(self) -> SlideInput:
        run_id = self.plan.run_id
        if not self.config.verify_input:
            return look_at_input(self.plan.slide, self.store, run_id, verify=False)
        # Hashing all of a slide takes long enough to be shown.
        with self._stage("input"):
            return look_at_input(self.plan.slide, self.store, run_id, verify=True)

    def _check_unchanged(self, start: SlideInput, new_blocks: Iterable[int]) -> None:
        """Raise SlideError when the slide was written to since the run began; the blocks made since are forgotten."""
        if is_unchanged(self.plan.slide, start, self.plan.settings["slide"]):
            return
        self.store.forget(new_blocks)
        raise SlideError(
            f"{self.plan.slide} was changed while it was read (was it still being copied?): wait until it is whole, "
            "then segment it with --overwrite"
        )

    def _check_readable(self, total: Tally) -> None:
        share = unreadable_share(self.prepared, total)
        if share > self.config.max_unreadable:
            raise SlideError(
                f"{self.plan.slide}: {share:.1%} of the tissue cannot be decoded, "
                f"{self.config.max_unreadable:.1%} is allowed: the file is damaged, perhaps copied incompletely"
            )

    def _write_outputs(self, owners: dict[int, int], total: Tally, slide_input: SlideInput) -> dict[str, int]:
        """All outputs into the store's working area; returns nuclei per class."""
        store = self.store
        store.start_outputs()
        selection = self.prepared.selection
        preview = Preview(self.prepared.view, selection.region)
        distributions = Distributions()
        onlookers: list[Onlooker] = [preview]
        if self.config.report:
            onlookers.append(distributions)
        with self._stage("numbering"):
            counts = self._number(owners, total.nuclei, onlookers)
        with self._stage("image"):
            canvas = self._copy_slide()
        with self._stage("labels"):
            self._render(owners, canvas)
        with self._stage("geojson"):
            write_geojson(
                store.parts,
                store.ready / default_geojson_name(total.nuclei),
                origin_yx=self.prepared.slide.origin,
                run_id=self.plan.run_id,
                workers=self.config.workers,
                outlines=self.config.outlines,
            )
        near = partial(self._parts_near, owners)
        with self._stage("preview"):
            picture = store.ready / "preview.png"
            preview.write(picture, near, tissue_mm2=self.plan.tissue_mm2, tissue=selection.tissue)
        if self.config.report:
            with self._stage("report"):
                page = store.ready / "report.html"
                facts = self._facts(counts, total, slide_input)
                write_report(facts, preview.pictures, near, distributions, self.prepared.segmenter, page)
        return counts

    def _facts(self, counts: dict[str, int], total: Tally, slide_input: SlideInput) -> SlideFacts:
        notes = notes_of(self.prepared, self.plan, total, slide_input, self._stains)
        return slide_facts(self.prepared, self.plan, self.config, counts, total, notes)

    def _parts_near(self, owners: dict[int, int], box: Box) -> Iterator[Nuclei]:
        """Numbered parts with all nuclei that reach into a box: none is larger than the halo allows for."""
        for block in self.prepared.grid.overlapping(box.grow(self.prepared.grid.halo)):
            if block.index in owners:
                yield self.store.parts.read(block.index)

    def _number(self, owners: dict[int, int], total: int, onlookers: Sequence[Onlooker]) -> dict[str, int]:
        """Turn shards into parts with ids 1..N in the order of the blocks, and show each to the onlookers while it is
        at hand; returns nuclei per class."""
        if total > MAX_ID:
            raise OutputError(f"{total} nuclei do not fit the label image's 32 bits: segment regions with --roi")
        classes = self.prepared.segmenter.classes
        numbering = Numbering(self.store, self.prepared, self.config, owners, self._stains)
        counts: Counter[int] = Counter()
        hashes: dict[int, str] = {}
        provenance = Provenance(run_id=self.plan.run_id, origin_yx=self.prepared.slide.origin)
        for index, nuclei in numbering.parts():
            hashes[index] = write_nuclei(nuclei, self.store.part(index), provenance)
            counts.update(nuclei.classes.tolist())
            for onlooker in onlookers:
                onlooker.add(nuclei)
        self.store.parts.write(hashes)
        return {item.name: counts[index] for index, item in enumerate(classes)}

    @property
    def _labels(self) -> Path:
        # Absolute, because workers have another current folder.
        return self.store.ready.absolute() / "labels.ome.zarr"

    def _copy_slide(self) -> Canvas:
        """Begin the container of the labels with the slide's own pixels."""
        grid = self.prepared.grid
        worked_on = frozenset(self.plan.blocks)

        def for_each(job: Callable[[Block], object], blocks: Iterable[Block]) -> None:
            # Threads of this process, which has the slide open; there is too little to do to send it around.
            with closing(ThreadExecutor(self.config.workers).run(job, blocks)) as results:
                for _ in results:
                    pass

        return write_copy(
            plan_copy(self.prepared.view, self.config.image),
            self._labels,
            is_wanted=lambda box: any(block.index in worked_on for block in grid.overlapping(box)),
            for_each=for_each,
        )

    def _render(self, owners: dict[int, int], canvas: Canvas) -> None:
        def for_each(job: Callable[[Block], object], blocks: Iterable[Block]) -> None:
            drawing = render_job(self.executor, job, self.store, self.plan)
            with closing(self.executor.run(drawing, blocks)) as results:
                for _ in results:
                    pass

        render_labels(
            PartReader.of(self.store, owners, len(self.prepared.grid)),
            self.prepared.grid,
            self._labels,
            mpp=self.prepared.view.mpp,
            classes=self.prepared.segmenter.classes,
            canvas=canvas,
            semantic=self._semantic_image(),
            for_each=for_each,
        )

    def _semantic_mm2(self) -> dict[str, float] | None:
        """Area of each class of pixels in the image that was drawn."""
        if not self.config.semantic:
            return None
        pixels = zarr.open_array(self._labels / "labels" / SEMANTIC / "0", mode="r")
        classes = map_classes(self.prepared.segmenter)
        blocks = (self.prepared.grid[index] for index in self.plan.blocks)
        mm2_per_px = (self.prepared.view.mpp / 1000) ** 2
        counts = class_areas(pixels, blocks, len(classes)).tolist()
        return {each.name: count * mm2_per_px for each, count in zip(classes, counts, strict=True)}

    def _semantic_image(self) -> SemanticImage | None:
        """Classes of pixels, where they are asked for."""
        if not self.config.semantic:
            return None
        # Absolute, because workers have another current folder.
        maps = ClassMaps(self.store.work.absolute(), self.plan.run_id)
        return SemanticImage.of(self.prepared.segmenter, maps)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.emit(StageStarted(name=name))
        begin = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begin
