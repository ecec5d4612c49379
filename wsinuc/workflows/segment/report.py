"""What a run tells its report: facts of slide, model and settings in words, and the fields that are worth a look.

Nothing of it depends on the clock, on the folder or on who worked, so the page is the same bytes
whenever it is made.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import wsinuc
from wsinuc.config import SegmentConfig
from wsinuc.exports.pictures.slide_pictures import FieldPictures, Near, SlidePictures, resolution
from wsinuc.exports.report.distributions import Distributions
from wsinuc.exports.report.facts import ClassFacts, Finding, LeftOut, SlideFacts
from wsinuc.exports.report.quality import Colours, focus_finding, probability_finding, small_finding, stain_finding
from wsinuc.segmenters.base import Coloured, Segmenter
from wsinuc.segmenters.normalisation import moments
from wsinuc.segmenters.shipped import shipped_name
from wsinuc.workflows.segment.plan import Plan, Prepared
from wsinuc.workflows.segment.summary import PACKAGES, Tally, installed_version, unreadable_share

Field = tuple[str, FieldPictures]

_REASONS = {
    "glass": "clear, or with single specks of dust",
    "blank": "pure white: not scanned, transparent, or overexposed glass",
    "black": "black padding around the scan",
    "pen": "strokes of a marker, also where they cover tissue",
    "grey": "edges of a coverslip, bubbles, lines of the scanner, grey padding",
    "blurred": "so far out of focus that nuclei cannot be seen",
}


def write_report(
    facts: SlideFacts,
    pictures: SlidePictures,
    near: Near,
    distributions: Distributions,
    segmenter: Segmenter,
    path: Path,
) -> None:
    """Write ``report.html``.

    Parameters
    ----------
    facts
        From `slide_facts`; what is found of focus, stain and small nuclei is added to its findings.
    pictures
        Of the slide, with all parts of its table.
    near
        Parts of the table with all nuclei that reach into a box of the view.
    segmenter
        The model, which may know the colours of its training images.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    # Takes jinja2, which runs without a report do without.
    from wsinuc.exports.report.slide_page import SlideReport, write_slide_page

    fields: list[Field] = []
    if facts.nuclei:
        fields = [(field.name, pictures.field(field.box, near)) for field in pictures.tally.choose()]
    report = SlideReport(
        facts=facts,
        overview=pictures.overview(),
        fields=fields,
        findings=(*facts.notes, *_findings(fields, distributions, segmenter)),
        distributions=distributions,
        has_region=pictures.region is not None,
    )
    write_slide_page(report, path)


def slide_facts(
    prepared: Prepared, plan: Plan, config: SegmentConfig, counts: Mapping[str, int], total: Tally, notes: Sequence[str]
) -> SlideFacts:
    """The facts of a run.

    Parameters
    ----------
    counts
        Nuclei per class.
    notes
        What a reader should know before trusting the numbers.
    """
    classes = prepared.segmenter.classes
    own_resolution = resolution(prepared.view)
    return SlideFacts(
        name=prepared.slide.name,
        classes=tuple(ClassFacts(name=each.name, color=each.color, count=counts[each.name]) for each in classes),
        tissue_mm2=plan.tissue_mm2,
        area_name=_area_name(config),
        resolution=own_resolution,
        left_out=tuple(_left_out(prepared, plan, total)),
        search=_search(config),
        notes=tuple(Finding("Note", note) for note in notes),
        citation=_citation(prepared, own_resolution),
        settings=tuple(_settings(prepared, plan, config)),
        versions=tuple(_versions()),
    )


def _findings(fields: Sequence[Field], distributions: Distributions, segmenter: Segmenter) -> Iterator[Finding]:
    if fields:
        yield focus_finding(fields)
        yield stain_finding(_slide_colours(fields), _training_colours(segmenter))
        yield probability_finding(distributions)
    yield small_finding(distributions)


def _slide_colours(fields: Sequence[Field]) -> Colours | None:
    """Of the fields, at about the resolution that models see."""
    # Half the resolution: colours differ by little, and it takes a fourth of the time.
    pixels = [np.asarray(field.plain.reduce(2)).reshape(-1, 3) for _, field in fields]
    measured = moments(np.concatenate(pixels))
    if measured is None:
        return None
    mean, spread = (tuple(map(float, values)) for values in measured)
    return Colours(mean, spread)  # type: ignore[arg-type]  # three channels each


def _training_colours(segmenter: Segmenter) -> Colours | None:
    if not isinstance(segmenter, Coloured) or segmenter.training_colours is None:
        return None
    return Colours(segmenter.training_colours.mean, segmenter.training_colours.spread)


def _area_name(config: SegmentConfig) -> str:
    """What the area is that densities refer to."""
    searched = {"auto": "tissue", "none": "the slide"}.get(str(config.tissue), "the mask")
    if config.roi is None:
        return searched
    if config.tissue == "none":
        return "the region of interest"
    return f"{searched} in the region of interest"


def _search(config: SegmentConfig) -> str:
    if config.tissue == "auto":
        text = "Nuclei were looked for in tissue, which was found automatically."
    elif config.tissue == "none":
        text = "Nuclei were looked for everywhere: no search for tissue was asked for."
    else:
        text = f"Nuclei were looked for inside the mask {Path(config.tissue).name}, which was taken at its word."
    if config.roi is not None:
        text += f" Only nuclei whose centre lies in the region of interest ({Path(config.roi).name}) are counted."
    return text


def _left_out(prepared: Prepared, plan: Plan, total: Tally) -> Iterator[LeftOut]:
    for kind, share in plan.left_out_share.items():
        if share:
            yield LeftOut(what=kind, why=_REASONS[kind], mm2=share * plan.slide_mm2, share=share)
    selection = prepared.selection
    if selection.region is not None:
        share = max(0.0, selection.tissue.area_px() - selection.wanted.area_px()) / np.prod(prepared.view.shape)
        why = "outside the region of interest"
        yield LeftOut(what="other tissue", why=why, mm2=float(share) * plan.slide_mm2, share=float(share))
    unreadable = unreadable_share(prepared, total)
    if unreadable:
        mm2 = unreadable * plan.tissue_mm2
        why = f"{len(total.unreadable)} places of the file cannot be decoded and were taken for white"
        yield LeftOut(what="undecodable", why=why, mm2=mm2, share=mm2 / plan.slide_mm2)


def _model(prepared: Prepared) -> tuple[str, str]:
    """The model's name, and its hash or identity."""
    sha256 = getattr(prepared.segmenter, "weights_sha256", None)
    if not sha256:
        return "a model in memory", prepared.segmenter.identity
    name = shipped_name(sha256)
    if name is None:
        return "a model of the user's", f"SHA-256 {sha256}"
    return f"the shipped model {name}", f"SHA-256 {sha256}"


def _citation(prepared: Prepared, own_resolution: str) -> str:
    name, sha256 = _model(prepared)
    return (
        f"To cite: nuclei were segmented with wsinuc {wsinuc.__version__} (The wsinuc developers, Apache-2.0) and "
        f"{name} ({sha256[:20]}), on a slide of {own_resolution}. Please cite the papers of the method as well."
    )


def _settings(prepared: Prepared, plan: Plan, config: SegmentConfig) -> Iterator[tuple[str, str]]:
    """What the result depends on, in the words of the command line where it has some."""
    name, identity = _model(prepared)
    yield "slide", prepared.slide.name
    yield "µm per pixel", f"{prepared.slide.mpp:g}, {'given' if config.mpp is not None else 'from the file'}"
    yield "model", f"{name}, {identity}"
    yield "tissue", Path(config.tissue).name
    yield "region of interest", Path(config.roi).name if config.roi is not None else "none"
    for key, value in plan.settings.items():
        if value is not None and key not in ("wsinuc", "tissue", "roi"):
            label = {
                "slide": "slide's samples",
                "mpp": "µm per pixel of the model's view",
                "segmenter": "model's identity",
            }
            yield label.get(key, key.replace("_", " ")), _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)


def _versions() -> Iterator[tuple[str, str]]:
    """Of what is installed, loaded or not: the same whichever process writes the page."""
    yield "wsinuc", wsinuc.__version__
    yield "Python", platform.python_version()
    for name in (*PACKAGES, "pillow"):
        number = installed_version(name)
        if number is not None:
            yield name, number
