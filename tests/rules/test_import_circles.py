"""No file of the library or the command line imports itself by way of others, inside functions or at the top."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {"wsinuc": ROOT, "wsinuc_cli": ROOT / "cli"}


def module_name(path: Path, base: Path) -> str:
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def import_graph(files: dict[str, str]) -> dict[str, set[str]]:
    """The modules that each module imports, of those in ``files`` (names and their code)."""
    return {name: set(imports(ast.parse(code), files)) & files.keys() for name, code in files.items()}


def imports(node: ast.AST, files: dict[str, str]) -> Iterator[str]:
    """Names of modules that are imported anywhere below ``node``, but for annotations alone."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            yield name if name in files else str(node.module)
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for other in node.orelse:
            yield from imports(other, files)
    else:
        for child in ast.iter_child_nodes(node):
            yield from imports(child, files)


def circle(files: dict[str, str]) -> list[str]:
    """One circle of imports, its first module repeated at the end; empty where there is none."""
    try:
        TopologicalSorter(import_graph(files)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_file_imports_itself_by_way_of_others():
    paths = [(path, base) for package, base in SOURCES.items() for path in sorted((base / package).rglob("*.py"))]
    files = {module_name(path, base): path.read_text(encoding="utf-8") for path, base in paths}
    assert circle(files) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import b", True),
        ("from b import name", True),
        ("def later():\n    import b", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b", False),
        ("import json", False),
    ],
)
def test_a_circle_is_seen_wherever_the_import_stands(code, expected):
    assert bool(circle({"a": code, "b": "import a"})) == expected
