"""How fast, and in how much memory, are many nuclei written as sharded GeoJSON?

    PYTHONPATH=.:tests python tests/benchmarks/export.py [--nuclei 1000000] [--workers 1 2]

The nuclei of one piece of the plane, with all measurements, are written again and again, moved and renumbered, until
there are as many as asked for. Beside it, in the same process, the floor: orjson on features that have nothing but an
outline. Prints JSON; exits with 1 below 60,000 nuclei per CPU second or above 500 MB for the process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.oracle import CLASSES, MPP, OracleSegmenter, plane, scores_of
from wsinuc.exports.qupath.geojson import write_geojson
from wsinuc.grid import Box
from wsinuc.nuclei import Frame, Nuclei
from wsinuc.nuclei.measure import measure
from wsinuc.workflows.bench.ceilings import bare_features
from wsinuc.workflows.bench.meter import metered

SIDE = 2048
RATE, MEMORY = 60_000, 500e6


@dataclass(frozen=True)
class Slide:
    """The same nuclei side by side, part by part."""

    nuclei: Nuclei
    count: int

    def __iter__(self) -> Iterator[Nuclei]:
        step = len(self.nuclei)
        for number, start in enumerate(range(0, self.count, step)):
            part = self.nuclei.select(np.arange(min(step, self.count - start))).with_ids(start + 1)
            shift = np.array(divmod(number, 20), np.int32) * SIDE
            yield replace(part, outlines=part.outlines + shift)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nuclei", type=int, default=100_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    scores = scores_of(plane((SIDE, SIDE)))
    labels = OracleSegmenter().separate(scores)
    nuclei = measure(labels, scores, Box.of_shape(labels.shape), Frame(MPP, (1.0, 1.0)), CLASSES)
    del scores, labels
    rows = [export(Slide(nuclei, args.nuclei), workers) for workers in args.workers]
    floor = bare_features(nuclei, 3)
    same = len({row.pop("sha256") for row in rows}) == 1
    print(json.dumps({"runs": rows, "bare_features_per_cpu_s": round(floor), "same_bytes": same}, indent=1))
    slow = min(row["nuclei_per_cpu_s"] for row in rows) < RATE
    return int(slow or not same or max(row["peak_memory_mb"] for row in rows) > MEMORY / 1e6)


def export(slide: Slide, workers: int) -> dict[str, object]:
    """One export, after a small one that warms everything up."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nuclei.geojson.zip"
        write_geojson(Slide(slide.nuclei, 5000), path, run_id="warm")
        report, usage = metered(lambda: write_geojson(slide, path, run_id="r", workers=workers))
        return {
            "workers": workers,
            "nuclei": report.count,
            "nuclei_per_cpu_s": round(report.count / usage.cpu_seconds),
            "nuclei_per_s": round(report.count / usage.seconds),
            "peak_memory_mb": round(usage.peak_memory_bytes / 1e6),
            "file_mb": round(path.stat().st_size / 1e6, 1),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }


if __name__ == "__main__":
    sys.exit(main())
