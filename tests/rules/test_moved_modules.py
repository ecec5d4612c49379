"""Modules by the names that they had in version 0.1."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import wsinuc
from wsinuc.renamed import FORMER_PACKAGE, MODULES

PACKAGE = Path(wsinuc.__file__).parent


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("wsinuc.tasks.segment", "wsinuc.workflows.segment.run"),
        ("wsinuc.segmenters.watershed", "wsinuc.separation.watershed"),
        ("wsinuc.datasets.orientation", "wsinuc.orientation"),
    ],
)
def test_a_module_of_0_1_is_the_one_of_today(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old} is {new} now; the old name ends with 0.3.0") as warned:
        found = importlib.import_module(old)
    assert found is importlib.import_module(new)
    assert found.__spec__ is not None
    assert found.__spec__.name == new, "the module knows itself by its name of today"
    assert len(warned) == 1


def test_names_are_imported_from_them_as_ever() -> None:
    package = FORMER_PACKAGE
    code = f"from {package}.slide_list import list_slides; from {package} import plan; print(plan.__name__)"
    command = [sys.executable, "-W", "always::DeprecationWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.stdout == "wsinuc.workflows.segment.plan\n"
    assert done.stderr.count("DeprecationWarning: wsinuc.tasks.") == 2
    assert "<string>:1: DeprecationWarning" in done.stderr, "the line that imports is the one that is named"


@pytest.mark.parametrize("name", ["wsinuc.tasks.nonsense", "wsinuc.nonsense", "wsinuc.models.unets"])
def test_other_names_are_not_found(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name):
        importlib.import_module(name)


def test_every_name_of_today_is_there_and_no_former_one_is_in_its_way() -> None:
    for old, new in MODULES.items():
        assert importlib.util.find_spec(f"wsinuc.{new}") is not None, new
        path = PACKAGE.joinpath(*old.split("."))
        assert not path.is_dir(), f"{old} is there again: take it off the table"
        assert not path.with_suffix(".py").exists(), f"{old} is there again: take it off the table"
