"""What ``segment`` says of results and of plans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsinuc.exports.formats.registry import parse_formats
from wsinuc.urls import Place, to_place
from wsinuc_cli.terminal import as_text
from wsinuc_cli.texts.duration import duration

if TYPE_CHECKING:
    from wsinuc.workflows.segment.plan import Estimate
    from wsinuc.workflows.segment.run import Summary

SHOWN = 10
"""Slides that are named in one line."""


def describe_result(summary: Summary) -> str:
    """One slide's result in a line, and what its reader should know."""
    took = duration(summary.seconds["total"])
    head = f"{summary.slide}: {summary.nuclei:,} nuclei on {summary.tissue_mm2:.3g} mm2 of tissue in {took}"
    return as_text([head, *(f"  note: {note}" for note in summary.notes)])


def describe_use(done: Sequence[Summary]) -> str:
    """Where the results are and what to do with them."""
    folders = [to_place(summary.out) for summary in done]
    more = ""
    if len(folders) > SHOWN:
        more = f" and {len(folders) - SHOWN:,} more"
    example = folders[0]
    # A zip above a number of nuclei, else plain.
    geojson = next((name for name in done[0].outputs if name.startswith("nuclei.geojson")), "nuclei.geojson")
    if "report.html" in done[0].outputs:
        look = "report.html"
        picture = "   (one page; preview.png is the picture alone)"
    else:
        look = "preview.png"
        picture = ""
    results = f"Results: {', '.join(map(str, folders[:SHOWN]))}{more}"
    python = f'  Python   wsinuc.read("{example}").nuclei()'
    if not isinstance(example, Path):
        # Browser, QuPath and napari open files.
        return as_text([results, f"  look     copy the folder to this computer, and open its {look}", python])
    return as_text(
        [
            results,
            f"  look     {example / look}{picture}",
            f"  QuPath   open the slide, drag {example / geojson} onto it",
            f"  napari   napari --plugin napari-ome-zarr {example / 'labels.ome.zarr'}",
            python,
            *_also_written(example, done[0]),
        ]
    )


def _also_written(result: Place, summary: Summary) -> list[str]:
    """A line with what ``--also`` has written beside a result; none without it."""
    from wsinuc.exports.formats.write import default_name, folder_of

    formats = parse_formats(summary.config.get("also", ()))
    if not formats or not isinstance(result, Path):
        return []
    return [f"  beside   {', '.join(str(folder_of(result) / default_name(result, kind)) for kind in formats)}"]


def describe_dry_run(plan: Estimate, time_text: str) -> str:
    """The plan for one slide, line by line; ``time_text`` is how long it will take, in words."""
    height, width = plan.shape
    left_out = [f"{kind} {share:.2%}" for kind, share in plan.left_out_share.items() if share]
    rows = [
        ("result", plan.out),
        ("reader", plan.reader),
        ("resolution", f"{plan.mpp:.4g} um per pixel from level {plan.level}: {width} x {height} pixels"),
        ("tissue", f"{plan.tissue_mm2:.3g} of {plan.slide_mm2:.3g} mm2 ({plan.tissue_share:.0%})"),
        ("left out", ", ".join(left_out) or "nothing"),
        *_cutoff_rows(plan),
        ("blocks", f"{len(plan.blocks)} of {plan.blocks_total}, {plan.tiles} tiles for the network"),
        ("memory", f"about {plan.memory_bytes / 1e9:.1f} GB, and what the network needs"),
        ("disk", f"about {plan.disk_bytes / 1e6:.0f} MB"),
        ("time", time_text),
    ]
    return as_text([str(plan.slide), *(f"  {name:<11}{value}" for name, value in rows)])


def _cutoff_rows(plan: Estimate) -> list[tuple[str, str]]:
    """What the model takes for a nucleus; no line for a segmenter that does not say."""
    cutoffs = plan.cutoffs
    own = plan.own_cutoffs
    if cutoffs is None or own is None:
        return []
    threshold = f"{cutoffs.threshold:g}"
    if cutoffs.threshold != own.threshold:
        threshold += f" (the model's own is {own.threshold:g})"
    area = f"{cutoffs.min_area_um2:g} um2"
    if cutoffs.min_area_um2 != own.min_area_um2:
        area += f" (the model's own is {own.min_area_um2:g} um2)"
    return [("threshold", threshold), ("least area", area)]
