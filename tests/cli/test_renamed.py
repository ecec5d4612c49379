"""What was written in the words of an earlier version still works, and says what it is called today."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from wsinuc_cli.main import main
from wsinuc_cli.renamed import translated


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train NuCLS --points --folds 3 -o m", "classify NuCLS --folds 3 -o m"),
        ("train --joining tnbc -o m", "join tnbc -o m"),
        ("evaluate --mpp 0.25 --data tnbc -o out", "evaluate tnbc --mpp 0.25 -o out"),
        ("evaluate --real a --mpp 1 --synthetic=b", "compare a b --mpp 1"),
    ],
)
def test_old_words_are_translated(old: str, new: str):
    words, warning = translated(old.split())
    assert words == new.split()
    assert warning is not None
    assert f"wsinuc {words[0]}" in warning


@pytest.mark.parametrize(
    "words", ["train tnbc --points --joining", "evaluate tnbc", "evaluate --real a", "segment x", ""]
)
def test_other_words_are_left_alone(words: str):
    assert translated(words.split()) == (words.split(), None)


def test_the_warning_is_shown_and_the_command_runs(tmp_path):
    done = CliRunner().invoke(main, ["evaluate", "--data", str(tmp_path / "nowhere"), "--mpp", "0.5"])
    assert done.exit_code == 1
    assert "warning: wsinuc evaluate --data DATA is now wsinuc evaluate DATA" in done.output
    assert "nowhere is no folder" in done.output
