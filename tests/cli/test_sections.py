"""Help in sections: every option of a large command stands under a heading, and headings come in one order."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from wsinuc_cli.help.sections import HEADINGS, SectionedCommand, SectionOption, heading_of, long_flag, option_in
from wsinuc_cli.main import COMMANDS, main

MOST = 6
"""Options that a reader takes in at a glance, without headings."""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and sub-command, by the words that call it."""
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command.commands.items())
        else:
            yield name, command


def options_of(command: click.Command) -> list[click.Option]:
    return [each for each in command.get_params(click.Context(command)) if isinstance(each, click.Option)]


LARGE = {name: command for name, command in commands() if len(options_of(command)) - 1 > MOST}  # --help not counted


def test_large_commands_are_known() -> None:
    assert {"segment", "train", "pretrain", "synthesize", "distill", "sweep", "evaluate", "compare"} <= LARGE.keys()


@pytest.mark.parametrize("name", LARGE)
def test_every_option_stands_under_a_heading_of_the_table(name: str) -> None:
    command = LARGE[name]
    assert isinstance(command, SectionedCommand)
    known = {flag for flags in HEADINGS.values() for flag in flags}
    for option in options_of(command):
        assert isinstance(option, SectionOption) or long_flag(option) in known, f"{name} {long_flag(option)}"
        assert heading_of(option) in HEADINGS


@pytest.mark.parametrize("name", LARGE)
def test_the_help_shows_them_there_in_the_order_of_the_table(name: str) -> None:
    text = CliRunner().invoke(main, [*name.split(), "--help"]).output
    body = text[text.index("\nInput:\n" if "\nInput:\n" in text else "\nParts and patches:\n") :]
    headings = re.findall(r"^(\S.*):$", body, flags=re.MULTILINE)
    assert headings == [heading for heading in HEADINGS if heading in headings]
    shown = dict(zip(headings, re.split(r"^\S.*:$", body, flags=re.MULTILINE)[1:], strict=True))
    for option in options_of(LARGE[name]):
        assert re.search(rf"^  .*{long_flag(option)}\b", shown[heading_of(option)], flags=re.MULTILINE)


def test_no_option_stands_under_two_headings() -> None:
    flags = [flag for flags in HEADINGS.values() for flag in flags]
    assert len(flags) == len(set(flags))


def test_every_option_of_the_table_is_one_of_some_command() -> None:
    flags = {long_flag(option) for _, command in commands() for option in options_of(command)}
    assert {flag for flags in HEADINGS.values() for flag in flags} <= flags


def test_every_option_is_explained() -> None:
    untold = {f"{name} {long_flag(o)}" for name, command in commands() for o in options_of(command) if not o.help}
    assert untold <= {f"{name} --seed" for name in ("train", "pretrain", "sweep")} | {"synthesize --sampler"}


def test_the_most_used_come_first() -> None:
    @click.command(cls=SectionedCommand)
    @click.option("--seed")
    @click.option("-o", "--output")
    @click.option("--where")
    @click.option("--mpp")
    @option_in("Output", "--size")
    def made() -> None:
        """Do it."""

    lines = CliRunner().invoke(made, ["--help"]).output.split("Input:")[1].splitlines()
    words = [line.split()[0] for line in lines if line.strip()]
    assert words == ["--mpp", "--where", "Output:", "-o,", "--size", "Other", "--seed", "--help"]
