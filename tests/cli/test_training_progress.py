"""How a training shows its progress: bars on a terminal, the plain lines elsewhere, and a log."""

from __future__ import annotations

import io
import re
from pathlib import Path

import click
import pytest
from rich.console import Console

from wsinuc.errors import OutputError
from wsinuc.models.training.loop import Progress
from wsinuc.progress_line import ProgressLine
from wsinuc_cli.main import main
from wsinuc_cli.progress.bars import live_bars, training_bars
from wsinuc_cli.progress.training import TrainingBars, telling, training_reports

WIDTH = 100


def report(step: int, loss: float = 0.125, *, stage: str = "hovernet", total: int = 400) -> ProgressLine:
    return Progress(step, loss, 1e-3, 12.0).line(stage, total)


@pytest.fixture
def screen() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=WIDTH, color_system=None, legacy_windows=False)


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown_by(bars: TrainingBars, screen: Console) -> list[str]:
    """The rows as they stand now."""
    with screen.capture() as capture:
        screen.print(bars._progress.get_renderable())
    return [line.rstrip() for line in capture.get().splitlines() if line.strip()]


def test_a_bar_has_stage_steps_loss_and_labelled_times(screen: Console) -> None:
    clock = Clock()
    bars = TrainingBars(screen, clock)
    for step in (50, 100, 150):
        clock.now += 120
        bars(report(step, loss=1 / step))
    (row,) = shown_by(bars, screen)
    # 50 steps take two minutes, and 250 are left.
    assert re.fullmatch(r"hovernet +\S+ +150/400 steps +loss 0\.0067 +elapsed +0:06:00 +left +0:10:00", row)
    assert len(row) <= WIDTH


def test_what_an_interrupted_run_did_makes_it_no_faster(screen: Console) -> None:
    clock = Clock()
    bars = TrainingBars(screen, clock)
    bars(report(300))
    clock.now += 60
    bars(report(310))
    assert "left 0:09:00" in shown_by(bars, screen)[0]


def test_before_the_first_report_there_is_a_bar_without_an_end(screen: Console) -> None:
    bars = TrainingBars(screen)
    assert shown_by(bars, screen)[0].startswith("starting")
    bars(report(50))
    assert all("starting" not in row for row in shown_by(bars, screen))


def test_each_stage_has_a_row_also_when_it_begins_anew(screen: Console) -> None:
    bars = TrainingBars(screen)
    for line in (report(400, stage="features"), report(200), report(400), report(50)):
        bars(line)
    assert [row.split()[0] for row in shown_by(bars, screen)] == ["features", "hovernet", "hovernet"]


def test_other_lines_are_printed_above_the_bars(screen: Console) -> None:
    with TrainingBars(screen) as bars:
        bars(report(50))
        bars("hovernet: step 50  validation AJI 0.6, the best so far")
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("the best so far") == 1
    assert "hovernet: step 50  loss" not in text


def test_without_a_terminal_every_line_is_printed_and_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with telling() as tell:
        tell(report(50))
        tell(ProgressLine("", stage="sweep", unit="choices", done=1, total=3))
        tell("a note")
    said = capsys.readouterr()
    assert said.out.splitlines() == ["hovernet: step 50  loss 0.1250  12 s", "a note"]
    assert said.err == ""


def test_the_log_has_a_line_per_report_whatever_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "training.log"
    for bars in (False, True):
        with telling(log, bars=bars) as tell:
            tell(report(50))
            tell("odd\x1b[2J")
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["hovernet: step 50  loss 0.1250  12 s", "odd\\x1b[2J"] * 2
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}  ", line) for line in lines)


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"), telling(tmp_path / "no/log"):
        pass


def test_reports_of_a_diffusion_model_are_the_lines_they_were() -> None:
    told: list[str] = []
    training_reports(told.append, "ddpm", 200)(Progress(50, 0.1, 1e-4, 75.0, 400, 5.3, 0.2))
    assert told == ["       400 images  loss 0.1000  held out 0.2000     5.3 images/s      75 s"]
    (line,) = told
    assert isinstance(line, ProgressLine)
    assert (line.stage, line.done, line.total, line.unit, line.loss) == ("ddpm", 50, 200, "steps", 0.1)


@pytest.mark.parametrize("name", ["pretrain", "train", "classify", "join", "distill", "sweep", "synthesize"])
def test_every_training_keeps_a_log_if_wanted(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert "log" in {option.name for option in command.params}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_slide_is_named_in_full_and_time_is_left_however_slow_its_blocks(width: int) -> None:
    """Rich forgets speed after half a minute; a block of a large model takes longer."""
    clock = Clock()
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    bars = live_bars(console)
    bars.get_time = clock
    name = "TCGA-A1-A0SB-01Z-00-DX1.B34C267B-CAAA-4AB6-AD5C-276C26F997A1"
    row = bars.add_task("12,345 nuclei", name=name, total=10)
    for done in (1, 2, 3):
        clock.now += 100
        bars.update(row, completed=done)
    with console.capture() as capture:
        console.print(bars.get_renderable())
    lines = capture.get().splitlines()
    assert name in "".join(line.split(" ")[0] for line in lines)
    assert "elapsed 0:05:00 left 0:11:40" in lines[0] or width < 80
    assert max(map(len, lines)) <= width


def test_training_bars_stay_when_the_training_is_over(screen: Console) -> None:
    assert not training_bars(screen).live.transient
