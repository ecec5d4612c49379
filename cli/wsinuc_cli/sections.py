"""Options under headings: a command whose help lists them in sections, the most used first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from wsinuc_cli.stated_defaults import stated_defaults

OTHERS = "Other options"
Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)


class SectionOption(click.Option):
    """An option that names the section of the help in which it stands."""

    def __init__(self, *args: Any, section: str = OTHERS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help shows its options by section, in the order in which sections first appear.

    Behind the help of an option stands the default that the command's settings give its field
    (`wsinuc_cli.stated_defaults`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stated = stated_defaults().get(self.name or "", {})
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.name in stated:
                parameter.help = f"{parameter.help or ''}  [default: {stated[parameter.name]}]".strip()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a heading and the options of each section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", OTHERS), []).append(record)
        others = sections.pop(OTHERS, [])
        for heading, records in [*sections.items(), (OTHERS, others)]:
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def option(*names: str, section: str, **settings: Any) -> Callable[[Decorated], Decorated]:
    """``click.option`` in a section of the help."""
    return click.option(*names, cls=SectionOption, section=section, **settings)
