"""How the code reads, in numbers: lengths of files, functions and lines, comments, dense statements.

    python tests/benchmarks/house.py [FOLDER ...]

Without a folder the library and the command line are measured.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
LINE = 120


def main(folders: list[Path]) -> None:
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in files]
    trees = [ast.parse(text) for text in texts]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lines = sum(text.count("\n") for text in texts)
    rows = {
        "files": str(len(files)),
        "lines a file: median / p90 / max": spread([text.count("\n") for text in texts]),
        "function body lines: median / p90 / max": spread([body_lines(node) for node in functions]),
        "functions over 60 lines": str(sum(body_lines(node) > 60 for node in functions)),
        "parameters: p90 / max": spread([parameters(node) for node in functions], median=False),
        "comments on a line of their own, per 1,000 lines": f"{1000 * sum(map(comments, files)) / lines:.1f}",
        "docstrings, share of lines": f"{sum(map(docstring_lines, nodes)) / lines:.0%}",
        "tuple assignments, per 1,000 lines": f"{1000 * sum(map(is_tuple_assignment, nodes)) / lines:.1f}",
        "ternaries, per 1,000 lines": f"{1000 * sum(isinstance(n, ast.IfExp) for n in nodes) / lines:.1f}",
        "files in the largest flat folder": str(max(len(list(f.parent.glob("*.py"))) for f in files)),
        f"lines over {LINE} characters": str(sum(len(line) > LINE for text in texts for line in text.splitlines())),
    }
    for name, value in rows.items():
        print(f"{name:<52}{value}")


def spread(values: list[int], *, median: bool = True) -> str:
    """Median, 90th percentile and largest."""
    parts = [np.median(values)] if median else []
    return " / ".join(f"{part:.0f}" for part in [*parts, np.percentile(values, 90), max(values)])


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Parameters without self and cls."""
    names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in names)


def comments(path: Path) -> int:
    """Comments that stand on a line of their own."""
    with path.open("rb") as file:
        found = [token for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    return sum(token.line.lstrip().startswith("#") for token in found)


def docstring_lines(node: ast.AST) -> int:
    """Lines of a node's docstring."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return 0
    text = ast.get_docstring(node, clean=False)
    return 0 if text is None else text.count("\n") + 1


def is_tuple_assignment(node: ast.AST) -> bool:
    """Whether several names are given the parts of a written-out tuple in one statement."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    return any(isinstance(target, ast.Tuple) for target in node.targets)


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]] or [ROOT / "wsinuc", ROOT / "cli"])
