"""The benchmark measures every stage on what the pipeline really hands to it, and its meter counts what was spent."""

from __future__ import annotations

import dataclasses
import json
import mmap
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from helpers.oracle import OracleSegmenter, write_slide
from wsinuc.errors import CheckpointError, ConfigError, DataError
from wsinuc.workflows.bench.config import STAGES, BenchConfig
from wsinuc.workflows.bench.meter import metered, typical
from wsinuc.workflows.bench.report import BenchReport
from wsinuc.workflows.bench.run import run_bench
from wsinuc_cli.commands.bench import bench, describe


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> BenchReport:
    slide = write_slide(tmp_path_factory.mktemp("slides") / "plane.tiff", (500, 600), levels=1)
    return run_bench(BenchConfig(slide=slide, tissue="none", block=256, repeats=1), segmenter=OracleSegmenter())


def test_every_stage_is_measured(report: BenchReport) -> None:
    assert [stage.stage for stage in report.stages] == list(STAGES)
    for stage in report.stages:
        assert stage.seconds > 0
        assert stage.mpx_per_s == pytest.approx(stage.megapixels / stage.seconds)
        assert stage.seconds_per_mm2 == pytest.approx(stage.seconds / (stage.megapixels * report.mpp**2))
        assert stage.peak_memory_bytes > 50e6
    assert report.end_to_end_over_network > 1
    assert 0 < report.network_busy < 1


def test_shares_of_ceilings_are_shares(report: BenchReport) -> None:
    shares = {stage.stage: stage.share_of_ceiling for stage in report.stages if stage.ceiling}
    assert set(shares) == {"read", "separate", "measure", "render", "export"}, "the oracle has no network"
    assert all(0 < share < 20 for share in shares.values()), "a block this small is timed with large errors"


def test_whole_run_covers_the_slide(report: BenchReport) -> None:
    whole = report.stages[-1]
    assert whole.megapixels == pytest.approx(500 * 600 / 1e6, rel=0.01)
    assert whole.nuclei > 200


def test_report_is_json_and_a_table(report: BenchReport) -> None:
    assert json.loads(json.dumps(dataclasses.asdict(report)))["slide_shape"] == [500, 600]
    table = describe(report)
    assert all(name in table for name in STAGES)
    assert "model default" in table
    assert "2 blocks of 256 px at once" in table


def test_only_the_stages_that_were_asked_for(tmp_path: Path) -> None:
    told: list[str] = []
    slide = write_slide(tmp_path / "plane.tiff", (300, 300), levels=1)
    config = BenchConfig(slide=slide, tissue="none", block=256, repeats=1, stages=("measure",))
    found = run_bench(config, segmenter=OracleSegmenter(), on_stage=told.append)
    assert [stage.stage for stage in found.stages] == ["measure"]
    assert found.network_busy is None
    assert told == ["prepare", "measure"]


def test_what_cannot_be_measured_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"separate": {"stages": ("reed",)}, "multiple of 64": {"block": 100}, "256 pixels": {"width": 10}}
    for said, settings in wrong.items():
        with pytest.raises(ConfigError, match=said):
            BenchConfig(**settings)
    with monkeypatch.context() as patch:
        patch.setattr("wsinuc.workflows.bench.run.write_synthetic_slide", None)  # the model is looked for first
        with pytest.raises(CheckpointError, match="nope"):
            run_bench(BenchConfig(model="nope"))
    slide, glass = tmp_path / "glass.tiff", np.full((300, 300, 3), 255, np.uint8)
    tifffile.imwrite(slide, glass, tile=(256, 256), resolution=(20_000, 20_000), resolutionunit="CENTIMETER")
    with pytest.raises(DataError, match="no nuclei"):
        run_bench(BenchConfig(slide=slide, tissue="none", block=256, stages=("read",)), segmenter=OracleSegmenter())


def test_the_command_writes_json_after_the_table(
    report: BenchReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsinuc.workflows.bench.run.run_bench", lambda config, on_stage: report)
    result = CliRunner().invoke(bench, ["--json", str(tmp_path / "bench.json")])
    assert (result.exit_code, result.stdout) == (0, describe(report) + "\n")
    assert json.loads((tmp_path / "bench.json").read_text())["model"] == "default"
    refused = CliRunner().invoke(bench, ["--json", str(tmp_path / "none" / "bench.json")])
    assert refused.exit_code == 2
    assert "there is no folder" in refused.output


@pytest.mark.parametrize("size", ["100", "10x", "axb", "10x-3"])
def test_sizes_that_are_none(size: str) -> None:
    result = CliRunner().invoke(bench, ["--size", size])
    assert result.exit_code == 2
    assert "WIDTHxHEIGHT" in result.output


def test_meter_counts_memory_and_cpu() -> None:
    def work() -> tuple[int, float]:
        begin = time.process_time()
        # Mapped by itself: the heap may have as much to spare from earlier work.
        held = mmap.mmap(-1, 100_000_000)
        held.write(bytes(len(held)))
        while time.process_time() < begin + 0.3:
            pass
        return len(held), time.process_time() - begin

    (size, spent), usage = metered(work, interval_s=0.01)
    idle = metered(lambda: time.sleep(0.1))[1]
    assert size == 100_000_000
    assert spent / 2 < usage.cpu_seconds < spent + 0.05, "but for the sampling, which is the meter's own"
    assert usage.peak_memory_bytes - idle.peak_memory_bytes > 60e6
    assert idle.cpu_seconds < 0.1


def test_meter_counts_child_processes() -> None:
    code = "import time; held = bytearray(100_000_000)\nwhile time.process_time() < 0.5: pass"
    before = metered(lambda: None)[1]
    usage = metered(lambda: subprocess.run([sys.executable, "-c", code], check=True), interval_s=0.02)[1]
    assert usage.cpu_seconds >= 0.4
    assert usage.peak_memory_bytes - before.peak_memory_bytes > 90e6


def test_typical_is_the_median() -> None:
    pauses = iter([0.0, 0.3, 0.02, 0.02])
    assert typical(lambda: time.sleep(next(pauses)), 3).seconds < 0.3
