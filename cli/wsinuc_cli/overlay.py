"""From options to settings: a preset, overlaid with exactly the options that were given.

Defaults live in the config dataclasses alone. A command says which option sets which field, by a
dotted path such as ``fit.lr``; the command line shows the field's default and changes the field only
when the user wrote the option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
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
    for name, value in given.items():
        if name in paths:
            config = with_field(config, paths[name], value)
    return config


def with_field(config: Config, path: str, value: Any) -> Config:
    """A frozen dataclass with one field changed, however deep it lies."""
    name, _, rest = path.partition(".")
    inner = with_field(getattr(config, name), rest, value) if rest else value
    return replace(config, **{name: inner})  # type: ignore[type-var]


def field_of(config: Any, path: str) -> Any:
    """The value of the field at a dotted path."""
    for name in path.split("."):
        config = getattr(config, name)
    return config


def default_of(config: type, path: str) -> Any:
    """The default of a field of a config dataclass, without making one."""
    name, _, rest = path.partition(".")
    found = next(field for field in fields(config) if field.name == name)
    value = found.default if found.default_factory is MISSING else found.default_factory()
    if rest and is_dataclass(value):
        return field_of(value, rest)
    return value


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
