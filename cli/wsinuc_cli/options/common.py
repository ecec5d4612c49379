"""Options that several commands share, and what ``-q`` and ``-v`` mean."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from wsinuc.config import SegmentConfig
from wsinuc.errors import ConfigError
from wsinuc.exports.formats.registry import FORMATS
from wsinuc.urls import Place, to_place
from wsinuc_cli.help.sections import OUTPUT, option_in
from wsinuc_cli.terminal import LogFormatter, LogHandler


class PlaceType(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A path, or a URL that fsspec knows (``s3://bucket/slide.svs``)."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """The text as a path or a Url."""
        try:
            return to_place(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


PLACE = PlaceType()
DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(SegmentConfig)}
"""Defaults of the options are those of the config, so that they are written down once."""


class FormatsType(click.ParamType):  # type: ignore[type-arg]
    """Names of formats with commas between them, as a tuple."""

    name = "formats"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names, which the library knows or refuses."""
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(","))
        return tuple(value)


FORMATS_TYPE = FormatsType()
FORMAT_NAMES = ", ".join(FORMATS)


def also_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--also`` of ``segment``, which in other commands names a second model."""
    return option_in(
        OUTPUT,
        "--also",
        type=FORMATS_TYPE,
        default=DEFAULTS["also"],
        metavar="FORMAT,...",
        help=f"Write each result in other formats as well, beside it: {FORMAT_NAMES} (see wsinuc export).",
    )(command)


def device_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--device``."""
    return click.option(
        "--device",
        default=DEFAULTS["device"],
        show_default=True,
        metavar="auto|cpu|cuda[:N]|mps",
        help="Device on which the network runs; auto takes a GPU if there is one.",
    )(command)


def min_area_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--min-area``."""
    return click.option(
        "--min-area",
        "min_area_um2",
        type=float,
        metavar="UM2",
        help="Least area of a nucleus in um2; smaller ones are dropped.  [default: the model's own]",
    )(command)


def where_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--where`` of commands that read a result; ``what`` is done with the nuclei, such as ``Count``."""
    return click.option(
        "--where",
        multiple=True,
        metavar="CONDITION",
        help=f"{what} only nuclei for which this holds, such as probability>=0.6, area_um2<200 or class=Tumor,Stroma "
        "(in quotes, because of the shell); may be given several times.",
    )


def seed_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--seed`` of commands whose settings have a default of their own."""
    return click.option("--seed", type=int, help="Seed of everything that is drawn at random.")(command)


def dry_run_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--dry-run``; ``what`` would be done, such as ``trained``."""
    return click.option(
        "--dry-run", is_flag=True, help=f"Check every file, say what would be {what} and what it takes; then stop."
    )


def checkpoint_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``-o`` of commands that write a model."""
    return click.option(
        "-o",
        "--output",
        required=True,
        type=click.Path(path_type=Path),
        help="Checkpoint to write (.safetensors).",
    )(command)


def reader_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--mpp`` and ``--reader``."""
    mpp = click.option(
        "--mpp",
        type=float,
        metavar="UM",
        help="um per pixel at full resolution, for files that record none or a wrong one.",
    )
    reader = click.option(
        "--reader",
        type=click.Choice(["auto", "openslide", "tiffslide", "tiff", "image"]),
        default=DEFAULTS["reader"],
        show_default=True,
        help="Library that reads the slide; auto takes the first that can.",
    )
    return mpp(reader(command))


def verbosity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``-q`` and ``-v``; the command gets ``quiet`` and ``verbose`` and hands them to ``start_logging``."""
    quiet = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
    verbose = click.option("-v", "--verbose", is_flag=True, help="Print debug messages and the tracebacks of errors.")
    return quiet(verbose(command))


def start_logging(quiet: bool = False, verbose: bool = False) -> None:
    """Let wsinuc's log messages through to stderr: all with ``-v``, errors with ``-q``, else warnings.

    What tifffile logs about damaged files is heard with ``-v`` only: wsinuc says the same in one line of its own.
    """
    logging.getLogger("tifffile").setLevel(logging.WARNING if verbose else logging.CRITICAL + 1)
    logger = logging.getLogger("wsinuc")
    level = logging.WARNING
    if verbose:
        level = logging.DEBUG
    elif quiet:
        level = logging.ERROR
    logger.setLevel(level)
    # A second command in the same process, as in tests, would print every message twice.
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    printing = LogHandler()
    printing.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s" if verbose else "%(message)s"))
    logger.addHandler(printing)
