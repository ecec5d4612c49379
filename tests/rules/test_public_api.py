"""Every name of ``wsinuc.__all__`` has an example in its docstring, and the example gives what it shows.

The examples are written for the folder of the checkout, where a reader would try them.
"""

from __future__ import annotations

import doctest
import tempfile
from pathlib import Path

import pytest

import wsinuc

ROOT = Path(__file__).parents[2]


def examples_of(name: str) -> doctest.DocTest:
    docstring = getattr(wsinuc, name).__doc__
    return doctest.DocTestParser().get_doctest(docstring, {}, f"wsinuc.{name}", None, None)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the checkout is the current one, and temporary files are those of the test."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return ROOT


@pytest.mark.parametrize("name", wsinuc.__all__)
def test_the_example_of(name: str, checkout: Path) -> None:
    test = examples_of(name)
    assert test.examples, f"wsinuc.{name} has no example in its docstring"
    assert not any(example.options.get(doctest.SKIP) for example in test.examples)
    assert any(f"wsinuc.{name}" in example.source for example in test.examples) or name == "Nuclei"
    report: list[str] = []
    results = doctest.DocTestRunner().run(test, out=report.append)
    assert not results.failed, "".join(report)


@pytest.mark.parametrize("name", wsinuc.__all__)
def test_the_reference_shows(name: str) -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    assert f":: wsinuc.{name}\n" in page
