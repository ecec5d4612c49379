"""Commands and imports on the pages: each command exists and takes the options that it is shown with."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import click
import pytest

from helpers.pages import name_of, pages_for_readers
from wsinuc_cli.main import main

CALL = re.compile(r"\bwsinuc ((?:data )?[a-z]+)\b([^\n`|#]*)")
OPTION = re.compile(r"(?<![\w/.-])(--?[a-z][a-z0-9-]*)")
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```(?:python|\{code-cell\})\n(.*?)^```", re.MULTILINE | re.DOTALL)


@cache
def options_of(name: str) -> frozenset[str] | None:
    """Every spelling of the options of a command such as ``segment`` or ``data info``; None where there is no such."""
    command: click.Command | None = main
    for word in name.split():
        if not isinstance(command, click.Group):
            return None
        command = command.get_command(click.Context(command), word)
    if command is None:
        return None
    parameters = command.get_params(click.Context(command))
    return frozenset(name for each in parameters for name in (*each.opts, *each.secondary_opts)) | {"-h", "--help"}


def calls(text: str) -> list[tuple[str, list[str]]]:
    """Commands of a page with the options that stand behind them, up to the end of the line or of the code."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [(" ".join(name.split()), OPTION.findall(rest)) for name, rest in CALL.findall(joined)]


def code_of(text: str) -> str:
    """The parts of a page that are set as code, Python left out: fenced, indented, or between backticks."""
    shell = []
    for language, body in FENCED.findall(text):
        if body.startswith("%%sh") or not re.match(r"python|\{code-cell\}", language):
            shell.append(body)
    rest = FENCED.sub("", text)
    indented = re.findall(r"^    .*$", rest, re.MULTILINE)
    inline = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"^    .*$", "", rest, flags=re.M))]
    return "\n".join([*shell, *indented, *inline])


@pytest.mark.parametrize("page", pages_for_readers(), ids=name_of)
def test_commands_exist_and_take_their_options(page: Path) -> None:
    wrong = []
    for name, options in calls(code_of(page.read_text(encoding="utf-8"))):
        known = options_of(name)
        if known is None:
            wrong.append(name)
        else:
            wrong += [f"{name} {option}" for option in options if option not in known]
    assert not wrong


def test_an_option_that_is_not_there_is_noticed() -> None:
    ((name, options),) = calls(code_of("    wsinuc data split tnbc --mpp 0.25 \\\n        -o split.json"))
    assert (name, options) == ("data split", ["--mpp", "-o"])
    assert "--mpp" not in (options_of(name) or ())
    assert options_of("cut") is options_of("data cut") is None


@pytest.mark.parametrize("page", pages_for_readers(), ids=name_of)
def test_imports_of_wsinuc_work(page: Path) -> None:
    missing = []
    for block in PYTHON.findall(page.read_text(encoding="utf-8")):
        plain = re.sub(r"^[%:!].*$", "", block, flags=re.MULTILINE)
        if block.startswith("%%"):
            continue
        for node in ast.walk(ast.parse(plain)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "wsinuc":
                module = importlib.import_module(node.module or "")
                missing += [f"{node.module}.{each.name}" for each in node.names if not hasattr(module, each.name)]
    assert not missing
