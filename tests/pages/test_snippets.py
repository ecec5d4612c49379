"""Examples on pages that need nothing but NumPy run, and print what the page promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SCORES = "name,aji,true_nuclei,predicted_nuclei\na,{:.1f},10,12\nb,{:.1f},20,22\nc,{:.1f},30,36\n"


def printed(page: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the examples of a page print, one after the other."""
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, page, "exec"), names)
    return capsys.readouterr().out


def write(folder: Path, *scores: float) -> None:
    folder.mkdir()
    (folder / "scores.csv").write_text(SCORES.format(*scores), encoding="utf-8")


def test_two_models_are_compared_image_by_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    write(Path("by-fast"), 0.5, 0.6, 0.7)
    write(Path("by-mine"), 0.6, 0.7, 0.8)
    text = printed("how-to/evaluate.md", capsys)
    assert text == "+0.100 AJI (95 % interval +0.100 to +0.100, 3 images)\n"


def test_counts_are_corrected_by_annotated_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    write(Path("evaluation"), 0.5, 0.6, 0.7)
    corrected, medians = printed("how-to/paper.md", capsys).splitlines()
    assert corrected == "counts times 0.86 (95 % interval 0.83 to 0.91)"
    assert medians == "median 2,830 (95 % interval 1,975 to 3,480)"
