"""``wsinuc segment`` over tables and many slides: what is shown, what the exit code says."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

import wsinuc.segmenters
from helpers.oracle import MPP, OracleSegmenter, plane, write_slide
from wsinuc.config import SegmentConfig
from wsinuc.errors import SlideError
from wsinuc.workflows.cohort.events import SlideDone, SlideFailed, SlideProgress
from wsinuc.workflows.cohort.slide_list import SlideJob
from wsinuc.workflows.segment import run_times
from wsinuc.workflows.segment.events import BlockDone, Planned
from wsinuc.workflows.segment.run import plan_segment
from wsinuc.workflows.segment.run_times import read_run_times
from wsinuc_cli.main import main
from wsinuc_cli.progress.cohort import CohortBars, CohortLines, OneSlide
from wsinuc_cli.texts.duration import duration


@pytest.fixture
def wsinuc_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run ``wsinuc`` in a folder with the slide ``a.tiff`` and the image ``b.png``, with the oracle for a model."""
    write_slide(tmp_path / "a.tiff", (150, 150), levels=1)
    Image.fromarray(plane((150, 150))).save(tmp_path / "b.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", lambda model, *, device: OracleSegmenter())
    monkeypatch.setattr("wsinuc.segmenters.outline.outline_model", lambda model: OracleSegmenter())
    return lambda *args: CliRunner().invoke(main, [str(arg) for arg in args])


def test_a_table_gives_each_slide_its_settings_and_a_second_run_finds_all_done(wsinuc_in, tmp_path: Path) -> None:
    (tmp_path / "slides.csv").write_text(f"slide,mpp,name\na.tiff,,Case 1\nb.png,{MPP},Case 2\n")
    first = wsinuc_in("segment", "slides.csv", "-o", "out", "--tissue", "none")
    assert first.exit_code == 0, first.output
    assert sorted(path.name for path in Path("out").glob("?*.wsinuc")) == ["Case 1.wsinuc", "Case 2.wsinuc"]
    assert "summary.md" in first.stdout
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert re.findall('href="([^"]*)"', page) == [f"./Case%20{i}.wsinuc/report.html" for i in (1, 2)]
    again = wsinuc_in("segment", "slides.csv", "-o", "out", "--tissue", "none")
    assert again.exit_code == 0, again.output
    assert [line for line in again.stdout.splitlines() if line.endswith("done before")] == [
        "a.tiff: done before",
        "b.png: done before",
    ]
    assert wsinuc_in("status", "out").exit_code == 0


def test_reports_can_be_left_out(wsinuc_in) -> None:
    Path("slides.csv").write_text("slide\na.tiff\n")
    result = wsinuc_in("segment", "slides.csv", "-o", "out", "--tissue", "none", "--no-report")
    assert result.exit_code == 0, result.output
    assert "preview.png" in result.stdout
    assert "report.html" not in result.stdout
    assert not list(Path("out").rglob("report.html"))


def test_a_missing_resolution_is_said_at_once_and_status_remembers(wsinuc_in) -> None:
    result = wsinuc_in("segment", "b.png", "a.tiff", "-o", "out", "--tissue", "none", "-q")
    assert result.exit_code == 1
    assert "--mpp" in result.stderr.splitlines()[0]
    assert result.stderr.splitlines()[-1] == "error: 1 of 2 slides failed: b.png"
    status = wsinuc_in("status", "out")
    assert status.exit_code == 1
    assert "1 of 2 slides done, 1 failed" in status.stdout


def test_fail_fast_says_what_was_left(wsinuc_in) -> None:
    result = wsinuc_in("segment", "b.png", "a.tiff", "-o", "out", "--tissue", "none", "-q", "--fail-fast")
    assert result.exit_code == 1
    assert "stopped: 1 of 2 slides are not finished" in result.stderr
    assert not Path("out/a.wsinuc").exists()


def test_a_table_with_a_mistake_is_one_line(wsinuc_in, tmp_path: Path) -> None:
    (tmp_path / "slides.csv").write_text("slide,magnification\na.tiff,40\n")
    result = wsinuc_in("segment", "slides.csv")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "'magnification'; known are slide, mpp" in line


def test_a_dry_run_of_several_slides_writes_nothing(wsinuc_in, tmp_path: Path) -> None:
    result = wsinuc_in("segment", "b.png", "a.tiff", "-o", "out", "--tissue", "none", "--dry-run")
    assert result.exit_code == 1
    assert "a.wsinuc" in result.stdout
    assert not Path("out").exists()


def test_bars_show_slides_in_work_and_all_of_them(tmp_path: Path) -> None:
    first, second = SlideJob(slide=Path("a.svs")), SlideJob(slide=Path("b.svs"))
    plan = Planned(blocks=10, resumed=0, nuclei=0, plan=None)  # type: ignore[arg-type]
    with open(tmp_path / "screen", "w", encoding="utf-8") as file:
        console = Console(file=file, force_terminal=True, width=140)
        with CohortBars(7, console=console) as bars:
            for job in (first, second):
                bars(SlideProgress(job=job, event=plan))
            bars(SlideProgress(job=first, event=BlockDone(done=3, total=10, nuclei=1234, unreadable=0)))
            bars._progress.refresh()
            bars(SlideFailed(job=second, error=SlideError("gone"), again=True))
            bars(SlideDone(job=first, summary=None))
            bars(SlideFailed(job=second, error=SlideError("gone"), again=False))
            bars._progress.refresh()
    screen = (tmp_path / "screen").read_text(encoding="utf-8")
    for text in ("a ", "b ", "3/10", "1,234 nuclei", "all slides", "2/7", "1 failed"):
        assert text in screen
    assert "3/7" not in screen


def test_a_dry_run_tells_the_time_that_earlier_runs_took(wsinuc_in, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(run_times, "LEAST_S", 0.0)
    asked = ("segment", "a.tiff", "--tissue", "none", "--block", "128", "--dry-run")
    assert "  time       not known for this model" in wsinuc_in(*asked).stdout
    assert wsinuc_in("segment", "a.tiff", "-o", "out", "--tissue", "none", "--block", "128").exit_code == 0
    (kept,) = read_run_times(tmp_path / "cache" / "wsinuc" / "run-times.json")
    assert kept.tiles == plan_segment("a.tiff", "x", SegmentConfig(tissue="none", block=128), OracleSegmenter()).tiles
    assert 0 < kept.startup_s < kept.seconds
    told = wsinuc_in(*asked).stdout
    assert f"  time       about {duration(kept.seconds)}, at " in told
    assert "as in 1 run with this model and these workers here" in told
    assert "not known" in wsinuc_in(*asked, "--threads", "3").stdout
    shutil.copy("a.tiff", "c.tiff")
    several = wsinuc_in("segment", "a.tiff", "c.tiff", "--tissue", "none", "--block", "128", "--dry-run").stdout
    both = run_times.pace_of([kept], kept.conditions)
    assert several.splitlines()[-1].startswith(f"all 2 slides: about {duration(both.seconds(2 * kept.tiles))}")


def test_slides_are_named_as_the_table_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = SlideJob(slide=Path("a.svs"), name="Case 1")
    plan = Planned(blocks=10, resumed=0, nuclei=0, plan=None)  # type: ignore[arg-type]
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with CohortBars(7, console=console) as bars:
        bars(SlideProgress(job=job, event=plan))
        bars._progress.refresh()
    lines = console.file.getvalue().replace("\r", "\n").splitlines()  # type: ignore[attr-defined]
    row = next(line for line in reversed(lines) if "0/10" in line)
    assert row.startswith("Case 1 ")
    assert "a.svs" not in row
    assert "elapsed 0:00:0" in row
    assert "left" in row
    for reporter in (CohortLines(), OneSlide(quiet=False, verbose=True)):
        reporter(SlideProgress(job=job, event=plan))
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["Case 1", "Case 1"]
