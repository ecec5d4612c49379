"""How fast, and in how much memory, is a result with many nuclei exported?

    PYTHONPATH=.:tests python tests/benchmarks/formats.py [--nuclei 1000000] [--to geoparquet csv] [--repeats 3]

The result's table holds the nuclei of one piece of the plane again and again, moved and renumbered, a part for each
piece. Every export runs in a process of its own, the formats in turns; rates are medians over the repeats. Prints JSON;
exits with 1 when GeoParquet or CSV fall below 100,000 nuclei per CPU second, or a process needs more than 500 MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from helpers.oracle import CLASSES, MPP, OracleSegmenter, plane, scores_of
from wsinuc.exports.formats.write import export
from wsinuc.grid import Box
from wsinuc.nuclei import Frame, Nuclei, write_nuclei
from wsinuc.nuclei.columns import Provenance
from wsinuc.nuclei.measure import measure
from wsinuc.store import ResultStore
from wsinuc.workflows.bench.meter import metered

SIDE = 2048
RATE = 100_000
MEMORY_MB = 500
STATED = ("geoparquet", "csv")
"""Formats that the rate is asked of."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nuclei", type=int, default=100_000)
    parser.add_argument("--to", nargs="+", default=["geoparquet", "csv", "csv.gz", "geojson"])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--downsample", type=float, default=2.0, help="level-0 pixels per view pixel")
    parser.add_argument("--folder", type=Path, help="where results go; a temporary folder unless given")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(*args.child)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        result = Path(folder) / "slide.wsinuc"
        make_result(result, args.nuclei, args.downsample)
        table_mb = sum(path.stat().st_size for path in (result / "nuclei").iterdir()) / 1e6
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in args.to}
        for _ in range(args.repeats):
            for name in args.to:
                runs[name].append(measure_in_child(result, name))
    rows = {name: summary(each, args.nuclei) for name, each in runs.items()}
    print(json.dumps({"nuclei": args.nuclei, "table_mb": round(table_mb, 1), "formats": rows}, indent=1))
    slow = any(row["nuclei_per_cpu_s"] < RATE for name, row in rows.items() if name in STATED)
    return int(slow or any(rows[name]["peak_memory_mb"] > MEMORY_MB for name in STATED if name in rows))


def make_result(result: Path, count: int, downsample: float) -> None:
    """A finished result that is a table alone."""
    scores = scores_of(plane((SIDE, SIDE)))
    labels = OracleSegmenter().separate(scores)
    frame = Frame(MPP, (downsample, downsample))
    piece = measure(labels, scores, Box.of_shape(labels.shape), frame, CLASSES)
    store = ResultStore(result)
    with store.open_run({"benchmark": "formats"}, resume=False, overwrite=False):
        store.start_outputs()
        provenance = Provenance(run_id="benchmark", origin_yx=(0.0, 0.0))
        parts = enumerate(range(0, count, len(piece)))
        hashes = {
            number: write_nuclei(moved(piece, number, start, count), store.part(number), provenance)
            for number, start in parts
        }
        store.parts.write(hashes)
        store.publish({"nuclei": count})


def moved(piece: Nuclei, number: int, start: int, count: int) -> Nuclei:
    """The piece at its place among all, with the ids that follow."""
    part = piece.select(np.arange(min(len(piece), count - start))).with_ids(start + 1)
    shift = np.array(divmod(number, 20), np.int32) * SIDE
    return replace(part, outlines=part.outlines + shift, centroids=part.centroids + shift)


def measure_in_child(result: Path, name: str) -> dict[str, float]:
    """CPU time, memory and size of one export."""
    out = result.parent / f"slide.{name}"
    command = [sys.executable, __file__, "--child", str(result), name, str(out)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(result: str, name: str, folder: str) -> int:
    Path(folder).mkdir(exist_ok=True)
    path, usage = metered(lambda: export(result, name, folder, overwrite=True))
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    figures = {
        "cpu_s": usage.cpu_seconds,
        "s": usage.seconds,
        "peak_memory_mb": usage.peak_memory_bytes / 1e6,
        "file_mb": sum(each.stat().st_size for each in files) / 1e6,
    }
    print(json.dumps(figures))
    return 0


def summary(runs: list[dict[str, float]], count: int) -> dict[str, Any]:
    """Medians of runs of one format."""
    middle = {name: median(run[name] for run in runs) for name in runs[0]}
    return {
        "nuclei_per_cpu_s": round(count / middle["cpu_s"]),
        "nuclei_per_s": round(count / middle["s"]),
        "peak_memory_mb": round(middle["peak_memory_mb"]),
        "file_mb": round(middle["file_mb"], 1),
    }


if __name__ == "__main__":
    sys.exit(main())
