"""Preview and report of a result whose nuclei have other classes.

They show nuclei on tissue, so the slide is opened: a few fields and a small picture of the whole are read from it.
Nothing is scored, and the model is not loaded. Where the slide is gone, or another one now, there are no pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from wsinuc.config import SegmentConfig
from wsinuc.errors import WsinucError
from wsinuc.exports.pictures.preview import Preview
from wsinuc.exports.report.distributions import Distributions
from wsinuc.grid import BlockGrid, Box
from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.pipeline.selection import select
from wsinuc.segmenters.base import Segmenter
from wsinuc.slides.base import Slide
from wsinuc.slides.identity.fingerprint import fingerprint
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.urls import Place, to_place
from wsinuc.workflows.segment.plan import Plan, Prepared
from wsinuc.workflows.segment.report import slide_facts, write_report
from wsinuc.workflows.segment.summary import Tally


class NoPicturesError(WsinucError, OSError):
    """The slide of a result cannot be shown; the message says why."""


@dataclass(frozen=True, slots=True)
class _Model:
    """What a report says of the model that segmented."""

    classes: tuple[NucleusClass, ...]
    identity: str
    weights_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureJob:
    """What pictures are made of."""

    summary: Mapping[str, Any]
    """Of the result, with the new counts."""
    classes: tuple[NucleusClass, ...]
    parts: Callable[[], Iterator[tuple[int, Nuclei]]]
    """The new table: blocks and their nuclei."""
    part: Callable[[int], Nuclei | None]
    """The nuclei of one block."""
    note: str
    """How the classes came about."""


def write_pictures(job: PictureJob, slide: str | Place | None, folder: Path, *, report: bool) -> None:
    """Write ``preview.png`` and, where asked for, ``report.html``.

    Parameters
    ----------
    slide
        The slide, when it has moved since; None takes the path that the result has noted.

    Raises
    ------
    NoPicturesError
        The slide cannot be opened, is another one than was segmented, or a mask or region that was given is gone.
    """
    place = to_place(slide or str(job.summary["slide"]))
    try:
        config = _config(job.summary["config"])
        with open_isolated(place, reader=config.reader, mpp=config.mpp) as opened:
            prepared = _prepared(job, opened, config)
            _write(job, prepared, config, folder, report=report)
    except NoPicturesError:
        raise
    except (WsinucError, TypeError, KeyError, ValueError) as error:
        raise NoPicturesError(f"no preview and no report, for which the slide is needed: {error}") from error


def _write(job: PictureJob, prepared: Prepared, config: SegmentConfig, folder: Path, *, report: bool) -> None:
    preview = Preview(prepared.view, prepared.selection.region)
    distributions = Distributions()
    for _, nuclei in job.parts():
        preview.add(nuclei)
        distributions.add(nuclei)

    def near(box: Box) -> Iterator[Nuclei]:
        for block in prepared.grid.overlapping(box.grow(prepared.grid.halo)):
            nuclei = job.part(block.index)
            if nuclei is not None:
                yield nuclei

    plan = _plan(job.summary)
    preview.write(folder / "preview.png", near, tissue_mm2=plan.tissue_mm2, tissue=prepared.selection.tissue)
    if not report:
        return
    total = _tally(job.summary, prepared)
    facts = slide_facts(prepared, plan, config, job.summary["counts"], total, [job.note, *job.summary["notes"]])
    write_report(facts, preview.pictures, near, distributions, prepared.segmenter, folder / "report.html")


def _config(content: Mapping[str, Any]) -> SegmentConfig:
    """The settings of the run, of those that this version knows."""
    known = {name: value for name, value in content.items() if name in SegmentConfig.__dataclass_fields__}
    for name in ("roi", "work"):
        if known.get(name) is not None:
            known[name] = Path(known[name])
    known["also"] = tuple(known.get("also", ()))
    return SegmentConfig(**known)


def _prepared(job: PictureJob, slide: Slide, config: SegmentConfig) -> Prepared:
    """The slide as it was segmented; raises NoPicturesError when it is another one."""
    settings = job.summary["settings"]
    view = slide.at(settings["mpp"])
    if list(view.shape) != list(settings["shape"]) or (slide.path and fingerprint(slide.path) != settings["slide"]):
        raise NoPicturesError(f"no preview and no report: {slide.name} is not the slide that was segmented")
    model = _Model(job.classes, str(settings["segmenter"]), job.summary.get("weights_sha256"))
    return Prepared(
        slide=slide,
        view=view,
        grid=BlockGrid(view.shape, settings["block"], settings["halo"]),
        selection=select(view, config, reach=settings["halo"]),
        # A report asks a model for its name and its classes alone.
        segmenter=cast(Segmenter, model),
    )


def _plan(summary: Mapping[str, Any]) -> Plan:
    """What a report says of the plan."""
    settings = summary["settings"]
    return Plan(
        slide=to_place(str(summary["slide"])),
        out=to_place(str(summary["out"])),
        work=Path(str(summary["out"])),
        reader=settings["reader"],
        level=settings["level"],
        mpp=settings["mpp"],
        shape=tuple(settings["shape"]),
        blocks_total=summary["blocks"],
        blocks=(),
        tiles=summary["tiles"],
        tissue_share=summary["tissue_mm2"] / summary["slide_mm2"],
        tissue_mm2=summary["tissue_mm2"],
        slide_mm2=summary["slide_mm2"],
        left_out_share=summary["left_out_share"],
        memory_bytes=0,
        disk_bytes=0,
        settings=settings,
    )


def _tally(summary: Mapping[str, Any], prepared: Prepared) -> Tally:
    dy, dx = prepared.view.downsample
    corners = [np.round(np.array(box) / (dy, dx, dy, dx)).astype(int).tolist() for box in summary["unreadable"]]
    return Tally(
        nuclei=summary["nuclei"],
        tiles=summary["tiles"],
        at_edge=summary["at_edge"],
        unreadable=tuple(Box(*each) for each in corners),
        seconds=summary["block_seconds"],
    )
