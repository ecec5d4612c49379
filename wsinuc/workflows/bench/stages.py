"""The stages of a run one by one, each repeated on what one block of the slide hands to it, beside its ceiling."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.exports.ome_zarr.render import render_labels
from wsinuc.exports.qupath.geojson import write_geojson
from wsinuc.grid import BlockGrid, Box, ceil_div
from wsinuc.labels import paint_outlines
from wsinuc.nuclei.measure import measure
from wsinuc.pipeline.block import process_block
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.workflows.bench import ceilings
from wsinuc.workflows.bench.config import BenchConfig
from wsinuc.workflows.bench.meter import Usage, typical
from wsinuc.workflows.bench.report import StageResult, stage_result
from wsinuc.workflows.segment.plan import Prepared

EXPORTED = 20_000
"""Nuclei that are exported, those of the block again and again: one shard."""


BATCHES = 4
"""Most batches of the network that are timed."""


SAMPLE = 1024
"""Side of the corner of the slide that is decoded for the ceiling of reading."""


@dataclass
class _Recorder:
    """A segmenter that remembers what it was given and gave."""

    wrapped: Any
    batches: list[NDArray[np.uint8]] = field(default_factory=list)
    scores: list[NDArray[np.uint8]] = field(default_factory=list)
    labels: list[NDArray[np.int32]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        # A few are enough to repeat, and every one is held in memory.
        if len(self.batches) < BATCHES:
            self.batches.append(pixels)
        scores: NDArray[np.uint8] = self.wrapped.predict(pixels)
        return scores

    def separate(self, scores: NDArray[np.uint8]) -> NDArray[np.int32]:
        labels: NDArray[np.int32] = self.wrapped.separate(scores)
        self.scores.append(scores)
        self.labels.append(labels)
        return labels


class BlockStages:
    """The stages on one block: the one that holds most tissue."""

    def __init__(self, config: BenchConfig, prepared: Prepared, folder: Path) -> None:
        self.config = config
        self.prepared = prepared
        self.folder = folder
        self.view: SlideView = prepared.view
        # The fullest block: on an emptier one every stage would look faster than it is.
        self.block = max(prepared.grid, key=lambda block: prepared.selection.wanted.share(block.core))
        if not prepared.selection.wanted.touches(self.block.core):
            raise DataError("the slide holds no tissue, so there is nothing to measure: choose another slide or tissue")
        self.recorder = _Recorder(calibrated(self.view, prepared.segmenter, prepared.selection.tissue))
        result = process_block(
            self.view,
            self.block,
            self.recorder,
            batch_size=prepared.segmenter.batch_size,
            tissue=prepared.selection,
            gate=nullcontext(),
        )
        self.nuclei = result.nuclei
        if not len(self.nuclei):
            raise DataError(
                "the model found no nuclei where the slide holds most tissue: choose another slide or model"
            )

    def stage(self, name: str) -> StageResult:
        """Measure one stage and its ceiling."""
        measured: StageResult = getattr(self, f"_{name}")()
        return measured

    def _read(self) -> StageResult:
        box = self.block.read
        view = self.view
        usage = self._typical(lambda: read_resilient(view, box))
        level = Box.of_shape(view.slide.level_shapes[view.level])
        pixels = view.slide.read(Box(0, 0, SAMPLE, SAMPLE).clip(level), view.level)
        best = ceilings.jpeg_decoding(pixels, self.config.repeats) / view.scale**2
        return self._result("read", usage, "JPEG decoding", _area(box) / best, megapixels=_area(box) / 1e6)

    def _network(self) -> StageResult:
        segmenter = self.recorder.wrapped
        batches = self.recorder.batches

        def work() -> None:
            for batch in batches:
                segmenter.predict(batch)

        usage = self._typical(work)
        megapixels = sum(map(len, batches)) * (segmenter.tile - 2 * segmenter.margin) ** 2 / 1e6
        if not hasattr(segmenter, "device"):
            return stage_result("network", usage, megapixels, 0, self.view.mpp)
        # Against wall time: what a GPU does is no CPU time of this process.
        best = ceilings.convolving(segmenter.device, segmenter.dtype, self.config.repeats)
        share = ceilings.flop(work) / best / usage.seconds
        name = f"{str(segmenter.dtype).removeprefix('torch.')} convolution"
        result = stage_result("network", usage, megapixels, 0, self.view.mpp)
        return replace(result, ceiling=name, share_of_ceiling=share)

    def _separate(self) -> StageResult:
        labels = self.recorder.labels
        usage = self._typical(lambda: [self.recorder.wrapped.separate(part) for part in self.recorder.scores])
        best = ceilings.components(max(labels, key=np.size), self.config.repeats)
        return self._result("separate", usage, "connected components", sum(map(np.size, labels)) / best)

    def _measure(self) -> StageResult:
        pairs = list(zip(self.recorder.labels, self.recorder.scores, strict=True))
        frame = self.view.frame
        classes = self.prepared.segmenter.classes
        usage = self._typical(lambda: [measure(a, b, Box.of_shape(a.shape), frame, classes) for a, b in pairs])
        best = ceilings.copying(max(self.recorder.scores, key=np.size), self.config.repeats)
        return self._result("measure", usage, "copying the scores", sum(a.size for a, _ in pairs) / best)

    def _render(self) -> StageResult:
        core = Box.of_shape(self.block.core.shape)
        classes = self.prepared.segmenter.classes
        number = count()
        outlines = self.nuclei.outlines - np.array([self.block.core.y0, self.block.core.x0], np.int32)
        nuclei = replace(self.nuclei, outlines=outlines)
        grid = BlockGrid(core.shape, self.config.block, self.prepared.grid.halo)

        # A path of its own for each repetition, so that none finds the files of the one before.
        def work() -> None:
            path = self.folder / f"labels-{next(number)}.zarr"
            render_labels(lambda index: nuclei, grid, path, mpp=self.view.mpp, classes=classes)

        usage = self._typical(work)
        labels = paint_outlines(outlines, nuclei.offsets, nuclei.ids, core, dtype=np.uint32)
        kinds = paint_outlines(outlines, nuclei.offsets, nuclei.classes + np.uint8(1), core, dtype=np.uint8)
        best = ceilings.compressing(labels, kinds, self.config.repeats)
        return self._result("render", usage, "compressing", labels.size / best)

    def _export(self) -> StageResult:
        times = ceil_div(EXPORTED, len(self.nuclei))
        path = self.folder / "nuclei.geojson.zip"
        usage = self._typical(lambda: write_geojson([self.nuclei] * times, path, run_id="bench"))
        nuclei = times * len(self.nuclei)
        best = ceilings.bare_features(self.nuclei, self.config.repeats)
        megapixels = times * _area(self.block.core) / 1e6
        return self._result(
            "export", usage, "orjson, bare features", nuclei / best, megapixels=megapixels, nuclei=nuclei
        )

    def _typical(self, work: Callable[[], object]) -> Usage:
        return typical(work, self.config.repeats)

    def _result(
        self,
        stage: str,
        usage: Usage,
        ceiling: str,
        best_s: float,
        *,
        megapixels: float | None = None,
        nuclei: int | None = None,
    ) -> StageResult:
        """A stage of the block, held against the CPU seconds that its ceiling would take for the same."""
        if megapixels is None:
            megapixels = _area(self.block.core) / 1e6
        if nuclei is None:
            nuclei = len(self.nuclei)
        result = stage_result(stage, usage, megapixels, nuclei, self.view.mpp)
        return replace(result, ceiling=ceiling, share_of_ceiling=best_s / max(usage.cpu_seconds, 1e-9))


def _area(box: Box) -> int:
    return box.shape[0] * box.shape[1]
