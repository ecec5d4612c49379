"""The ``wsinuc`` command: a table of sub-commands, each imported only when it is used.

Errors that wsinuc raises on purpose end as one line on stderr and exit code 1; so does anything unexpected, with a hint
at ``-v`` for the traceback. Ctrl-C ends with 130, SIGTERM with 143, wrong usage with 2.
"""

from __future__ import annotations

import errno
import gc
import importlib
from collections import ChainMap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import click

from wsinuc import __version__
from wsinuc.leaving import give_all_back
from wsinuc.shown import shown
from wsinuc_cli.failure import Failure, describe_error
from wsinuc_cli.renamed import translated
from wsinuc_cli.stopping import Stopped, stopping
from wsinuc_cli.terminal import echo, open_closed_streams

GROUPS: dict[str, dict[str, str]] = {
    "Segment slides": {
        "segment": "Find the nuclei of slides: table, labels, QuPath file, report.",
        "status": "Show how far the slides of an output folder are.",
        "verify": "Check that every file of a result is what was written.",
    },
    "Look at results, and compute with them": {
        "view": "Show a result in the browser; label and correct its nuclei.",
        "classify": "Teach classes of nuclei from a few labels.",
        "regions": "Count and measure nuclei by regions drawn in QuPath.",
        "map": "Draw maps of density, shares of classes, measurements.",
        "export": "Write results for other programs: scverse, R, QuPath, napari.",
    },
    "Check slides, files and this computer": {
        "info": "Show what wsinuc sees in a slide or a result; list the models.",
        "check": "Say whether QuPath will take a GeoJSON file.",
        "doctor": "Say whether wsinuc works on this computer, and how fast.",
        "bench": "Measure how fast this computer is, stage by stage.",
    },
    "Measure on annotated images": {
        "data": "Look at annotated data sets, and split them.",
        "evaluate": "Score a model, or label images, on annotated images.",
    },
    "Train models": {
        "train": "Train a segmenter on annotated images, a few or many.",
        "adapt": "Tune a model on a few windows, if that makes it better.",
        "join": "Teach a model which fragments are one nucleus.",
        "distill": "Teach a small, fast segmenter what a large one knows.",
        "pretrain": "Train a diffusion model on unlabelled images.",
        "sweep": "Find the diffusion features that segment best.",
    },
    "Make labelled images": {
        "synthesize": "Make labelled images with trained generators.",
        "compare": "Say how much a synthetic data set is like a real one.",
    },
}
"""Commands by purpose: name and one line of help; command NAME is the object NAME of ``wsinuc_cli.commands.NAME``."""

# A chain of mappings is read from its last to its first.
COMMANDS = ChainMap(*reversed(GROUPS.values()))
"""All of them in their order: a view of the table above."""

INTERRUPTED = 130
COLLECT_AFTER = (50_000, 50, 50)
"""When Python looks for garbage in cycles; see `gc.set_threshold`. By its own (700, 10, 10) it looks at what PyTorch
and others are made of again and again while they are imported, which is a tenth of the start of `segment`."""
MAY_BE_EMPTY = ("--prompt",)
"""Options whose value may be an empty text."""


@contextmanager
def _without_controls() -> Iterator[None]:
    """What click says of wrong usage quotes the command line, and file names may have got there by a wildcard."""
    try:
        yield
    except click.UsageError as error:
        # The field is declared final, and every kind of usage error prints it in its own show().
        vars(error)["message"] = shown(error.message)
        raise


def refuse_empty(words: Sequence[str]) -> None:
    """Raise UsageError for an empty word, which as a path would mean the current folder.

    Examples
    --------
    >>> refuse_empty(["segment", "a.svs", "-o", ""])
    Traceback (most recent call last):
    click.exceptions.UsageError: the value of -o is empty: is a variable of the shell not set?
    """
    for before, word in zip(["", *words], words, strict=False):
        if word == "" and before not in MAY_BE_EMPTY:
            empty = before
        elif word.startswith("--") and word.endswith("="):
            empty = word.removesuffix("=")
        else:
            continue
        what = f"the value of {empty}" if empty.startswith("-") else "an argument"
        raise click.UsageError(f"{what} is empty: is a variable of the shell not set?")


class LazyGroup(click.Group):
    """A group that shows its table without importing a single command."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Parse, run, and end the program."""
        open_closed_streams()
        gc.set_threshold(*COLLECT_AFTER)
        return super().main(*args, **options)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the options of the group."""
        with _without_controls():
            return super().make_context(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the table, in its order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None when there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"wsinuc_cli.commands.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the words name, in the words of an earlier version, too."""
        words, warning = translated(args)
        if warning is not None:
            echo(f"warning: {warning}", err=True)
        if words and words[0] not in COMMANDS and not words[0].startswith("-"):
            near = get_close_matches(words[0], COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{words[0]}'.{hint}")
        refuse_empty(words)
        return super().resolve_command(ctx, words)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands under the headings of their purposes."""
        width = max(map(len, COMMANDS))
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                # Columns are aligned over all headings.
                formatter.write_dl([(name.ljust(width), line) for name, line in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what it raises into a line and an exit code."""
        try:
            with _without_controls(), stopping():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as error:
            # Locks and scratch folders that were about to be given back when the signal came.
            give_all_back()
            echo("interrupted; run the same command again to continue", err=True)
            if isinstance(error, Stopped):
                code = error.exit_code
            else:
                code = INTERRUPTED
            raise click.exceptions.Exit(code) from None
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                # The reader of our output has gone; click ends the program without a word.
                raise
            raise Failure(describe_error(error)) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="wsinuc")
def main() -> None:
    """Find the nuclei of whole-slide images, and work with them.

    \b
    wsinuc info slide.svs                 what wsinuc sees in a slide
    wsinuc segment slide.svs --dry-run    what a run would do, and need
    wsinuc segment slide.svs              writes slide.wsinuc: look at its report.html
    wsinuc view slide.wsinuc              looks at the result in the browser

    Every command explains itself: wsinuc COMMAND --help.
    """


if __name__ == "__main__":
    main()
