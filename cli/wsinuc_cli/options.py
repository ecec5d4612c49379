"""Options that several commands share, and what ``-q`` and ``-v`` mean."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import click

from wsinuc.config import SegmentConfig
from wsinuc.errors import ConfigError
from wsinuc.urls import Place, place


class PlaceType(click.ParamType):
    """A path, or a URL that fsspec knows (``s3://bucket/slide.svs``)."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """The text as a path or a Url."""
        try:
            return place(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


PLACE = PlaceType()
DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(SegmentConfig)}
"""Defaults of the options are those of the config, so that they are written down once."""


def device_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--device``."""
    return click.option(
        "--device",
        default=DEFAULTS["device"],
        show_default=True,
        metavar="auto|cpu|cuda[:N]|mps",
        help="Where the network runs; auto takes a GPU if there is one.",
    )(command)


def reader_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--mpp`` and ``--reader``."""
    mpp = click.option(
        "--mpp",
        type=float,
        metavar="UM",
        help="um per pixel at full resolution, when the file does not say it or says it wrong.",
    )
    reader = click.option(
        "--reader",
        type=click.Choice(["auto", "openslide", "tiffslide", "image"]),
        default=DEFAULTS["reader"],
        show_default=True,
        help="Library that reads the slide.",
    )
    return mpp(reader(command))


def verbosity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``-q`` and ``-v``; the command gets ``quiet`` and ``verbose`` and hands them to ``start_logging``."""
    quiet = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
    verbose = click.option("-v", "--verbose", is_flag=True, help="Print debug messages, and tracebacks of errors.")
    return quiet(verbose(command))


def start_logging(quiet: bool = False, verbose: bool = False) -> None:
    """Let wsinuc's log messages through to stderr: all with ``-v``, errors with ``-q``, else warnings.

    What tifffile logs about damaged files is heard with ``-v`` only: wsinuc says the same in one line of its own.
    """
    logging.getLogger("tifffile").setLevel(logging.WARNING if verbose else logging.CRITICAL + 1)
    logger = logging.getLogger("wsinuc")
    logger.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s" if verbose else "%(message)s"))
    logger.addHandler(handler)
