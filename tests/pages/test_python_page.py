"""The cells of "wsinuc from Python in five minutes" run one after another, as in a notebook, and give what is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot

import wsinuc

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "python.md"
CELL = re.compile(r"^```\{code-cell\}\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_its_cells_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(PAGE.parent)
    names: dict[str, Any] = {}
    pyplot.switch_backend("agg")
    try:
        for cell in CELL.findall(PAGE.read_text(encoding="utf-8")):
            exec(cell, names)
    finally:
        pyplot.close("all")
    segmented, result, cohort = names["segmented"], names["result"], names["cohort"]
    assert segmented.labels.shape == (300, 400)
    assert len(segmented) == segmented.labels.max() > 10
    assert isinstance(result, wsinuc.Result)
    assert [place.name for place in cohort.results] == ["field.wsinuc"]
    told = capsys.readouterr().out
    assert "whole\n" in told
    assert re.search(r"^circle \d+ [\d,]+ per mm²", told, re.MULTILINE)
    assert re.search(r"^missing failed: .*missing.svs: no such file$", told, re.MULTILINE)
    assert "got float64 (300, 400, 3): convert values with skimage.util.img_as_ubyte" in told
