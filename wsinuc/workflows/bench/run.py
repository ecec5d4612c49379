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
from pathlib import Path

import wsinuc
from wsinuc.config import SegmentConfig
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.workflows.bench.config import BenchConfig
from wsinuc.workflows.bench.meter import metered
from wsinuc.workflows.bench.report import BenchReport, StageResult, stage_result
from wsinuc.workflows.bench.stages import BlockStages
from wsinuc.workflows.bench.synthetic_slide import write_synthetic_slide
from wsinuc.workflows.segment.plan import Prepared, prepare
from wsinuc.workflows.segment.run import Summary, segment_slide


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
    bench = BlockStages(config, prepared, folder)
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
    return summary, stage_result("all", usage, megapixels, summary.nuclei, prepared.view.mpp)


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
