"""Words on the command line that cannot be meant: empty ones, no numbers, the same twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from helpers.files.datasets import write_set
from wsinuc_cli.main import main


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["info", ""], "an argument"),
        (["segment", "a.svs", "--roi", ""], "the value of --roi"),
        (["data", "split", "a", "-o", ""], "the value of -o"),
        (["segment", "a.svs", "--output="], "the value of --output"),
    ],
)
def test_an_empty_word_is_wrong_usage_and_not_the_current_folder(words: list[str], what: str) -> None:
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 2
    assert f"Error: {what} is empty: is a variable of the shell not set?" in outcome.output


def test_a_part_that_is_named_twice_is_wrong_usage(tmp_path: Path) -> None:
    words = [
        "data",
        "split",
        str(write_set(tmp_path / "set")),
        "--parts",
        "a=0.5,a=0.5",
        "-o",
        str(tmp_path / "a.json"),
    ]
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 2
    assert "a part is named twice" in outcome.output


@pytest.mark.parametrize(
    "words",
    [
        ["segment", "a.svs", "--mpp", "nan"],
        ["segment", "a.svs", "--cells", "inf"],
        ["segment", "a.svs", "--workers", "1", "--block-timeout", "nan"],
        ["map", "a.wsinuc", "-o", "a.png", "--um", "nan"],
        ["data", "subset", "a", "-o", "a.json", "--fraction", "-inf"],
    ],
    ids=" ".join,
)
def test_no_option_takes_what_is_no_finite_number(words: list[str]) -> None:
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 2
    assert "expected a finite number, got" in outcome.output


@pytest.mark.parametrize("words", [["train", "a"], ["adapt", "fast", "a"]], ids=" ".join)
def test_no_windows_are_not_all_of_them(words: list[str]) -> None:
    outcome = CliRunner().invoke(main, [*words, "-o", "a.safetensors", "--few", "0"])
    assert outcome.exit_code == 2
    assert "0 is not in the range x>=1" in outcome.output
