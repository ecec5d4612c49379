"""From options to settings: a preset, overlaid with exactly the options that were given.

Defaults live in the config dataclasses alone. A command says which option sets which field, by a
dotted path such as ``fit.lr``; the help shows the field's value in each preset
(`wsinuc_cli.help.stated_defaults`), and the field changes only when the user wrote the option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import click
from click.core import ParameterSource

Config = TypeVar("Config")


def given_options(context: click.Context) -> dict[str, Any]:
    """Names and values of the options that the user wrote, in the order of the command's parameters."""
    named = [parameter.name for parameter in context.command.params if parameter.name]
    written = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {name: context.params[name] for name in named if context.get_parameter_source(name) in written}


def overlaid(config: Config, paths: Mapping[str, str], given: Mapping[str, Any]) -> Config:
    """A config with the fields changed whose options were given.

    Parameters
    ----------
    config
        A frozen dataclass: the preset.
    paths
        Name of an option -> dotted path of the field that it sets.
    given
        Options that the user wrote; those without a path are left to the command.

    Raises
    ------
    ConfigError
        A value is one that the config refuses.
    """
    return with_fields(config, {paths[name]: value for name, value in given.items() if name in paths})


def with_fields(config: Config, changes: Mapping[str, Any]) -> Config:
    """A frozen dataclass with some fields changed, however deep they lie, all at once.

    One replacement per dataclass: fields that must suit each other, a batch and its passes, are
    checked together and never one by one.

    Parameters
    ----------
    changes
        Dotted path -> value. A path may lead into a value that is set here as well.
    """
    whole = {path: value for path, value in changes.items() if "." not in path}
    inner: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        if rest:
            inner.setdefault(name, {})[rest] = value
    for name, deeper in inner.items():
        if name in whole:
            start = whole[name]
        else:
            start = getattr(config, name)
        whole[name] = with_fields(start, deeper)
    # mypy cannot know that a type variable is a dataclass
    return replace(config, **whole)  # type: ignore[type-var]  # any config is a dataclass


def field_of(config: Any, path: str) -> Any:
    """The value of the field at a dotted path."""
    for name in path.split("."):
        config = getattr(config, name)
    return config


def refuse_foreign(given: Mapping[str, Any], owners: Mapping[str, tuple[str, ...]], method: str) -> None:
    """Raise click.UsageError for an option that the method would ignore: such a mistake must not cost a training.

    Parameters
    ----------
    owners
        Name of an option -> the methods to which it means something; others mean something to all.
    """
    for name in given:
        if method not in owners.get(name, (method,)):
            only = ", ".join(owners[name])
            raise click.UsageError(f"{flag_of(name)} means nothing to --method {method}, only to {only}")


def flag_of(name: str) -> str:
    """The option as the user writes it."""
    context = click.get_current_context(silent=True)
    for parameter in context.command.params if context else ():
        if parameter.name == name:
            return max(parameter.opts, key=len)
    return "--" + name.replace("_", "-")
