"""``wsinuc doctor``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsinuc_cli.options.common import device_option
from wsinuc_cli.terminal import as_text, echo_json, echo_text

if TYPE_CHECKING:
    from wsinuc.workflows.doctor.findings import Finding


@click.command()
@click.argument("slide", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Folder where results will go.  [default: the current folder]",
)
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def doctor(slide: Path | None, output: Path, device: str, as_json: bool) -> None:
    """Say whether wsinuc works on this computer, how fast, and what to do if it does not.

    \b
    wsinuc doctor
    wsinuc doctor slide.svs -o results

    With SLIDE, say also whether that slide can be read and segmented.

    Exit code: 0 it works (perhaps with warnings), 1 something does not.
    """
    from wsinuc.workflows.doctor.run import examine, exit_code

    findings = []
    for finding in examine(slide, out=output, device=device):
        findings.append(finding)
        if not as_json:
            echo_text(describe(finding))
    if as_json:
        echo_json([dataclasses.asdict(finding) for finding in findings])
    raise click.exceptions.Exit(exit_code(findings))


def describe(finding: Finding) -> str:
    """One finding, and below it what to do."""
    line = f"{finding.level:<4}  {finding.name:<24}{finding.text}"
    return as_text([line, f"      {'':<24}-> {finding.advice}"] if finding.advice else [line])
