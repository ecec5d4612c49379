"""The command line: quick help, one line per error, the right exit code, and a result where it was said to be."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

import wsinuc.segmenters
from helpers.oracle import MPP, OracleSegmenter, plane, write_slide
from wsinuc.errors import DeviceError
from wsinuc.exports.qupath.geojson import write_geojson
from wsinuc.workflows.segment import run as task
from wsinuc.workflows.segment.events import BlockDone, Planned, StageStarted
from wsinuc_cli.failure import describe_error
from wsinuc_cli.main import COMMANDS, main
from wsinuc_cli.progress import slide as progress
from wsinuc_cli.texts.duration import duration

PATIENCE_S = 240.0
"""For what takes a moment on a machine that has nothing else to do."""
SOURCES = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "zarr", "dask", "pyarrow", "shapely", "numba", "PIL", "rich")


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "plane.tiff", (600, 500), levels=1)


def python(code: str, **kwargs: object) -> subprocess.Popen:
    """A fresh interpreter that finds this checkout and its tests."""
    path = os.pathsep.join(str(SOURCES / folder) for folder in (".", "cli", "tests"))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,  # type: ignore[call-overload]
    )


def error_line(result: Result) -> str:
    """The one line of a failure."""
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["segment", "--help"], ["check", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
        import sys
        from wsinuc_cli.main import main
        main({arguments!r}, standalone_mode=False)
        print([name for name in {HEAVY!r} if name in sys.modules])
    """
    out, err = python(code).communicate(timeout=PATIENCE_S)
    assert out.splitlines()[-1] == "[]", err


def test_help_lists_the_table() -> None:
    out = CliRunner().invoke(main, ["--help"]).output
    assert all(f"  {name} " in out and line in out for name, line in COMMANDS.items())


def test_a_mistyped_command_names_the_nearest() -> None:
    result = CliRunner().invoke(main, ["segmnt", "slide.svs"])
    assert result.exit_code == 2
    assert "No such command 'segmnt'. Did you mean 'segment'?" in result.stderr
    assert "Did you mean" not in CliRunner().invoke(main, ["qqqq"]).stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, click.Command)
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_segment_writes_the_result_and_says_what_to_do(wsinuc_in, slide: Path, tmp_path: Path) -> None:
    result = wsinuc_in("segment", slide, "--tissue", "none", "--block", 256)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "plane.wsinuc"
    count = json.loads((folder / "summary.json").read_text())["nuclei"]
    assert count > 100
    assert f"{count:,} nuclei" in result.stdout
    for text in ("preview.png", "QuPath", "nuclei.geojson", "napari", "wsinuc.read("):
        assert text in result.stdout
    assert "6 of 6 blocks" in result.stderr
    checked = wsinuc_in("check", folder / "nuclei.geojson")
    assert checked.exit_code == 0
    assert f"{count:,} objects" in checked.stdout


def test_output_folder_and_several_slides(wsinuc_in, slide: Path, tmp_path: Path) -> None:
    other = write_slide(tmp_path / "other.tiff", (200, 200), levels=1, seed=1)
    result = wsinuc_in("segment", slide, other, "-o", tmp_path / "out" / "deep", "--tissue", "none", "-q")
    assert result.exit_code == 0
    assert result.output == ""
    names = sorted(p.name for p in (tmp_path / "out" / "deep").iterdir())
    assert names == [".wsinuc", "other.wsinuc", "plane.wsinuc", "report.html", "summary.csv", "summary.md"]


def test_an_image_with_mpp(wsinuc_in, tmp_path: Path) -> None:
    Image.fromarray(plane((200, 300))).save(tmp_path / "image.png")
    assert "--mpp" in error_line(wsinuc_in("segment", tmp_path / "image.png"))
    result = wsinuc_in("segment", tmp_path / "image.png", "--mpp", MPP, "--tissue", "none")
    assert result.exit_code == 0, result.output


def test_dry_run_prints_the_plan_and_writes_nothing(wsinuc_in, slide: Path, tmp_path: Path) -> None:
    result = wsinuc_in("segment", slide, "--dry-run", "--tissue", "none", "--block", 256)
    assert result.exit_code == 0, result.output
    for text in ("6 of 6", "level 0", "500 x 600", "memory", "disk", "plane.wsinuc", "(100%)"):
        assert text in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_one_bad_slide_does_not_stop_the_others(wsinuc_in, slide: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.svs").write_text("no slide")
    result = wsinuc_in("segment", tmp_path / "bad.svs", slide, tmp_path / "none.svs", "--tissue", "none", "-q")
    assert result.exit_code == 1
    assert (tmp_path / "plane.wsinuc" / "summary.json").is_file()
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: ") for line in lines)
    assert "bad.svs" in lines[0]
    assert "no such file" in lines[1]
    assert lines[2].startswith("error: 2 of 3 slides failed: ")


def test_a_crash_in_one_slide_does_not_stop_the_others(
    wsinuc_in, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_slide(tmp_path / "other.tiff", (200, 200), levels=1)
    real = task.segment_slide

    def sometimes(path: Path, *args: object, **kwargs: object) -> object:
        if path == other:
            raise RuntimeError("two\nlines")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(task, "segment_slide", sometimes)
    result = wsinuc_in("segment", other, slide, "--tissue", "none", "-q")
    assert result.exit_code == 1
    assert (tmp_path / "plane.wsinuc").is_dir()
    assert "unexpected RuntimeError: two lines (run with -v" in result.stderr.splitlines()[0]


def test_missing_file(wsinuc_in) -> None:
    assert "no such file" in error_line(wsinuc_in("segment", "none.svs"))


def test_not_a_slide(wsinuc_in, tmp_path: Path) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    assert "text.svs" in error_line(wsinuc_in("segment", "text.svs"))
    assert "text.svs" in error_line(wsinuc_in("info", "text.svs"))
    assert [p.name for p in tmp_path.iterdir()] == ["text.svs"]


def test_a_cut_off_slide_is_one_line(tmp_path: Path) -> None:
    """The real slide without its end, in a process of its own: whatever libraries print counts, too."""
    example = Path(__file__).parents[2] / "examples" / "data" / "CMU-1-Small-Region.svs"
    (tmp_path / "cut.svs").write_bytes(example.read_bytes()[:900_000])
    process = python("from wsinuc_cli.main import main; main(['segment', 'cut.svs'])", cwd=tmp_path)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert err.startswith("error: cut.svs: ")
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cut.svs"]


@pytest.mark.parametrize("mpp", ["0", "-1", "0.01", "250"])
def test_absurd_mpp(wsinuc_in, slide: Path, tmp_path: Path, mpp: str) -> None:
    assert "mpp" in error_line(wsinuc_in("segment", slide, "--mpp", mpp))
    assert list(tmp_path.iterdir()) == []


def test_existing_output(wsinuc_in, slide: Path, tmp_path: Path) -> None:
    assert wsinuc_in("segment", slide, "--tissue", "none", "-q").exit_code == 0
    assert "--overwrite" in error_line(wsinuc_in("segment", slide, "--tissue", "none", "-q"))
    assert wsinuc_in("segment", slide, "--tissue", "none", "-q", "--overwrite").exit_code == 0


def test_output_that_cannot_be_written(wsinuc_in, slide: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error_line(wsinuc_in("segment", slide, "-o", tmp_path / "file", "--tissue", "none", "-q"))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("arguments", [["--block", "100"], ["--batch-size", "-1"]])
def test_settings_out_of_range(wsinuc_in, slide: Path, arguments: list[str]) -> None:
    assert arguments[0].lstrip("-").replace("-", "_") in error_line(wsinuc_in("segment", slide, *arguments))


def test_device_and_model_reach_the_loader(wsinuc_in, slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(model: str, *, device: str) -> OracleSegmenter:
        raise DeviceError(f"no {device} here for {model}")

    monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", load)
    line = error_line(wsinuc_in("segment", slide, "--device", "cuda:7", "--model", "mine"))
    assert line == "error: no cuda:7 here for mine"


def test_unexpected_errors_are_one_line_and_a_traceback_with_v(
    wsinuc_in, slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(model: str, *, device: str) -> OracleSegmenter:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", load)
    assert "unexpected ZeroDivisionError: surprise (run with -v" in error_line(wsinuc_in("segment", slide))
    result = wsinuc_in("segment", slide, "-v")
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1] == "error: unexpected ZeroDivisionError: surprise"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a.csv"), "a.csv: Permission denied: choose a place that"),
        (OSError(errno.ENOSPC, "No space left on device"), "a file: No space left on device: free some space, or"),
    ],
)
def test_what_a_disk_refuses_is_nothing_to_report(error: OSError, line: str) -> None:
    assert describe_error(error).startswith(line)
    assert describe_error(OSError(errno.EIO, "Input/output error")).startswith("unexpected OSError")


def test_slides_of_one_name_are_refused_before_anything_is_done(wsinuc_in, slide: Path, tmp_path: Path) -> None:
    line = error_line(wsinuc_in("segment", slide, tmp_path / "elsewhere" / "plane.svs"))
    assert "plane.wsinuc" in line


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_ctrl_c_exits_with_130_and_the_same_command_continues(wsinuc_in, slide: Path, tmp_path: Path) -> None:
    code = f"""
        import signal
        import wsinuc.segmenters
        from helpers.oracle import OracleSegmenter
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored when the tests run as a background job
        wsinuc.segmenters.load_segmenter = lambda model, device: OracleSegmenter(delay=0.2)
        from wsinuc_cli.main import main
        main(["segment", {str(slide)!r}, "--tissue", "none", "--block", "256", "--threads", "1"])
    """
    process = python(code, cwd=tmp_path)
    ledger = tmp_path / "plane.wsinuc"
    end = time.monotonic() + PATIENCE_S
    while not list(ledger.rglob("*.parquet")) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted; run the same command again to continue"
    assert "Traceback" not in err
    again = wsinuc_in("segment", slide, "--tissue", "none", "--block", 256, "--threads", 1)
    assert again.exit_code == 0, again.output
    assert "done before" in again.stderr
    assert "nuclei on" in again.stdout


def test_info_as_text_and_json(wsinuc_in, slide: Path) -> None:
    text = wsinuc_in("info", slide)
    assert text.exit_code == 0, text.output
    assert "500 x 600 pixels" in text.stdout
    found = json.loads(wsinuc_in("info", slide, "--json").stdout)
    assert found["levels"][0]["shape"] == [600, 500]
    assert found["mpp"] == pytest.approx(MPP)


def test_info_of_a_model_by_name_or_file(wsinuc_in, tmp_path: Path) -> None:
    by_name = wsinuc_in("info", "breast")
    assert by_name.exit_code == 0, by_name.output
    assert "Lymphocyte, Epithelial, Stromal" in by_name.stdout
    file = by_name.stdout.splitlines()[0]
    assert wsinuc_in("info", file).stdout == by_name.stdout
    assert json.loads(wsinuc_in("info", file, "--json").stdout)["base"] == "fast"
    absent = wsinuc_in("info", tmp_path / "absent.safetensors")
    assert absent.exit_code == 1
    assert "no weights at" in absent.stderr


def test_check_exits_with_1_for_what_qupath_refuses(wsinuc_in, tmp_path: Path) -> None:
    cases = Path(__file__).parents[1] / "qupath_cases"
    bad = wsinuc_in("check", cases / "49_poly_selfint.geojson")
    assert bad.exit_code == 1
    assert "0.6.0, 0.7.0 will refuse the whole file" in bad.stdout
    assert wsinuc_in("check", cases / "golden.geojson").exit_code == 0
    lost = wsinuc_in("check", cases / "08_two.zip")
    assert lost.exit_code == 1
    assert "silently" in lost.stdout
    assert "no such file" in error_line(wsinuc_in("check", "none.geojson"))
    write_geojson([], tmp_path / "empty.geojson", run_id="r")
    assert "no objects" in wsinuc_in("check", "empty.geojson").stdout


def planned(blocks: int, resumed: int) -> Planned:
    return Planned(blocks=blocks, resumed=resumed, nuclei=7 * resumed, plan=None)  # type: ignore[arg-type]


def done(number: int, total: int) -> BlockDone:
    return BlockDone(done=number, total=total, nuclei=7 * number, unreadable=0)


def test_plain_lines_come_every_few_seconds_and_tell_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = progress.Lines("a.svs", clock=lambda: now[0])
    lines(planned(100, resumed=20))
    for number in range(21, 101):
        now[0] += 1.0
        lines(done(number, 100))
    lines(StageStarted(name="labels"))
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "a.svs: 100 blocks with tissue, 20 done before (140 nuclei)"
    assert shown[1] == "a.svs: 25 of 100 blocks, 175 nuclei, about 75 s left"
    assert len(shown) == 1 + 80 / progress.EVERY_S + 1
    assert shown[-1] == "a.svs: writing the label image"


def test_bar_shows_blocks_nuclei_and_time(tmp_path: Path) -> None:
    with open(tmp_path / "screen", "w", encoding="utf-8") as file:
        console = Console(file=file, force_terminal=True, width=120)
        with progress.Bar("a.svs", console=console) as bar:
            bar(planned(10, resumed=2))
            bar(done(3, 10))
            bar._progress.refresh()
    screen = (tmp_path / "screen").read_text(encoding="utf-8")
    assert "3/10" in screen
    assert "21 nuclei" in screen


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.reporter("a.svs", quiet=True, verbose=False) as show:
        show(planned(1, resumed=0))
        show(done(1, 1))
    assert capsys.readouterr() == ("", "")


def test_durations() -> None:
    assert [duration(s) for s in (0.2, 42.4, 200, 7300)] == ["0 s", "42 s", "3 min", "2.0 h"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2", "--scheduler", "tcp://a:1"], "--workers and --scheduler name different workers"),
        (["--scheduler", "tcp://a:1", "--scheduler-file", "f"], "name different workers"),
        (["--memory-limit", "4GB"], "--memory-limit goes with --workers or --gpus"),
        (
            ["--tls-cert", "c", "--workers", "2"],
            "--tls-cert goes with --scheduler or --scheduler-file, not with --workers",
        ),
        (
            ["--scheduler", "tcp://a:1", "--threads", "2"],
            "--threads goes with --workers or --gpus, not with --scheduler",
        ),
        (["--scheduler", "tls://a:1", "--tls-cert", "c"], "missing: tls_ca_file, tls_key"),
        (["--threads", "0"], "'--threads': 0 is not in the range"),
    ],
)
def test_contradictory_places_to_work_are_wrong_usage(
    wsinuc_in: Callable[..., Result], options: list[str], message: str
) -> None:
    result = wsinuc_in("segment", "slide.tiff", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_a_dry_run_sees_an_output_that_is_a_file_or_a_result(wsinuc_in, slide: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"something")
    (tmp_path / "old.wsinuc").mkdir()
    (tmp_path / "old.wsinuc" / "summary.json").write_text("{}")
    words = ["segment", slide, "--tissue", "none", "--dry-run", "-o"]
    assert "it is no folder" in error_line(wsinuc_in(*words, "file"))
    assert "lies in the result old.wsinuc" in error_line(wsinuc_in(*words, "old.wsinuc"))
    assert "is named twice: name it once" in error_line(wsinuc_in(*words, ".", slide))
