"""What do separation, measuring, storing, rendering and export cost per megapixel with about 1,000 nuclei?

    PYTHONPATH=.:tests python tests/benchmarks/postprocessing.py [--repeats 5]

One piece of the plane of known nuclei, 1,024 px and its halo, goes through every step on one thread; beside it the same
by scikit-image's functions one after another, in the same process. CPU seconds, medians, scaled to 1,000 nuclei. Prints
JSON; exits with 1 when our sum exceeds 0.2 s.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
from skimage.feature import peak_local_max
from skimage.filters import gaussian
from skimage.measure import find_contours, label, regionprops_table
from skimage.morphology import remove_small_holes, remove_small_objects
from skimage.segmentation import watershed

from helpers.oracle import CLASSES, MPP, OracleSegmenter, plane, scores_of
from wsinuc.exports.ome_zarr.render import render_labels
from wsinuc.exports.qupath.geojson import write_geojson
from wsinuc.grid import BlockGrid, Box
from wsinuc.nuclei import Frame, concatenate, read_nuclei, write_nuclei
from wsinuc.nuclei.measure import measure
from wsinuc.workflows.bench.meter import typical

LIMIT = 0.2
CORE = 1024
CORNERS = ((0, 0), (0, CORE), (CORE, 0), (CORE, CORE))
PROPERTIES = ("label", "area", "centroid", "mean_intensity", "perimeter", "solidity", "feret_diameter_max")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    halo = OracleSegmenter().min_halo
    scores = scores_of(plane((CORE + 2 * halo,) * 2))
    with tempfile.TemporaryDirectory() as folder:
        steps, nuclei = ours(scores, halo, Path(folder))
        spent = {name: typical(work, repeats).cpu_seconds / parts for name, (work, parts) in steps.items()}
    per_1000 = 1000 / nuclei
    reference = typical(lambda: standard(scores), repeats).cpu_seconds
    total = sum(spent.values()) * per_1000
    facts = {
        "nuclei_per_mpx": round(nuclei / (CORE**2 / 1e6)),
        "cpu_s": {name: round(seconds * per_1000, 4) for name, seconds in spent.items()},
        "sum_cpu_s": round(total, 4),
        "limit_cpu_s": LIMIT,
        "scikit_image_cpu_s": round(reference * per_1000, 4),
        "ours_for_the_same_cpu_s": round((spent["separate"] + spent["measure"]) * per_1000, 4),
    }
    print(json.dumps(facts, indent=1))
    return int(total > LIMIT)


def ours(scores: np.ndarray, halo: int, folder: Path) -> tuple[dict[str, tuple[Callable[[], object], int]], int]:
    """The steps of a run, each with the number of megapixels that it does at once, and the nuclei of one."""
    segmenter, frame, core = OracleSegmenter(), Frame(MPP, (1.0, 1.0)), Box(0, 0, CORE, CORE)
    box = core.grow(halo)
    labels = segmenter.separate(scores)
    nuclei = measure(labels, scores, box, frame, CLASSES)
    nuclei = nuclei.select(nuclei.owned_by(core)).with_ids(1)
    shard, number = folder / "shard.parquet", count()
    grid = BlockGrid((2 * CORE, 2 * CORE), 2 * CORE, halo)  # a block of the usual size
    block = concatenate(
        [replace(nuclei, outlines=nuclei.outlines + np.array(corner, np.int32)) for corner in CORNERS]
    ).with_ids(1)

    def render() -> None:
        render_labels(lambda index: block, grid, folder / f"{next(number)}.zarr", mpp=MPP, classes=CLASSES)

    def store() -> None:
        write_nuclei(block, shard)
        write_nuclei(read_nuclei(shard).with_ids(7), shard)

    return {
        "separate": (lambda: segmenter.separate(scores), 1),
        "measure": (lambda: measure(labels, scores, box, frame, CLASSES), 1),
        "store and number": (store, 4),
        "render": (render, 4),
        "export": (lambda: write_geojson([block], folder / "nuclei.zip", run_id="r"), 4),
    }, len(nuclei)


def standard(scores: np.ndarray) -> None:
    """Separation and measuring by scikit-image's functions, one after another."""
    mask = remove_small_holes(scores[0] >= 128, max_size=40)
    distance = gaussian(scores[-1], 1.0, preserve_range=True)
    peaks = peak_local_max(distance, min_distance=4, threshold_abs=76, labels=label(mask, connectivity=1))
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = remove_small_objects(watershed(-distance, markers, mask=mask), max_size=39)
    regionprops_table(labels, intensity_image=scores[0], properties=PROPERTIES)
    padded = np.pad(labels, 1)
    find_contours(padded > 0, 0.5)


if __name__ == "__main__":
    sys.exit(main())
