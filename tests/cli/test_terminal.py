"""Names and texts from files cannot steer a terminal, and odd names of files work or are refused at once."""

from __future__ import annotations

import ast
import csv
import io
import json
import logging
import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from helpers.oracle import write_slide
from wsinuc.shown import shown
from wsinuc_cli.options.common import start_logging
from wsinuc_cli.progress import cohort as cohort_progress
from wsinuc_cli.progress import slide as progress
from wsinuc_cli.progress.bars import live_bars
from wsinuc_cli.terminal import echo

CLI = Path(__file__).parents[2] / "cli" / "wsinuc_cli"
STEERING = "\x1b[2J\x1b]0;owned\x07\rdone\x9b31m\u202e\u2066\x7f\u2028"
NAMES = [
    b"sl\xffide.tiff",
    b"a\nb.tiff",
    b"-o.tiff",
    b"q'\"`$uote.tiff",
    b"sp  ace .tiff",
    "emo\U0001f600ji\u200d.tiff".encode(),
    b"%s%n{0}.tiff",
    b"dots...",
    b"[red]x[.tiff",
    b"esc\x1b[31m\r.tiff",
    "rtl\u202eabc.tiff".encode(),
    b"=1+1,|x;\\.tiff",
]
LONGEST = 242
"""Bytes of the longest stem: its state while it is written is <stem>.json.partial."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("source") / "source.tiff", (200, 200), levels=1)


def named(name: bytes, source: Path, folder: Path) -> Path:
    path = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))
    shutil.copy(source, path)
    return path


def is_harmless(text: str) -> bool:
    return all(
        unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text if char not in "\n\u200d"
    )


class TestShown:
    @given(st.text(st.characters(exclude_categories=())))
    def test_nothing_is_left_that_a_terminal_obeys(self, text: str):
        found = shown(text)
        assert is_harmless(found.replace("\u200c", ""))
        assert "\n" not in found
        found.encode()
        assert shown(found) == found

    @given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs", "M"))))
    def test_what_can_be_shown_stays(self, text: str):
        assert shown(text) == text

    def test_a_byte_that_is_no_utf8_is_shown_as_that_byte(self):
        assert shown(os.fsdecode(b"sl\xffide\xc3\xa9")) == "sl\\xffide\u00e9"


def test_everything_is_printed_through_one_place():
    """No command prints by itself, makes a console of its own or a column that takes names for instructions."""
    for path in CLI.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        for call in calls:
            name = ast.unparse(call.func)
            if path.name != "terminal.py":
                assert name not in ("click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write"), path
            if name == "TextColumn":
                assert "markup" in [keyword.arg for keyword in call.keywords], path


class TestOutput:
    def hostile_files(self, folder: Path) -> list[Path]:
        slide = folder / f"{STEERING}.svs"
        slide.write_bytes(b"no slide")
        geojson = folder / "objects.geojson"
        feature = {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": "a\x1b[2J\u202e", "color": [1, 2, 3]},
            },
        }
        geojson.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
        table = folder / "table.csv"
        table.write_text(f"slide,{STEERING}\na.svs,1\n", encoding="utf-8")
        return [slide, geojson, table]

    def test_of_every_command_that_quotes_files(self, wsinuc_in, tmp_path: Path):
        slide, geojson, table = self.hostile_files(tmp_path)
        runs = {
            "segment": wsinuc_in("segment", slide),
            "segment several": wsinuc_in("segment", slide, table.with_name("none.svs")),
            "segment table": wsinuc_in("segment", table),
            "dry run": wsinuc_in("segment", "--dry-run", slide),
            "info": wsinuc_in("info", slide),
            "check": wsinuc_in("check", geojson),
            "status": wsinuc_in("status", tmp_path),
            "data": wsinuc_in("data", "info", slide),
            "model": wsinuc_in("segment", table.with_name("a.svs"), "--model", STEERING),
            "usage": wsinuc_in("segment", f"--{STEERING}"),
            "command": wsinuc_in(STEERING),
            "choice": wsinuc_in("info", slide, "--reader", STEERING),
        }
        for name, result in runs.items():
            assert is_harmless(result.output), (name, result.output)
            assert result.exception is None or isinstance(result.exception, SystemExit), name
        assert "\\x1b[2J" in runs["info"].stderr
        assert "\\u202e" in runs["check"].stdout

    def test_of_logs_and_tracebacks(self, wsinuc_in, capsys: pytest.CaptureFixture[str]):
        start_logging(verbose=True)
        try:
            raise ValueError(STEERING)
        except ValueError:
            logging.getLogger("wsinuc.test").warning("read %s", STEERING, exc_info=True)
        said = capsys.readouterr().err
        assert is_harmless(said)
        assert "ValueError: \\x1b[2J" in said
        start_logging()

    def test_of_live_bars(self):
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            console = Console(file=nowhere, force_terminal=True, record=True)
            bars = live_bars(console)
            bars.add_task("[/nothing]", name=shown(f"[/]{STEERING}"), total=1)
            console.print(bars)
        text = console.export_text()
        assert "[/]\\x1b[2J" in text
        assert "[/nothing]" in text
        for module in (progress, cohort_progress):
            source = Path(module.__file__).read_text()
            assert "name=shown(" in source

    @pytest.mark.parametrize("err", [False, True])
    def test_lines_stand_above_live_bars(self, err: bool):
        screen = io.StringIO()
        with live_bars(Console(file=screen, force_terminal=True, color_system=None)) as bars:
            bars.add_task("blocks", name="slide", total=2)
            bars.refresh()
            start_logging()
            echo("a result", err=err)
            logging.getLogger("wsinuc.test").warning("a warning")
        lines = screen.getvalue().replace("\r", "\n").replace("\x1b[2K", "").splitlines()
        assert "a result" in lines
        assert "a warning" in lines


class TestFileNames:
    @pytest.mark.slow
    def test_odd_names_work_to_the_end(self, wsinuc_in, source: Path, tmp_path: Path):
        slides = [source, *(named(name, source, tmp_path) for name in NAMES)]
        out = tmp_path / "out"
        result = wsinuc_in("segment", "-o", out, "--tissue", "none", "--", *slides)
        assert result.exit_code == 0, result.output
        assert is_harmless(result.output)
        found = [json.loads((out / f"{slide.stem}.wsinuc" / "summary.json").read_text()) for slide in slides]
        assert [Path(each["slide"]) for each in found] == slides
        assert {each["nuclei"] for each in found} == {found[0]["nuclei"]}
        assert all((out / f"{slide.stem}.wsinuc" / "nuclei.geojson").stat().st_size for slide in slides)
        with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
            assert [row["state"] for row in csv.DictReader(file)] == ["done"] * len(slides)
        assert len((out / "summary.md").read_text(encoding="utf-8").splitlines()) == len(slides) + 8
        status = wsinuc_in("status", out)
        assert status.exit_code == 0
        assert is_harmless(status.stdout)
        assert len(status.stdout.splitlines()) == len(slides) + 2
        again = wsinuc_in("segment", "-o", out, "--tissue", "none", "--", *slides)
        assert again.stdout.count("done before") == len(slides)

    def test_json_of_an_odd_name_gives_it_back(self, wsinuc_in, source: Path, tmp_path: Path):
        slide = named(NAMES[0], source, tmp_path)
        assert json.loads(wsinuc_in("info", "--json", slide).stdout)["path"] == str(slide)

    def test_the_longest_name_works_and_a_longer_one_is_refused_at_once(self, wsinuc_in, source: Path, tmp_path: Path):
        longest = named(b"x" * LONGEST + b".tiff", source, tmp_path)
        assert wsinuc_in("segment", "-o", tmp_path / "out", "--tissue", "none", longest, source).exit_code == 0
        longer = named(b"x" * 250 + b".tiff", source, tmp_path)
        result: Result = wsinuc_in("segment", "-o", tmp_path / "other", "--tissue", "none", longer, source)
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert "the name of its result would be too long (250 bytes without the ending, at most 242)" in line
        assert not (tmp_path / "other").exists()
        table = tmp_path / "table.csv"
        table.write_text(f"slide,name\n{longer.name},short\n")
        assert wsinuc_in("segment", "-o", tmp_path / "other", "--tissue", "none", table).exit_code == 0
        assert (tmp_path / "other" / "short.wsinuc").is_dir()
