"""``wsinuc verify``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc.urls import Place
from wsinuc_cli.options.common import PLACE
from wsinuc_cli.terminal import as_text, echo_text

if TYPE_CHECKING:
    from wsinuc.workflows.verify.run import Verification

CODES = {"whole": 0, "unfinished": 2}
"""Exit codes by state; of all others it is 1."""
SHOWN = 10
"""Names in one line."""
_LARGE = 500 * 2**20
"""Bytes of a result from which a bar shows how far it is."""


@click.command()
@click.argument("results", nargs=-1, required=True, metavar="RESULT...", type=PLACE)
def verify(results: tuple[Place, ...]) -> None:
    """Check that every file of RESULT is, byte for byte, what was written.

    \b
    wsinuc verify slide.wsinuc
    wsinuc verify results

    RESULT is a result (slide.wsinuc), its URL, or a folder of results. Each result gets a line, with
    its problems below, and the files that are not part of it, which do no harm.

    Exit code: 0 all are whole, 1 one or more are damaged or cannot be judged, 2 some are not finished.
    """
    from wsinuc.workflows.verify.run import results_in
    from wsinuc.workflows.verify.run import verify as verify_result

    codes = set()
    for place in results:
        # A URL is one result: listing a bucket for more could take hours.
        for result in results_in(place) if isinstance(place, Path) else [place]:
            with _bar() as on_bytes:
                report = verify_result(result, on_bytes=on_bytes)
            echo_text(describe(report))
            codes.add(CODES.get(report.state, 1))
    # Damage outweighs what is not finished, whatever the numbers of the codes.
    raise click.exceptions.Exit(1 if 1 in codes else max(codes))


def describe(report: Verification) -> str:
    """The verdict and what it rests on, line by line."""
    lines = [f"{report.result}: {_verdict(report)}"]
    lines += [f"  {finding}" for finding in report.findings]
    if report.extra:
        lines.append(f"  besides, not part of the result: {_some(report.extra)}")
    return as_text(lines)


def _verdict(report: Verification) -> str:
    what = f"{report.files:,} files, {report.size / 1e6:,.1f} MB"
    if report.state == "damaged":
        return f"damaged ({what} expected): segment the slide again with --overwrite, or copy the result again"
    if report.state == "unfinished":
        return f"not finished, {report.files:,} blocks stored: give the same wsinuc segment command to continue"
    if report.state == "unknown":
        return "made by a version of wsinuc that wrote no checksums: nothing to compare with"
    return f"whole ({what})"


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    rest = f", and {more} more" if more > 0 else ""
    return ", ".join(names[:SHOWN]) + rest


@contextmanager
def _bar() -> Iterator[Any]:
    """How far hashing a large result is; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        row = progress.add_task("", visible=False)

        def show(done: int, total: int) -> None:
            progress.update(row, completed=done, total=total, visible=total >= _LARGE)

        yield show
