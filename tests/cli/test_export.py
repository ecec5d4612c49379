"""``wsinuc export``: what is written, what is said, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wsinuc_cli.main import main


@pytest.fixture
def results(reference: Path, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(reference, tmp_path / f"{name}.wsinuc")) for name in "ab"]


def export(*words: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, words)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".wsinuc")


def test_several_results_in_several_formats(results: list[Path], tmp_path: Path) -> None:
    shown = export(*results, "--to", "csv, geoparquet")
    assert shown.exit_code == 0
    files = ["a.nuclei.csv", "a.nuclei.parquet", "b.nuclei.csv", "b.nuclei.parquet"]
    assert names(tmp_path) == files
    assert shown.stdout.splitlines()[0] == f"{results[0]}: {tmp_path / files[0]}"
    again = export(results[0], "--to", "csv")
    assert again.exit_code == 1
    assert again.stderr.startswith(f"error: {tmp_path / files[0]} is there already: add --overwrite")
    (tmp_path / "a.nuclei.parquet").unlink()
    assert export(*reversed(results), "--to", "geoparquet,csv").exit_code == 1
    assert not (tmp_path / "a.nuclei.parquet").exists()
    assert export(results[0], "--to", "csv", "--overwrite").exit_code == 0


def test_where_it_goes(results: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused = export(*results, "--to", "csv", "-o", out)
    assert refused.exit_code == 2
    assert f"make the folder {out} first" in refused.stderr
    out.mkdir()
    assert export(*results, "--to", "csv", "-o", out).exit_code == 0
    assert names(out) == ["a.nuclei.csv", "b.nuclei.csv"]
    assert export(results[0], "--to", "geojson", "-o", out / "x.geojson.gz").exit_code == 0
    assert (out / "x.geojson.gz").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "xlsx"], "there is no format 'xlsx': choose from geoparquet, csv"),
        (["--to", "csv", "--slide", "a.svs"], "none of the formats csv has an option slide"),
        (["--to", "csv", "-o", "a.txt"], "another ending"),
    ],
)
def test_requests_that_are_refused(results: list[Path], tmp_path: Path, words: list[str], message: str) -> None:
    shown = export(results[0], *words)
    assert shown.exit_code == 1
    assert message in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert names(tmp_path) == []


def test_nothing_is_written_when_one_result_is_none(results: list[Path], tmp_path: Path) -> None:
    shown = export(results[0], tmp_path, "--to", "csv")
    assert "expected the folder of a finished result" in shown.stderr
    assert names(tmp_path) == []


def test_an_option_goes_to_the_formats_that_have_it(results: list[Path], tmp_path: Path) -> None:
    assert export(results[0], "--to", "csv,geojson", "--slide", tmp_path / "unused.svs").exit_code == 0
    assert names(tmp_path) == ["a.nuclei.csv", "a.nuclei.geojson"]


def test_segment_refuses_formats_that_are_none_before_it_looks_at_slides() -> None:
    shown = CliRunner().invoke(main, ["segment", "no_such_slide.svs", "--also", "csv,xls", "--dry-run"])
    assert shown.exit_code == 1
    assert shown.stderr.startswith("error: there is no format 'xls': choose from geoparquet, csv")
