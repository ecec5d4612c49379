"""Options under headings: one table says, for all commands, which option stands where in the help.

An option of the same name stands under the same heading in every command, and the headings follow
one another in the same order, so that a reader who knows one command finds things in the next.
Within a heading the options that are used most come first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from wsinuc_cli.help.stated_defaults import stated_defaults

INPUT = "Input"
PATCHES = "Parts and patches"
MODEL = "Model"
WHERE = "Where to look"
OUTPUT = "Output"
TRAINING = "Training"
GENERATED = "What is generated"
SCORES = "What is measured"
SERVER = "Server"
WORKERS = "Workers"
FAULTS = "When something fails"
OTHERS = "Other options"

HEADINGS: dict[str, tuple[str, ...]] = {
    INPUT: (
        "--mpp",
        "--regions",
        "--reader",
        "--slide",
        "--add",
        "--labels",
        "--rest",
        "--structures-from",
        "--layout",
        "--where",
        "--where-not",
        "--split",
        "--part",
        "--validation",
        "--pred",
        "--truth",
        "--verify-input",
    ),
    PATCHES: (
        "--parts",
        "--few",
        "--fraction",
        "--by",
        "--patches",
        "--patch",
        "--patch-mpp",
        "--size",
        "--stride",
        "--clusters",
        "--mix",
        "--stratify",
        "--group",
    ),
    MODEL: (
        "--method",
        "--preset",
        "--model",
        "--denoiser",
        "--structure-model",
        "--image-model",
        "--also",
        "--init",
        "--threshold",
        "--min-area",
        "--without",
        "--start",
        "--timesteps",
        "--blocks",
        "--features",
        "--members",
        "--views",
        "--model-mpp",
        "--base",
        "--width",
        "--fold",
        "--separation",
        "--learn-variance",
        "--condition",
        "--text-encoder",
    ),
    WHERE: ("--tissue", "--roi"),
    OUTPUT: (
        "--to",
        "--output",
        "--ngff",
        "--image",
        "--outlines",
        "--semantic",
        "--neighbours-um",
        "--count",
        "--report",
        "--export",
        "--ask",
        "--overwrite",
        "--resume",
        "--anyway",
        "--work",
        "--json",
        "--worst",
        "--cache",
        "--log",
    ),
    TRAINING: (
        "--steps",
        "--images-seen",
        "--batch",
        "--crop",
        "--lr",
        "--visits",
        "--tune",
        "--add-share",
        "--similarity",
        "--from-scratch",
        "--label-weight",
        "--drop-rate",
        "--accumulate",
        "--held-out",
        "--validate-every",
        "--sample-every",
        "--folds",
        "--balance",
        "--permutations",
        "--network",
        "--finalists",
        "--pixels",
    ),
    GENERATED: ("--prompt", "--guidance", "--sampler", "--restart"),
    SCORES: (
        "--of",
        "--class",
        "--um",
        "--bands",
        "--measure",
        "--stains",
        "--cells",
        "--classes",
        "--at-mpp",
        "--radius-px",
        "--matching",
        "--stages",
        "--repeats",
    ),
    SERVER: ("--port", "--host", "--no-browser"),
    WORKERS: (
        "--device",
        "--threads",
        "--workers",
        "--gpus",
        "--block",
        "--batch-size",
        "--memory",
        "--memory-limit",
        "--scheduler",
        "--scheduler-file",
        "--tls-ca-file",
        "--tls-cert",
        "--tls-key",
    ),
    FAULTS: ("--skip-errors", "--attempts", "--retries", "--block-timeout", "--max-unreadable"),
    OTHERS: ("--seed", "--dry-run", "--quiet", "--verbose", "--help"),
}
"""Headings in their order, and under each the options in theirs."""

METAVARS = {
    "integer": "N",
    "integer range": "N",
    "float": "X",
    "float range": "X",
    "path": "FILE",
    "text": "NAME",
}
"""What stands for the value of an option that names none itself, by the type of the value."""


class SectionOption(click.Option):
    """An option that stands under another heading than others of its name, because it means something else."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help shows its options under the headings of the table.

    Behind the help of an option stands the default that the command's settings give its field
    (`wsinuc_cli.help.stated_defaults`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # From a file: the configs themselves take PyTorch, which help does without.
        stated = stated_defaults().get(self.name or "", {})
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.name in stated:
                parameter.help = with_default(parameter.help or "", stated[parameter.name])
            if isinstance(parameter, click.Option) and parameter.metavar is None and not parameter.is_flag:
                parameter.metavar = METAVARS.get(parameter.type.name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words of the command; nan and infinity, which click takes for numbers, are refused."""
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            value = ctx.params.get(parameter.name or "")
            if isinstance(value, float) and not math.isfinite(value):
                raise click.BadParameter(f"expected a finite number, got {value}", ctx, parameter)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each heading that has options, and below it those."""
        records: dict[str, list[tuple[int, tuple[str, str]]]] = {heading: [] for heading in HEADINGS}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if isinstance(option, click.Option) and record is not None:
                records[heading_of(option)].append((_rank(option), record))
        for heading, ranked in records.items():
            if ranked:
                with formatter.section(heading):
                    # The sort is by rank alone and stable: options that the table does not know keep their order.
                    formatter.write_dl([record for _, record in sorted(ranked, key=lambda each: each[0])])


def with_default(text: str, default: str) -> str:
    """The help of an option with the default of its setting, in brackets of which there is one pair.

    Examples
    --------
    >>> with_default("Steps to train.", "2000")
    'Steps to train.  [default: 2000]'
    >>> with_default("Folds.  [default: 4 where images are few]", "paper 0")
    'Folds.  [default: 4 where images are few; paper 0]'
    """
    if "[default: " in text and text.endswith("]"):
        return f"{text[:-1]}; {default}]"
    return f"{text}  [default: {default}]".strip()


def heading_of(option: click.Option) -> str:
    """The heading under which an option stands; "Other options" for one that the table does not know."""
    if isinstance(option, SectionOption):
        return option.section
    flag = long_flag(option)
    return next((heading for heading, flags in HEADINGS.items() if flag in flags), OTHERS)


def long_flag(option: click.Option) -> str:
    """The option as the table names it: its longest form.

    Examples
    --------
    >>> long_flag(click.Option(["-o", "--output"]))
    '--output'
    """
    return max(option.opts, key=len)


def option_in(section: str, *names: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``click.option`` under another heading than the table's, for a name that means something else here."""
    return click.option(*names, cls=SectionOption, section=section, **settings)


def _rank(option: click.Option) -> int:
    """Place of an option below its heading."""
    flags = HEADINGS[heading_of(option)]
    flag = long_flag(option)
    if flag in flags:
        return flags.index(flag)
    return len(flags)
