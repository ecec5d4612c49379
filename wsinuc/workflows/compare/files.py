"""The files of a comparison of two sets: all figures, histograms side by side, and a page of patches to look at."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.exports.atomic import replacing_text
from wsinuc.exports.pictures.contact_sheet import write_contact_sheet
from wsinuc.exports.pictures.plots import draw_histograms
from wsinuc.workflows.compare.patches import QUANTITIES, Cutting, PatchFigures, cut_patches

SHOWN = 12
COLUMNS = 6
"""Patches of each set on the page, at most, and in a row."""


def write_comparison(summary: Mapping[str, Any], figures: Mapping[str, PatchFigures], out: Path) -> None:
    """Write ``comparison.json``, where null is what could not be measured, and ``distributions.png``."""
    text = json.dumps(_without_nan(summary), indent=2, allow_nan=False)
    with replacing_text(out / "comparison.json") as file:
        file.write(text + "\n")
    drawn = {label: {name: each.values(key) for name, each in figures.items()} for key, label in QUANTITIES.items()}
    draw_histograms(drawn, out / "distributions.png")


def write_patches(
    sets: Mapping[str, Dataset], figures: Mapping[str, PatchFigures], cutting: Cutting, out: Path
) -> None:
    """Write ``patches.png``: rows of real patches above rows of as many synthetic ones, drawn at random."""
    count = min(SHOWN, *(len(each) for each in figures.values()))
    columns = min(COLUMNS, count)
    count -= count % columns  # so that the second set begins a row
    shown = []
    for name, dataset in sets.items():
        rng = np.random.default_rng(cutting.seed)
        chosen = sorted(rng.choice(len(figures[name]), count, replace=False).tolist())
        shown += [_patch(name, dataset, figures[name].places[i], cutting) for i in chosen]
    same = len({tuple(c.name for c in dataset.classes) for dataset in sets.values()}) == 1
    classes = next(iter(sets.values())).classes if same else ()
    if same:
        pages = shown
    else:
        pages = [replace(patch, classes=None) for patch in shown]
    write_contact_sheet(pages, classes, out / "patches.png", columns=columns)


def _patch(name: str, dataset: Dataset, position: tuple[int, int], cutting: Cutting) -> LabelledImage:
    # Number of the image, and of the patch in it.
    index, number = position
    patch = cut_patches(dataset[index], index, cutting)[number]
    return replace(patch, name=f"{name}: {patch.name}")


def _without_nan(value: Any) -> Any:
    """A value with None in place of NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
