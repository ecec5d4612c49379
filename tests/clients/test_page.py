"""The examples of Python on the pages about other tools run, in order, beside a result and its slide."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

mpl.use("agg")

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


@pytest.fixture
def beside_a_result(result: Path, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder is one in which the examples find what they read."""
    shutil.copytree(result, tmp_path / "slide.wsinuc")
    (tmp_path / "slide.tiff").symlink_to(slide)
    (tmp_path / "summary.csv").write_text(
        "slide,result,state,nuclei,tissue_mm2\na/slide.tiff,slide.wsinuc,done,30,0.5\nb.tiff,b.wsinuc,failed,,\n"
    )
    (tmp_path / "clinical.csv").write_text("name,patient,stage\nslide,P1,II\nb,P2,I\n")
    monkeypatch.chdir(tmp_path)


def names_after(page: str) -> dict[str, Any]:
    """What the examples of a page have given names to when they have run."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (HOW_TO / page).read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.usefixtures("beside_a_result")
def test_examples_of_tables_run() -> None:
    names = names_after("other-tools.md")
    assert names["nuclei"]["area_um2"].gt(0).all()
    assert 0 < len(names["field"]) < len(names["nuclei"])
    assert names["patients"]["nuclei_per_mm2"].to_dict()["P1"] == 60


@pytest.mark.usefixtures("beside_a_result")
def test_examples_of_scverse_run() -> None:
    names = names_after("scverse.md")
    assert len(names["elements"]["nuclei"]) == names["data"]["table"].n_obs > 0
    assert names["table"].n_obs > 0
    assert 0 < len(names["field"]["nuclei"]) < names["table"].n_obs
    assert "nuclei" in names["wsi"].shapes
