"""What measuring costs: CPU seconds for 1,000 nuclei of each group, of the files that hold them, and of cells.

    python tests/benchmarks/measure.py [FACTOR]

Nuclei are those of the tests' plane (0.5 um per px, 50 um2 each); FACTOR 2 draws them at 0.25 um per px. Each figure is
the median of seven, taken in turns, of the process' CPU time.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.oracle import CLASSES, OracleSegmenter, plane, scores_of
from wsinuc.exports.qupath.geojson import write_geojson
from wsinuc.grid import Box
from wsinuc.nuclei import Frame, write_nuclei
from wsinuc.nuclei.cells import with_cells
from wsinuc.nuclei.groups import PixelGroups
from wsinuc.nuclei.measure import measure
from wsinuc.nuclei.neighbours import Neighbourhood
from wsinuc.nuclei.stains import QUPATH

SIDE = 1000
ROUNDS = 7


def main(factor: int) -> None:
    """Print a line for each."""
    pixels = plane((SIDE, SIDE))
    scores = scores_of(pixels)
    labels = OracleSegmenter().separate(scores)
    square = np.ones((factor, factor), np.int32)
    labels = np.kron(labels, square)
    scores = np.kron(scores, square[None]).astype(np.uint8)
    pixels = np.kron(pixels, square[..., None]).astype(np.uint8)
    noise = np.random.default_rng(0).integers(-20, 20, pixels.shape)
    pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    box = Box.of_shape(labels.shape)
    frame = Frame(0.5 / factor, (1.0, 1.0))
    basic = measure(labels, scores, box, frame, CLASSES).with_ids(1)

    def added(*groups: str) -> object:
        return PixelGroups(groups, QUPATH).added(basic, labels, scores[0], pixels, box)

    def around() -> None:
        names = [each.name for each in CLASSES]
        Neighbourhood(basic.centroids, basic.classes, names, frame.mpp).columns(0, len(basic))

    usual = PixelGroups(("shape", "stain"), QUPATH).added(basic, labels, scores[0], pixels, box)
    folder = Path(tempfile.mkdtemp())
    jobs: dict[str, Callable[[], object]] = {
        "basic": lambda: measure(labels, scores, box, frame, CLASSES),
        "shape": lambda: added("shape"),
        "stain": lambda: added("stain"),
        "texture": lambda: added("texture"),
        "neighbours": around,
        "all groups": lambda: (added("shape", "stain", "texture"), around()),
        "cells of 5 um": lambda: with_cells(basic, [], 5.0, labels.shape),
        "Parquet, none": lambda: write_nuclei(basic, folder / "none.parquet"),
        "Parquet, shape and stain": lambda: write_nuclei(usual, folder / "usual.parquet"),
        "GeoJSON, none": lambda: write_geojson([basic], folder / "none.geojson", run_id="none"),
        "GeoJSON, shape and stain": lambda: write_geojson([usual], folder / "usual.geojson", run_id="usual"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(ROUNDS + 1):
        for name, job in jobs.items():
            begin = time.process_time()
            job()
            # The first compiles.
            if turn:
                seconds[name].append(time.process_time() - begin)
    print(f"{len(basic)} nuclei of {basic.areas_px.mean():.0f} px, {frame.mpp} um per px")
    for name, each in seconds.items():
        print(f"{name:<26}{1000 * median(each) / len(basic):8.4f} CPU s per 1,000")
    for name in ("none.parquet", "usual.parquet", "none.geojson", "usual.geojson"):
        print(f"{name:<26}{(folder / name).stat().st_size / len(basic):8.0f} bytes per nucleus")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
