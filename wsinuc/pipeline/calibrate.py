"""Fit a segmenter to a slide before its blocks are begun, from a few samples of tissue.

The samples lie on a grid anchored to the slide and are chosen by the tissue mask alone, and what is
found is kept, so every block, worker and resumed run works with the very same segmenter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box, TileGrid
from wsinuc.pipeline.block import mirrored
from wsinuc.segmenters.base import Fitted, Segmenter
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.store.calibration import read_calibration, write_calibration

SIDE = 256
"""Side of a sample in view pixels."""
COUNT = 8
"""Largest number of samples: together they cost the network as much as two tiles."""


class Tissue(Protocol):
    """Says how much tissue a box holds, and what to see there; ``TissueMask`` is one."""

    def share(self, box: Box) -> float:
        """Share of ``box`` that is tissue, 0 to 1."""
        ...

    def without_padding(self, pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
        """RGB ``(h, w, 3)`` of ``box`` with the scanner's black padding made white."""
        ...


def calibrated(view: SlideView, segmenter: Segmenter, tissue: Tissue) -> Segmenter:
    """The segmenter fitted to the tissue of this view; the same segmenter where the view has no tissue."""
    samples = tissue_samples(view, tissue)
    if samples is None:
        return segmenter
    return segmenter.calibrate(samples)


def tissue_samples(view: SlideView, tissue: Tissue) -> NDArray[np.uint8] | None:
    """RGB ``(n, SIDE, SIDE, 3)`` of tissue, n at most ``COUNT``; None where the view has none.

    They are spread evenly over the fields that are at least half tissue, or are the ``COUNT``
    fullest where there are none.
    """
    extent = Box.of_shape(view.shape)
    fields = [tile.core for tile in TileGrid(SIDE, 0).covering(extent)]
    shares = np.array([tissue.share(field.clip(extent)) for field in fields])
    full = np.flatnonzero(shares >= 0.5)
    if not len(full):
        # Stable, so that fields of equal shares are chosen alike on every machine.
        full = np.sort(np.argsort(-shares, kind="stable")[:COUNT])
        full = full[shares[full] > 0]
    if not len(full):
        return None
    positions = np.linspace(0, len(full) - 1, min(COUNT, len(full))).round().astype(int)
    samples = []
    for index in full[np.unique(positions)]:
        inside = fields[index].clip(extent)
        pixels = tissue.without_padding(read_resilient(view, inside)[0], inside)
        samples.append(mirrored(pixels, inside, fields[index]))
    return np.stack(samples)


def fitted(view: SlideView, segmenter: Segmenter, tissue: Tissue, path: Path) -> Segmenter:
    """``calibrated``, done once: its statistics are kept at ``path`` and taken from there when they are whole.

    A segmenter that calibrates but cannot tell its statistics is calibrated again in each process.
    """
    statistics = read_calibration(path)
    if statistics == {}:
        return segmenter
    if statistics is not None and isinstance(segmenter, Fitted):
        return segmenter.with_statistics(statistics)
    result = calibrated(view, segmenter, tissue)
    if result is segmenter:
        # No statistics are a file as well: a run that goes on need not look for samples again.
        write_calibration({}, path)
    elif isinstance(result, Fitted):
        write_calibration(result.statistics(), path)
    return result
