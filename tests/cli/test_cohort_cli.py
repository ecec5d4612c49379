"""``wsinuc segment`` over tables and many slides: what is shown, what the exit code says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

import wsinuc.segmenters
from oracle import MPP, OracleSegmenter, plane, write_slide
from wsinuc.errors import SlideError
from wsinuc.workflows.cohort.events import SlideDone, SlideFailed, SlideProgress
from wsinuc.workflows.cohort.slide_list import SlideJob
from wsinuc.workflows.segment.events import BlockDone, Planned
from wsinuc_cli.cohort_progress import CohortBars
from wsinuc_cli.main import main


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
    again = wsinuc_in("segment", "slides.csv", "-o", "out", "--tissue", "none")
    assert again.exit_code == 0, again.output
    assert [line for line in again.stdout.splitlines() if line.endswith("done before")] == [
        "a.tiff: done before",
        "b.png: done before",
    ]
    assert wsinuc_in("status", "out").exit_code == 0


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
    for text in ("a.svs", "b.svs", "3/10", "1,234 nuclei", "all slides", "2/7", "1 failed"):
        assert text in screen
    assert "3/7" not in screen
