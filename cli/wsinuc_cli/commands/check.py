"""``wsinuc check``."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import click

from wsinuc_cli.options.common import PLACE
from wsinuc_cli.terminal import as_text, echo_text

if TYPE_CHECKING:
    from wsinuc.exports.qupath.check import CheckReport, Finding
    from wsinuc.urls import Place


SHOWN = 20
"""Classes in one line."""


@click.command()
@click.argument("file", type=PLACE)
def check(file: Place) -> None:
    """Say whether QuPath 0.5, 0.6 and 0.7 will take FILE, and what they will make of it.

    \b
    wsinuc check nuclei.geojson

    FILE is GeoJSON (.geojson or .json, also with .gz) or a .zip of such files, on disk or at a URL.
    The exit code is 1 when one of the versions refuses the file or leaves something out.
    """
    from wsinuc.exports.qupath.check import check_geojson

    # What modules hold is no garbage, and to search it again and again takes a tenth of the time.
    gc.freeze()
    report = check_geojson(file)
    echo_text(describe(report))
    if not report.ok:
        raise click.exceptions.Exit(1)


def describe(report: CheckReport) -> str:
    """A verdict, the counts, and one line per kind of problem."""
    lines = [f"{report.path}: {_verdict(report)}"]
    if report.count and not report.rejected_by:
        lines += [f"  {_counts(report.by_type)}", f"  classes: {_counts(report.by_class)}"]
    lines += [f"  problem: {_finding(finding)}" for finding in report.problems]
    lines += [f"  warning: {_finding(finding)}" for finding in report.warnings]
    return as_text(lines)


def _verdict(report: CheckReport) -> str:
    if report.rejected_by:
        return f"QuPath {', '.join(sorted(report.rejected_by))} will refuse the whole file"
    if not report.ok:
        return f"QuPath will silently leave something out; it imports {_objects(report.count)}"
    return f"QuPath will import {_objects(report.count)}"


def _objects(count: int) -> str:
    if count == 1:
        return f"{count:,} object"
    return f"{count:,} objects"


def _counts(counts: dict[str, int]) -> str:
    shown = list(counts.items())[:SHOWN]
    more = ""
    if len(counts) > SHOWN:
        more = f", and {len(counts) - SHOWN} more"
    return ", ".join(f"{name} {count:,}" for name, count in shown) + more


def _finding(finding: Finding) -> str:
    if finding.count > 1:
        times = f" ({finding.count:,} times, first in {finding.where})"
    else:
        times = f" ({finding.where})"
    # A finding about all three versions needs no word about versions.
    only = ""
    if 0 < len(finding.versions) < 3:
        only = f" [QuPath {', '.join(finding.versions)}]"
    return finding.reason + times + only
