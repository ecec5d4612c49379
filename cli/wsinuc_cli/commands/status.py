"""``wsinuc status``."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsinuc.urls import Place
from wsinuc_cli.options.common import PLACE
from wsinuc_cli.terminal import as_text, echo_json, echo_text
from wsinuc_cli.texts.duration import duration

if TYPE_CHECKING:
    from wsinuc.workflows.cohort.status import SlideStatus


@click.command()
@click.argument("outs", nargs=-1, metavar="[OUT]...", type=PLACE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def status(outs: tuple[Place, ...], as_json: bool) -> None:
    """Show how far the slides of the output folder OUT are (default: the current folder).

    \b
    wsinuc status results

    OUT may also be a single result (slide.wsinuc). The command works while a run goes on, and on every computer
    that shares the folder.

    Exit code: 0 all slides are done, 1 one or more failed or are damaged, 2 some are running, waiting or
    interrupted.
    """
    from wsinuc.workflows.cohort.status import cohort_status, exit_code

    for url in (out for out in outs if not isinstance(out, Path)):
        raise click.UsageError(f"{url}: status looks into folders; wsinuc verify looks at a result at a URL")
    slides = cohort_status([out for out in outs if isinstance(out, Path)] or [Path()])
    if as_json:
        echo_json([dataclasses.asdict(slide) for slide in slides])
    else:
        echo_text(describe(slides))
    raise click.exceptions.Exit(exit_code(slides))


def describe(slides: Sequence[SlideStatus]) -> str:
    """A line per slide, the errors, and how many are in which state."""
    rows = [("slide", "state", "blocks", "nuclei", "last sign of life"), *(_row(slide) for slide in slides)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_aligned(row, widths) for row in rows]
    errors = [
        f"{slide.name}: {slide.error}" for slide in slides if slide.error and slide.state in ("failed", "damaged")
    ]
    counts = Counter(slide.state for slide in slides)
    done = counts.pop("done", 0)
    others = "".join(f", {count} {state}" for state, count in counts.items())
    lines += [*errors, f"{done} of {len(slides)} slides done{others}"]
    if counts.keys() & {"interrupted", "skipped"}:
        lines.append("run the same wsinuc segment command again to continue")
    return as_text(lines)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """A row of the table: words to the left, numbers to the right, and the last column as long as it is."""
    name, state, blocks, nuclei, life = row
    words = f"{name:<{widths[0]}}  {state:<{widths[1]}}"
    return f"{words}  {blocks:>{widths[2]}}  {nuclei:>{widths[3]}}  {life}".rstrip()


def _row(slide: SlideStatus) -> tuple[str, str, str, str, str]:
    begun = slide.blocks is not None or slide.blocks_done
    life = ""
    if slide.age_s is not None:
        life = f"{duration(slide.age_s)} ago, {slide.holder}"
    return (
        slide.name,
        slide.state,
        f"{slide.blocks_done}/{'?' if slide.blocks is None else slide.blocks}" if begun else "",
        f"{slide.nuclei:,}" if begun else "",
        life,
    )
