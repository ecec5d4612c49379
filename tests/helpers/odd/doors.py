"""The doors through which files come in, each as a user has it, and what may be expected behind them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

import wsinuc
from helpers.oracle import OracleSegmenter
from wsinuc.config import SegmentConfig
from wsinuc.datasets.sampling.split import Split
from wsinuc.errors import WsinucError
from wsinuc.grid import Box
from wsinuc.nuclei import read_nuclei
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.store import iter_nuclei
from wsinuc.synthesis.layout_files import read_layout
from wsinuc.tissue import find_tissue, load_region
from wsinuc.tissue.load import load_tissue
from wsinuc.workflows.cohort.slide_list import list_slides
from wsinuc.workflows.cohort.status import cohort_status

SIDE = 64
"""Of the empty slide that regions and tissue are drawn on, and of the square whose pixels count for their area."""


@dataclass(frozen=True)
class Given:
    """What a user gives: a file and options."""

    path: Path
    options: dict[str, Any] = field(default_factory=dict)


def with_options(make: Callable[[Path], Path], options: dict[str, Any], folder: Path) -> Given:
    """What ``make`` makes, given with options."""
    return Given(make(folder), options)


@dataclass(frozen=True)
class Answer:
    """What comes out of a door."""

    value: Any
    said: str = ""
    """Notes, findings, or what a command prints."""


@dataclass(frozen=True)
class Gives:
    """Expected: this value, or an array within a tolerance."""

    value: Any
    """Or a function that makes it."""
    says: str = ""
    """Words in the notes; empty where there must be none."""
    tolerance: int = 0


@dataclass(frozen=True)
class Refused:
    """Expected: one line of an error."""

    error: type[WsinucError]
    says: str
    """Words in it."""


def pixels(given: Given) -> Answer:
    """``open_slide``: level 0."""
    with wsinuc.open_slide(given.path, **given.options) as slide:
        return Answer(slide.read(Box.of_shape(slide.level_shapes[0])), "; ".join(slide.header.notes))


def resolution(given: Given) -> Answer:
    """``open_slide``: um per pixel."""
    with wsinuc.open_slide(given.path, **given.options) as slide:
        return Answer(round(slide.mpp, 4))


def isolated(given: Given) -> Answer:
    """A slide in a reader process: level 0."""
    with open_isolated(given.path, mpp=0.5) as slide:
        return Answer(slide.read(Box.of_shape(slide.level_shapes[0])))


def segmented(given: Given) -> Answer:
    """``segment_slide`` with a segmenter that knows the answer: the number of nuclei."""
    out = given.options.get("out", given.path.parent / "result.wsinuc")
    changes = {key: value for key, value in given.options.items() if key != "out"}
    config = SegmentConfig(**{"tissue": "none", "block": 512, "workers": 1, **changes})
    summary = wsinuc.segment_slide(given.path, out, config, segmenter=OracleSegmenter())
    return Answer(summary.nuclei, "; ".join(summary.notes))


def looked_at(given: Given) -> Answer:
    """What ``segment`` takes for tissue by itself: kinds of cells that are left out, beside glass."""
    with wsinuc.open_slide(given.path, mpp=0.5) as slide:
        found = find_tissue(slide.at(0.5))
    kinds = sorted(kind for kind, share in found.left_out().items() if share > 0.02 and kind not in ("blank", "glass"))
    return Answer((bool(found.mask.any()), *kinds))


def region(given: Given) -> Answer:
    """``--roi``: pixels of the square whose centres lie inside."""
    centres = np.indices((SIDE, SIDE)).reshape(2, -1).T + 0.5
    return Answer(int(load_region(given.path).contains(centres).sum()))


def tissue(given: Given) -> Answer:
    """``--tissue`` on an empty slide: px of its area that are selected."""
    view = ArraySlide(np.full((SIDE, SIDE, 3), 255, np.uint8), mpp=0.5).at(0.5)
    return Answer(round(load_tissue(given.path, view).area_px()))


def checked(given: Given) -> Answer:
    """``check_geojson``: objects that QuPath takes."""
    report = wsinuc.check_geojson(given.path)
    return Answer(report.count, "; ".join(finding.reason for finding in report.problems))


def annotated(given: Given) -> Answer:
    """``open_dataset``: nuclei in the first image, outlined or as points."""
    image = wsinuc.open_dataset(given.path, **{"mpp": 0.25, **given.options})[0]
    points = image.points
    return Answer(len(np.unique(image.labels)) - 1 if points is None else len(points), "; ".join(image.notes))


def slides(given: Given) -> Answer:
    """A table of slides, or a folder of DICOM files: names of the results."""
    return Answer(tuple(job.stem for job in list_slides([given.path])))


def layout(given: Given) -> Answer:
    """A layout for synthesis: points."""
    return Answer(len(read_layout(given.path, ("a", "b")).points))


def split(given: Given) -> Answer:
    """A split of a data set: images by part."""
    return Answer({name: len(places) for name, places in Split.load(given.path).parts.items()})


def model(given: Given) -> Answer:
    """``load_segmenter``: its classes."""
    segmenter = wsinuc.load_segmenter(str(given.path), device="cpu")
    return Answer(tuple(item.name for item in segmenter.classes))


def verified(given: Given) -> Answer:
    """``verify``: state of a result."""
    report = wsinuc.verify(given.path)
    return Answer(report.state, "; ".join(map(str, report.findings)))


def table(given: Given) -> Answer:
    """``iter_nuclei`` or ``read_nuclei``: rows."""
    parts = [read_nuclei(given.path)] if given.path.suffix == ".parquet" else iter_nuclei(given.path)
    return Answer(sum(len(part) for part in parts))


def status(given: Given) -> Answer:
    """``status``: states of slides."""
    return Answer(tuple(slide.state for slide in cohort_status([given.path])))


def command(given: Given) -> Answer:
    """The command line: exit code, and what it prints last."""
    from wsinuc_cli.main import main

    result = CliRunner().invoke(main, [*given.options["command"], str(given.path)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    lines = [line for line in re.split("\n", result.output) if line.strip()]
    return Answer(result.exit_code, lines[-1] if lines else "")


DOORS: dict[str, Callable[[Given], Answer]] = {
    "open_slide": pixels,
    "open_slide, mpp": resolution,
    "a reader process": isolated,
    "segment_slide": segmented,
    "--tissue auto": looked_at,
    "--roi": region,
    "--tissue FILE": tissue,
    "check_geojson": checked,
    "open_dataset": annotated,
    "a list of slides": slides,
    "a layout": layout,
    "a split": split,
    "load_segmenter": model,
    "verify": verified,
    "table of nuclei": table,
    "status": status,
    "command line": command,
}
