"""How long, and in how much memory, are the nuclei of a slide taught and given their classes?

    PYTHONPATH=.:tests python tests/benchmarks/classify.py [--nuclei 1000000] [--labels 200]

The result holds the nuclei of one piece of the plane again and again, with all measurements of shape and stain, moved
and renumbered, a part and a shard of the label image for each piece. A process of its own learns from labels (UUIDs),
cross-validates, and writes the result with its new classes: table, image of classes, GeoJSON and summary; there is no
slide, hence no picture. Prints JSON; exits with 1 when a million nuclei take more than 60 s of CPU or more than 2 GB.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers.oracle import CLASSES, MPP, OracleSegmenter, plane, scores_of
from wsinuc.config import SegmentConfig
from wsinuc.exports.ome_zarr.render import render_labels
from wsinuc.grid import BlockGrid, Box
from wsinuc.nuclei import Frame, Nuclei, write_nuclei
from wsinuc.nuclei.columns import Provenance
from wsinuc.nuclei.groups import PixelGroups
from wsinuc.nuclei.measure import measure
from wsinuc.nuclei.stains import QUPATH
from wsinuc.nuclei.uuids import nucleus_uuids
from wsinuc.store import ResultStore
from wsinuc.workflows.bench.meter import metered
from wsinuc.workflows.reclassify.learn import learn_classes
from wsinuc.workflows.reclassify.marks import read_marks
from wsinuc.workflows.reclassify.tables import open_table
from wsinuc.workflows.reclassify.write import write_classified

SIDE = 2048
ACROSS = 20
RUN = "benchmark"
CPU_S = 60.0
MEMORY_MB = 2000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nuclei", type=int, default=100_000)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where results go; a temporary folder unless given")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(*args.child)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        result = Path(folder) / "slide.wsinuc"
        classes = make_result(result, args.nuclei)
        labels = write_labels(classes, args.labels, Path(folder) / "labels.csv")
        size_mb = sum(path.stat().st_size for path in result.rglob("*") if path.is_file()) / 1e6
        command = [sys.executable, __file__, "--child", str(result), str(labels)]
        figures: dict[str, Any] = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        )
    share = args.nuclei / 1_000_000
    print(json.dumps({"nuclei": args.nuclei, "result_mb": round(size_mb), **figures}, indent=1))
    return int(figures["cpu_s"] > CPU_S * max(share, 0.2) or figures["peak_memory_mb"] > MEMORY_MB)


def make_result(result: Path, count: int) -> np.ndarray:
    """A finished result; returns the true class of each nucleus."""
    pixels = plane((SIDE, SIDE))
    scores = scores_of(pixels)
    labels = OracleSegmenter().separate(scores)
    box = Box.of_shape(labels.shape)
    piece = measure(labels, scores, box, Frame(MPP, (1.0, 1.0)), CLASSES[:1])
    truth = measure(labels, scores, box, Frame(MPP, (1.0, 1.0)), CLASSES).classes
    piece = PixelGroups(("shape", "stain"), QUPATH).added(piece, labels, scores[0], pixels, box)
    pieces = -(-count // len(piece))
    shape = (-(-pieces // ACROSS) * SIDE, ACROSS * SIDE)
    store = ResultStore(result)
    settings = {"mpp": MPP, "shape": shape, "block": SIDE, "halo": 64, "stains": "qupath"}
    with store.open_run(settings, resume=False, overwrite=False):
        store.start_outputs()
        provenance = Provenance(run_id=RUN, origin_yx=(0.0, 0.0))
        starts = range(0, count, len(piece))
        hashes = {
            k: write_nuclei(moved(piece, k, start, count), store.part(k), provenance) for k, start in enumerate(starts)
        }
        store.parts.write(hashes)
        grid = BlockGrid(shape, SIDE, 64)
        known = set(hashes)
        render_labels(
            lambda block: store.parts.read(block) if block in known else None,
            grid,
            store.ready / "labels.ome.zarr",
            mpp=MPP,
            classes=CLASSES[:1],
        )
        config = {"outlines": SegmentConfig().outlines}
        facts = {"nuclei": count, "counts": {"round": count}, "notes": [], "settings": settings, "config": config}
        store.publish({**facts, "slide": "none.tiff", "out": str(result)})
    return np.tile(truth, pieces)[:count]


def moved(piece: Nuclei, number: int, start: int, count: int) -> Nuclei:
    """The piece at its place among all, with the ids that follow."""
    part = piece.select(np.arange(min(len(piece), count - start))).with_ids(start + 1)
    shift = np.array(divmod(number, ACROSS), np.int32) * SIDE
    return replace(part, outlines=part.outlines + shift, centroids=part.centroids + shift)


def write_labels(classes: np.ndarray, count: int, path: Path) -> Path:
    """UUIDs of some nuclei with their classes."""
    ids = np.random.default_rng(0).choice(len(classes), count, replace=False) + 1
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uuid", "class"])
        names = [CLASSES[k].name for k in classes[ids - 1]]
        writer.writerows(zip(nucleus_uuids(RUN, ids), names, strict=True))
    return path


def child(result: Path, labels: Path) -> int:
    """Learn and write; figures of this process."""
    begin = time.process_time()
    table = open_table(result)
    learned = learn_classes([table], [read_marks(labels)])
    learning = time.process_time() - begin
    _, usage = metered(lambda: write_classified(table, learned, result.with_name("new.wsinuc")))
    assert learned.held_out is not None
    figures = {
        "learn_cpu_s": round(learning, 1),
        "write_cpu_s": round(usage.cpu_seconds, 1),
        "cpu_s": round(learning + usage.cpu_seconds, 1),
        "write_s": round(usage.seconds, 1),
        "peak_memory_mb": round(usage.peak_memory_bytes / 1e6),
        "balanced_accuracy": round(learned.held_out.scores.balanced_accuracy, 3),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
