"""Which annotated images a training learns from: options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli.terminal import echo

if TYPE_CHECKING:
    from wsinuc.workflows.data.training_set import TrainingSet

FILE = click.Path(path_type=Path)


def regions_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--regions``."""
    add = click.option(
        "--regions",
        metavar="NAME",
        help="Class or name of the regions that are annotated on slides.  [default: Region*]",
    )
    return add(command)


def condition_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--mpp``, ``--regions``, ``--where`` and ``--where-not``."""
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.option("--mpp", type=float, metavar="UM", help="um per pixel of images that do not record it."),
        regions_option,
        click.option(
            "--where",
            "wanted",
            multiple=True,
            metavar="COLUMN=VALUE,...",
            help="Take only images with these attributes.",
        ),
        click.option(
            "--where-not",
            "unwanted",
            multiple=True,
            metavar="COLUMN=VALUE,...",
            help="Leave these images out.",
        ),
    ]
    return functools.reduce(lambda decorated, add: add(decorated), reversed(options), command)


def split_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--split`` and ``--part``."""
    options = [
        click.option(
            "--split",
            type=FILE,
            help="Split file, made by wsinuc data split or by a training with --few.",
        ),
        click.option("--part", default="train", show_default=True, metavar="NAME", help="Part of the split to take."),
    ]
    return functools.reduce(lambda decorated, add: add(decorated), reversed(options), command)


def gather(data: tuple[str, ...], options: dict[str, Any]) -> TrainingSet:
    """The annotated images that the options choose; raises DataError, MppError or ConfigError."""
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.workflows.data.training_set import ImageSelection, gather_training_set

    names = ("split", "part", "few", "patch", "fraction", "seed", "regions")
    named = {name: options[name] for name in names if options.get(name) is not None}
    selection = ImageSelection(
        wanted=parse_conditions(options["wanted"]), unwanted=parse_conditions(options["unwanted"]), **named
    )
    chosen = gather_training_set(
        data,
        mpp=options["mpp"],
        selection=selection,
        whole=options.get("whole", ()),
        whole_share=options.get("add_share"),
    )
    for note in chosen.notes:
        echo(f"Note: {note}")
    return chosen
