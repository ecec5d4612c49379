"""The summary of a finished run: ``summary.json``.

The only output that holds clock readings and machine facts; all others are the same bytes whenever they are made.
"""

from __future__ import annotations

import functools
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import wsinuc
from wsinuc.config import SegmentConfig
from wsinuc.grid import Box
from wsinuc.nuclei.stains import StainVectors
from wsinuc.store import Entry
from wsinuc.workflows.segment.plan import Plan, Prepared
from wsinuc.workflows.segment.slide_input import SlideInput

PACKAGES = ("numpy", "numba", "zarr", "dask", "pyarrow", "shapely", "openslide-python", "tiffslide", "torch")
NOTED_HOLES = 0.001
"""Share of a slide's bytes in holes from which a reader is told."""

_DOUBTFUL = ("pen", "blurred")
"""Kinds of what is no tissue that may cover some."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Summary:
    """Facts of one finished run, as `wsinuc.segment_slide` returns them. Every field is a line of ``summary.json``.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> out = tempfile.mkdtemp() + "/field.wsinuc"
    >>> summary = wsinuc.segment_slide("examples/data/field.png", out, wsinuc.SegmentConfig(mpp=0.499, model="student"))
    >>> isinstance(summary, wsinuc.Summary), summary.counts == {"Nucleus": summary.nuclei}
    (True, True)
    >>> len(wsinuc.read(summary.out)) == summary.nuclei
    True
    """

    slide: str
    out: str
    origin: tuple[int, int]
    """(y, x) of QuPath's (0, 0) in level-0 pixels: the corner of the scanned part on slides with bounds."""
    nuclei: int
    counts: dict[str, int]
    """Nuclei per class."""
    semantic_mm2: dict[str, float] | None
    """Area of the pixels of each class before nuclei are separated; None without ``--semantic``."""
    tissue_mm2: float
    slide_mm2: float
    left_out_mm2: dict[str, float]
    """Area of the slide that is no tissue, by kind: glass, blank, black, pen, grey, blurred; empty unless tissue was
    searched for."""
    left_out_share: dict[str, float]
    """These areas as shares of the slide, 0 to 1."""
    nuclei_per_mm2: float | None
    """Nuclei per mm2 of tissue; None without tissue."""
    seconds: dict[str, float]
    """Wall time of each stage of this run, and of the whole."""
    block_seconds: dict[str, float]
    """Time inside the blocks by step, added up over all of them; blocks overlap, so the sum exceeds the wall time."""
    seconds_per_mm2: float | None
    """Wall time per mm2 of tissue; None without tissue, or when part of the work was done by an earlier run."""
    network_busy: float | None
    """Share of the blocks' wall time during which the network worked; None when an earlier run did all blocks."""
    peak_memory_bytes: int
    """Largest resident memory of this process so far."""
    blocks: int
    resumed_blocks: int
    """Blocks done by an earlier, interrupted run."""
    tiles: int
    at_edge: int
    """Nuclei larger than the halo allows for, perhaps cut at a block's edge."""
    unreadable: tuple[tuple[int, int, int, int], ...]
    """Undecodable regions (y0, x0, y1, x1), level-0 pixels; they were taken for white."""
    unreadable_share: float
    """Share of the tissue that could not be decoded, 0 to 1."""
    notes: tuple[str, ...]
    """What a reader should know before trusting the numbers."""
    outputs: tuple[str, ...]
    stain_vectors: dict[str, Any] | None
    """Name of the stain vectors and the vectors (optical densities of R, G, B); None where no stain was measured."""
    settings: dict[str, Any]
    """What the result depends on."""
    config: dict[str, Any]
    """What was asked for."""
    weights_sha256: str | None
    """SHA-256 of the model's file; None for a segmenter that has none."""
    slide_sha256: str | None
    """SHA-256 of the slide's file (of several: of their sorted hashes); None without ``--verify-input``."""
    slide_stamp: str
    """Hash of what the file system said of the slide's files (sizes, times): where it is the same, so are they."""
    versions: dict[str, str]

    def __repr__(self) -> str:
        return f"<wsinuc.Summary of {self.slide}: {self.nuclei:,} nuclei on {self.tissue_mm2:.3g} mm2 of tissue>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the ledger adds up to."""

    nuclei: int
    tiles: int
    at_edge: int
    unreadable: tuple[Box, ...]
    seconds: dict[str, float]


def tally(entries: Iterable[Entry]) -> Tally:
    """Sum over the blocks of a run."""
    # They come in the order of completion.
    entries = sorted(entries, key=lambda entry: entry.block)
    seconds: Counter[str] = Counter()
    for entry in entries:
        seconds.update(entry.seconds)
    return Tally(
        nuclei=sum(entry.nuclei for entry in entries),
        tiles=sum(entry.tiles for entry in entries),
        at_edge=sum(entry.at_edge for entry in entries),
        unreadable=tuple(box for entry in entries for box in entry.unreadable),
        seconds=dict(seconds),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimings:
    """How long this run took, and for how many of the blocks."""

    seconds: dict[str, float]
    """Wall time of each stage, and ``total``."""
    network_seconds: float
    """Time inside the network."""
    resumed: int
    """Blocks that an earlier run had done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """What this run read, and what it wrote."""

    input: SlideInput
    """The slide's files when the run began."""
    outputs: tuple[str, ...]
    """Names of the outputs in the result."""
    stains: StainVectors | None
    """What optical densities were measured with; None where none were."""
    counts: dict[str, int]
    """Nuclei per class in them."""
    semantic_mm2: dict[str, float] | None
    """Area of the pixels of each class in them; None where these were not asked for."""


def summarize(
    prepared: Prepared, plan: Plan, config: SegmentConfig, total: Tally, timings: RunTimings, files: RunFiles
) -> Summary:
    """Put the facts of a run together."""
    seconds = timings.seconds
    resumed = timings.resumed
    # A time per area means something only where this run did all of the work.
    whole_run = resumed == 0 and plan.tissue_mm2 > 0
    return Summary(
        slide=str(plan.slide),
        out=str(plan.out),
        origin=prepared.slide.origin,
        nuclei=total.nuclei,
        counts=files.counts,
        semantic_mm2=files.semantic_mm2,
        tissue_mm2=plan.tissue_mm2,
        slide_mm2=plan.slide_mm2,
        left_out_mm2={kind: share * plan.slide_mm2 for kind, share in plan.left_out_share.items()},
        left_out_share=plan.left_out_share,
        nuclei_per_mm2=total.nuclei / plan.tissue_mm2 if plan.tissue_mm2 else None,
        seconds=seconds,
        block_seconds=total.seconds,
        seconds_per_mm2=seconds["total"] / plan.tissue_mm2 if whole_run else None,
        network_busy=timings.network_seconds / seconds["blocks"] if len(plan.blocks) > resumed else None,
        peak_memory_bytes=peak_memory_bytes(),
        blocks=len(plan.blocks),
        resumed_blocks=resumed,
        tiles=total.tiles,
        at_edge=total.at_edge,
        unreadable=tuple(_level0(box, prepared.view.downsample) for box in total.unreadable),
        unreadable_share=unreadable_share(prepared, total),
        notes=notes_of(prepared, plan, total, files.input, files.stains),
        outputs=files.outputs,
        stain_vectors=asdict(files.stains) if files.stains else None,
        settings=plan.settings,
        config={key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()},
        weights_sha256=getattr(prepared.segmenter, "weights_sha256", None),
        slide_sha256=files.input.sha256,
        slide_stamp=files.input.stamp,
        versions=versions(),
    )


def restore(content: Mapping[str, Any]) -> Summary:
    """A Summary from what ``summary.json`` holds, ``made_by`` excepted."""
    lists = {name: tuple(content[name]) for name in ("notes", "outputs", "origin")}
    # Absent from a summary that an earlier version left before it could bring the result to its store.
    later = {"semantic_mm2": content.get("semantic_mm2")}
    return Summary(**{**content, **lists, **later, "unreadable": tuple(tuple(box) for box in content["unreadable"])})


def unreadable_share(prepared: Prepared, total: Tally) -> float:
    """Share of the tissue's pixels that could not be decoded."""
    tissue = prepared.selection.wanted
    area = tissue.area_px()
    if not area:
        return 0.0
    lost = sum(tissue.share(box) * box.shape[0] * box.shape[1] for box in total.unreadable)
    # Blocks overlap, so the same region may be reported by two of them.
    return min(1.0, lost / area)


def peak_memory_bytes() -> int:
    """Largest resident memory this process has had.

    Linux tells it for the process alone; ``getrusage`` would still count the parent's memory from before ``exec``.
    """
    status = Path("/proc/self/status")
    if status.exists():
        # High-water mark of the resident set, in kB.
        # The name of the program stands there as well, and may be cut off in the middle of a letter.
        text = status.read_text(encoding="utf-8", errors="replace")
        line = next(line for line in text.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # absent on Windows

    # Bytes there, kilobytes elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def notes_of(
    prepared: Prepared, plan: Plan, total: Tally, seen: SlideInput, stains: StainVectors | None
) -> tuple[str, ...]:
    """What a reader should know before trusting the numbers: of the slide's file, then of the run."""
    notes = [*prepared.slide.header.notes, *_cutoff_notes(plan)]
    if seen.holes >= NOTED_HOLES:
        notes.append(
            f"{seen.holes:.1%} of the slide's file was never written (it has holes): was it copied incompletely?"
        )
    if not plan.blocks:
        notes.append("no tissue was found, so the network never ran: if there is some, try --tissue none")
    doubtful = [f"{kind} {share:.1%}" for kind, share in plan.left_out_share.items() if share and kind in _DOUBTFUL]
    if doubtful:
        notes.append(f"not searched, as shares of the slide: {', '.join(doubtful)}; --tissue none looks there as well")
    if total.unreadable:
        count = len(total.unreadable)
        if count == 1:
            regions = "1 undecodable region was"
        else:
            regions = f"{count} undecodable regions were"
        notes.append(f"{regions} taken for white: nuclei there are missing")
    if total.at_edge:
        if total.at_edge == 1:
            nuclei = "1 nucleus is"
        else:
            nuclei = f"{total.at_edge} nuclei are"
        notes.append(f"{nuclei} larger than the model allows for, and may be cut at a block's edge")
    if stains and plan.settings["stains"] != stains.name:
        notes.append(f"too little stained tissue to fit stain vectors: optical densities are by those of {stains.name}")
    return tuple(notes)


def _cutoff_notes(plan: Plan) -> Iterator[str]:
    """That cutoffs are not the model's, and what follows from it."""
    cutoffs = plan.cutoffs
    own = plan.own_cutoffs
    if cutoffs is None or own is None:
        return
    if cutoffs.threshold != own.threshold:
        yield (
            f"the threshold is {cutoffs.threshold:g} (--threshold), the model's own {own.threshold:g}: probabilities "
            "are calibrated for the model's own"
        )
    if cutoffs.min_area_um2 != own.min_area_um2:
        yield (
            f"the least area of a nucleus is {cutoffs.min_area_um2:g} um2 (--min-area), the model's own "
            f"{own.min_area_um2:g} um2"
        )


def _level0(box: Box, downsample: tuple[float, float]) -> tuple[int, int, int, int]:
    dy, dx = downsample
    return round(box.y0 * dy), round(box.x0 * dx), round(box.y1 * dy), round(box.x1 * dx)


def versions() -> dict[str, str]:
    """Versions of what was really used: torch only when something has loaded it."""
    numbers = {"wsinuc": wsinuc.__version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        number = installed_version(name)
        if number is not None and (name != "torch" or "torch" in sys.modules):
            numbers[name] = number
    return numbers


@functools.cache
def installed_version(package: str) -> str | None:
    """The version of an installed package, None without it; kept, because each look takes milliseconds."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
