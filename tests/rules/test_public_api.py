"""What ``import wsinuc`` offers: names with examples, each on its page, and nothing else.

The examples themselves are run with all others, as doctests of the modules that they stand in; they are written for
the folder of the checkout, where a reader would try them.
"""

from __future__ import annotations

import doctest
import inspect
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import wsinuc
from wsinuc_cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
FUNCTIONS = [name for name in wsinuc.__all__ if inspect.isfunction(getattr(wsinuc, name))]


@pytest.mark.parametrize("name", wsinuc.__all__)
def test_there_is_an_example_of(name: str) -> None:
    examples = doctest.DocTestParser().get_examples(getattr(wsinuc, name).__doc__)
    assert examples, f"wsinuc.{name} has no example in its docstring"
    assert not any(example.options.get(doctest.SKIP) for example in examples)
    assert any(f"wsinuc.{name}" in example.source for example in examples) or name == "Nuclei"


@pytest.mark.parametrize("name", wsinuc.__all__)
def test_the_reference_shows(name: str) -> None:
    assert f":: wsinuc.{name}\n" in PAGE


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_that_a_function_takes_gives_and_raises_is_described(name: str) -> None:
    function = getattr(wsinuc, name)
    text = inspect.cleandoc(function.__doc__)
    parameters = set(inspect.signature(function).parameters)
    for parameter in parameters:
        assert re.search(rf"^(\w+, )*\**{parameter}(, \w+)*$", text, re.MULTILINE), f"{parameter} is not described"
    headings = re.findall(r"^(\w+)\n-+$", text, re.MULTILINE)
    assert headings == [each for each in ("Parameters", "Returns", "Yields", "Raises", "Examples") if each in headings]
    assert "Raises" in headings or name == "shipped_models"
    returns = inspect.signature(function).return_annotation
    assert returns == "None" or {"Returns", "Yields"} & set(headings), "what it gives is not described"


def test_the_module_lists_its_public_names_alone() -> None:
    assert dir(wsinuc) == sorted([*wsinuc.__all__, "__version__"])
    told = re.findall(r"(?<!`)`(\w+)`(?!`)", wsinuc.__doc__ or "")
    assert set(told) == set(wsinuc.__all__)


def test_types_are_there_for_others() -> None:
    assert (ROOT / "wsinuc" / "py.typed").is_file()
    checked = (ROOT / "tests" / "typing" / "as_a_user.py").read_text(encoding="utf-8")
    assert not [name for name in wsinuc.__all__ if not re.search(rf"wsinuc\.{name}\b", checked)]


def test_importing_it_loads_nothing_slow() -> None:
    code = "import sys, wsinuc; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not {"numpy", "torch", "zarr", "pyarrow", "scipy", "dask", "PIL"} & set(loaded.split())


def commands() -> dict[str, str]:
    """What the page says of each command."""
    return dict(re.findall(r"^\| `wsinuc (\w+)` \| (.*) \|$", PAGE, re.MULTILINE))


def shown_functions() -> list[str]:
    """Paths of all functions that the page names, and of the public methods of classes."""
    behind = re.findall(r"`(wsinuc\.workflows[\w.]+)`", "".join(commands().values()))
    named = [f"wsinuc.{name}" for name in FUNCTIONS]
    for name in wsinuc.__all__:
        kind = getattr(wsinuc, name)
        if inspect.isclass(kind):
            methods = [each for each in vars(kind) if inspect.isfunction(vars(kind)[each]) and not each.startswith("_")]
            named += [f"wsinuc.{name}.{method}" for method in methods]
    return [*named, *behind]


@pytest.mark.parametrize("path", shown_functions())
def test_files_and_folders_may_be_any_path_like_object(path: str) -> None:
    """Text, `pathlib.Path` and whatever has ``__fspath__``, and the types say so."""
    function = pkgutil.resolve_name(path)
    types = {name: str(each.annotation) for name, each in inspect.signature(function).parameters.items()}
    assert not {name: text for name, text in types.items() if re.search(r"\bPath\b", text)}


def test_every_command_has_its_function() -> None:
    table = commands()
    assert list(table) == list(COMMANDS)
    for named in table.values():
        for path in re.findall(r"`(wsinuc[\w.]+)`", named):
            module, _, name = path.rpartition(".")
            if module == "wsinuc.Result":
                assert hasattr(wsinuc.Result, name)
            else:
                assert callable(getattr(import_module(module), name)), path
