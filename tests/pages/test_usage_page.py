"""The reference has every option of ``segment``, every exit code and every field of ``summary.json``."""

from __future__ import annotations

import dataclasses
import re
import signal
from pathlib import Path

import click

from wsinuc.store.ledger import SEAL
from wsinuc.store.manifest import FILES
from wsinuc.workflows.segment.summary import Summary
from wsinuc_cli.main import main

REFERENCE = next(folder for folder in Path(__file__).parents if (folder / "docs").is_dir()) / "docs" / "reference"


def first_column(page: str, heading: str) -> str:
    """The first cells of the tables below a heading of a page, up to the next one."""
    section = (REFERENCE / page).read_text(encoding="utf-8").partition(f"{heading}\n")[2]
    section = re.split(r"^##", section, maxsplit=1, flags=re.MULTILINE)[0]
    return "\n".join(line.replace(r"\|", "/").split("|")[1] for line in section.splitlines() if line.startswith("|"))


def test_every_option_of_segment() -> None:
    command = main.get_command(click.Context(main), "segment")
    assert command is not None
    options = {
        name for each in command.get_params(click.Context(command)) for name in (*each.opts, *each.secondary_opts)
    }
    stated = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", first_column("usage.md", "## `wsinuc segment SLIDE...`")))
    assert {option for option in options if option.startswith("-")} | {"-h"} == stated


def test_every_exit_code() -> None:
    codes = {int(cell) for cell in first_column("usage.md", "## `wsinuc segment SLIDE...`").split() if cell.isdigit()}
    assert codes == {0, 1, 2, *(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))}


def test_every_field_of_the_summary() -> None:
    stated = re.findall(r"`(\w+)`", first_column("results.md", "## Fields of `summary.json`"))
    fields = [field.name for field in dataclasses.fields(Summary)]
    assert sorted(stated) == sorted([*fields, "made_by", FILES, SEAL])
