"""The examples of Python on the page about other tools run, in order, beside a result and its slide."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("agg")

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "other-tools.md"


def test_examples_run(result: Path, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(result, tmp_path / "slide.wsinuc")
    (tmp_path / "slide.tiff").symlink_to(slide)
    (tmp_path / "summary.csv").write_text(
        "slide,result,state,nuclei,tissue_mm2\na/slide.tiff,slide.wsinuc,done,30,0.5\nb.tiff,b.wsinuc,failed,,\n"
    )
    (tmp_path / "clinical.csv").write_text("name,patient,stage\nslide,P1,II\nb,P2,I\n")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["nuclei"]["area_um2"].gt(0).all()  # type: ignore[index]
    assert 0 < len(names["field"]) < len(names["nuclei"])  # type: ignore[arg-type]
    assert names["patients"]["nuclei_per_mm2"].to_dict()["P1"] == 60  # type: ignore[index]
