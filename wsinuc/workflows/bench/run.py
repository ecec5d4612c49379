"""How fast this machine is at each stage of a run, apart and together, and how near each comes to its own ceiling.

The stages are measured on what a run really hands to them: one block of the slide goes through the
pipeline with a segmenter that remembers its inputs and outputs, and every stage is repeated on
these. Then the whole slide is segmented.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wsinuc
from wsinuc.config import SegmentConfig
from wsinuc.errors import ConfigError, DataError
from wsinuc.exports.qupath.geojson import write_geojson
from wsinuc.grid import BlockGrid, Box, ceil_div
from wsinuc.labels import paint_outlines
from wsinuc.nuclei.measure import measure
from wsinuc.pipeline.block import process_block
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.render import render_labels
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.workflows.bench import ceilings
from wsinuc.workflows.bench.meter import Usage, metered, typical
from wsinuc.workflows.bench.synthetic_slide import SyntheticSlideConfig, write_synthetic_slide
from wsinuc.workflows.segment.plan import Prepared, prepare
from wsinuc.workflows.segment.run import Summary, segment_slide

STAGES = ("read", "network", "separate", "measure", "render", "export", "all")
SHARED = ("model", "device", "tissue", "workers", "block")
"""Settings that a benchmark has in common with a run."""
EXPORTED = 20_000
"""Nuclei that are exported, those of the block again and again: one shard."""
BATCHES = 4
"""Most batches of the network that are timed."""
SAMPLE = 1024
"""Side of the corner of the slide that is decoded for the ceiling of reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """What to measure."""

    slide: Path | None = None
    """A slide; None makes one."""
    width: int = 4096
    height: int = 4096
    """Height in pixels of the slide that is made; ``width`` is its width."""
    model: str = "default"
    device: str = "auto"
    tissue: str = "auto"
    """Where to look, as in ``SegmentConfig``."""
    stages: tuple[str, ...] = STAGES
    repeats: int = 3
    """How often every stage but ``all`` is run; medians are reported."""
    workers: int = 2
    block: int = 1024
    """Side of a block in view pixels."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.stages if name not in STAGES]
        if unknown or not self.stages:
            raise ConfigError(f"no such stage: {', '.join(unknown) or 'none given'}; choose from {', '.join(STAGES)}")
        if self.repeats < 1:
            raise ConfigError(f"repeats must be at least 1, got {self.repeats}")
        # Both check themselves when they are made: what cannot be must show before a slide is made.
        _ = self.settings, self.size

    @property
    def settings(self) -> SegmentConfig:
        """The settings of a run with these choices."""
        return SegmentConfig(**{name: getattr(self, name) for name in SHARED})

    @property
    def size(self) -> SyntheticSlideConfig | None:
        """The slide that is made; None where one is given."""
        if self.slide:
            return None
        return SyntheticSlideConfig(width=self.width, height=self.height)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """One stage. Pixels are view pixels, those that the model works on, of what the stage is responsible for."""

    stage: str
    megapixels: float
    nuclei: int
    seconds: float
    cpu_seconds: float
    mpx_per_s: float
    seconds_per_mm2: float
    cpu_seconds_per_mpx: float
    peak_memory_bytes: int
    """Memory of all processes together while the stage ran, with everything that was loaded already."""
    ceiling: str | None
    """What the stage is held against; None for the whole run."""
    share_of_ceiling: float | None
    """1 is as fast as that alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """All that was measured."""

    wsinuc: str
    machine: str
    cores: int
    device: str
    model: str
    """Name or file."""
    identity: str
    """Beginning of the segmenter's."""
    workers: int
    block: int
    repeats: int
    slide: str
    slide_shape: tuple[int, int]
    """(height, width) in level-0 pixels."""
    mpp: float
    """um per view pixel."""
    stages: tuple[StageResult, ...]
    network_busy: float | None
    """Share of the blocks' wall time during which the network worked; None when ``all`` was not asked for."""
    end_to_end_over_network: float | None
    """Wall time of the whole run over that spent inside the network."""


def run_bench(
    config: BenchConfig, *, segmenter: Segmenter | None = None, on_stage: Callable[[str], None] | None = None
) -> BenchReport:
    """Measure the stages that ``config`` names.

    Parameters
    ----------
    segmenter
        Takes the place of ``config.model`` and ``config.device``.
    on_stage
        Called with the name of each stage as it begins.

    Raises
    ------
    WsinucError
        What ``prepare`` raises; DataError when the slide holds no tissue, or the model finds no nuclei in it.
    """
    tell = on_stage or (lambda name: None)
    with tempfile.TemporaryDirectory(prefix="wsinuc-bench-") as name:
        folder = Path(name)
        tell("prepare")
        # A wrong name must show before hours are spent on making a large slide.
        if config.slide is None and segmenter is None:
            segmenter = load_segmenter(config.model, device=config.device)
        slide = config.slide or _make_slide(config, folder)
        settings = config.settings
        with prepare(slide, folder / "out", settings, segmenter) as (prepared, _):
            results = _measure_apart(config, prepared, folder, tell)
            summary = None
            if "all" in config.stages:
                tell("all")
                summary, whole = _measure_together(slide, folder / "out", settings, prepared)
                results.append(whole)
            return _report(config, prepared, slide, results, summary)


def _make_slide(config: BenchConfig, folder: Path) -> Path:
    assert config.size is not None
    return write_synthetic_slide(folder / f"synthetic-{config.width}x{config.height}.svs", config.size)


def _measure_apart(
    config: BenchConfig, prepared: Prepared, folder: Path, tell: Callable[[str], None]
) -> list[StageResult]:
    names = [name for name in config.stages if name != "all"]
    if not names:
        return []
    bench = _Bench(config, prepared, folder)
    results = []
    for name in names:
        tell(name)
        results.append(bench.stage(name))
    return results


def _measure_together(
    slide: Path, out: Path, settings: SegmentConfig, prepared: Prepared
) -> tuple[Summary, StageResult]:
    # With the segmenter that is loaded already: a run of hours loads it once, a short one would count it whole.
    summary, usage = metered(lambda: segment_slide(slide, out, settings, segmenter=prepared.segmenter))
    megapixels = summary.tissue_mm2 / prepared.view.mpp**2
    return summary, _result("all", usage, megapixels, summary.nuclei, prepared.view.mpp)


def _report(
    config: BenchConfig, prepared: Prepared, slide: Path, results: list[StageResult], summary: Summary | None
) -> BenchReport:
    network = summary.block_seconds["network"] if summary else 0.0
    return BenchReport(
        wsinuc=wsinuc.__version__,
        machine=f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        cores=os.cpu_count() or 1,
        device=str(getattr(prepared.segmenter, "device", "cpu")),
        model=config.model,
        identity=prepared.segmenter.identity[:16],
        workers=config.workers,
        block=config.block,
        repeats=config.repeats,
        slide=slide.name,
        slide_shape=prepared.slide.level_shapes[0],
        mpp=prepared.view.mpp,
        stages=tuple(results),
        network_busy=summary.network_busy if summary else None,
        end_to_end_over_network=summary.seconds["total"] / network if summary and network else None,
    )


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


class _Bench:
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
            return _result("network", usage, megapixels, 0, self.view.mpp)
        # Against wall time: what a GPU does is no CPU time of this process.
        best = ceilings.convolving(segmenter.device, segmenter.dtype, self.config.repeats)
        share = ceilings.flop(work) / best / usage.seconds
        name = f"{str(segmenter.dtype).removeprefix('torch.')} convolution"
        return replace(_result("network", usage, megapixels, 0, self.view.mpp), ceiling=name, share_of_ceiling=share)

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
        result = _result(stage, usage, megapixels, nuclei, self.view.mpp)
        return replace(result, ceiling=ceiling, share_of_ceiling=best_s / max(usage.cpu_seconds, 1e-9))


def _result(stage: str, usage: Usage, megapixels: float, nuclei: int, mpp: float) -> StageResult:
    return StageResult(
        stage=stage,
        megapixels=megapixels,
        nuclei=nuclei,
        seconds=usage.seconds,
        cpu_seconds=usage.cpu_seconds,
        mpx_per_s=megapixels / usage.seconds,
        seconds_per_mm2=usage.seconds / (megapixels * mpp**2),  # a megapixel of 1 um is 1 mm2
        cpu_seconds_per_mpx=usage.cpu_seconds / megapixels,
        peak_memory_bytes=usage.peak_memory_bytes,
        ceiling=None,
        share_of_ceiling=None,
    )


def _area(box: Box) -> int:
    return box.shape[0] * box.shape[1]
