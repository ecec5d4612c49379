"""How long, and in how much memory, is a result with many nuclei written as SpatialData and AnnData?

    PYTHONPATH=.:tests python tests/benchmarks/scverse.py [--nuclei 1000000] [--repeats 3]

Table and label image of the result hold the nuclei of one piece of the plane again and again, moved and renumbered, a
part and a shard for each piece. Every export runs in a process of its own, in turns; figures are medians over the
repeats and include the import of the packages. Prints JSON; exits with 1 when SpatialData takes 60 CPU seconds or more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import numpy as np

from helpers.oracle import CLASSES, MPP, OracleSegmenter, plane, scores_of
from wsinuc.exports.ome_zarr.render import render_labels
from wsinuc.exports.scverse.spatial import write_spatialdata
from wsinuc.exports.scverse.table import write_anndata
from wsinuc.grid import BlockGrid, Box, ceil_div
from wsinuc.nuclei import Frame, Nuclei, write_nuclei
from wsinuc.nuclei.measure import measure
from wsinuc.store import ResultStore
from wsinuc.workflows.bench.meter import metered

SIDE = 2048
COLUMNS = 20
LIMIT_S = 60
WRITERS = {"spatialdata": (write_spatialdata, "slide.zarr"), "anndata": (write_anndata, "slide.h5ad")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nuclei", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where results go; a temporary folder unless given")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(*args.child)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        result = Path(folder) / "slide.wsinuc"
        make_result(result, args.nuclei)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in WRITERS}
        for _ in range(args.repeats):
            for name in WRITERS:
                runs[name].append(in_child(result, name))
    rows = {
        name: {figure: round(median(run[figure] for run in each), 1) for figure in each[0]}
        for name, each in runs.items()
    }
    print(json.dumps({"nuclei": args.nuclei, **rows}, indent=1))
    return int(rows["spatialdata"]["cpu_seconds"] >= LIMIT_S)


def make_result(result: Path, count: int) -> None:
    """A finished result of a table and a label image."""
    scores = scores_of(plane((SIDE, SIDE)))
    labels = OracleSegmenter().separate(scores)
    piece = measure(labels, scores, Box.of_shape(labels.shape), Frame(MPP, (1.0, 1.0)), CLASSES)
    parts = ceil_div(count, len(piece))
    store = ResultStore(result)

    def part(number: int) -> Nuclei | None:
        return moved(piece, number, count) if number < parts else None

    with store.open_run({"benchmark": "scverse"}, resume=False, overwrite=False):
        store.start_outputs()
        store.parts.write(
            {number: write_nuclei(moved(piece, number, count), store.part(number)) for number in range(parts)}
        )
        grid = BlockGrid((SIDE * ceil_div(parts, COLUMNS), SIDE * COLUMNS), SIDE, 0)
        render_labels(part, grid, store.ready / "labels.ome.zarr", mpp=MPP, classes=CLASSES)
        store.publish({"nuclei": count, "slide": "slide.tiff", "settings": {"benchmark": "scverse"}})


def moved(piece: Nuclei, number: int, count: int) -> Nuclei:
    """The piece at its place among all, with the ids that follow."""
    start = number * len(piece)
    part = piece.select(np.arange(min(len(piece), count - start))).with_ids(start + 1)
    shift = np.array(divmod(number, COLUMNS), np.int32) * SIDE
    return replace(part, outlines=part.outlines + shift, centroids=part.centroids + shift)


def in_child(result: Path, name: str) -> dict[str, float]:
    """Time, memory and size of one export."""
    with tempfile.TemporaryDirectory(dir=result.parent) as folder:
        command = [sys.executable, __file__, "--child", str(result), name, folder]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def child(result: str, name: str, folder: str) -> int:
    write, file = WRITERS[name]
    out = Path(folder) / file
    _, usage = metered(lambda: write(result, out))
    files = [out] if out.is_file() else [each for each in out.rglob("*") if each.is_file()]
    megabytes = sum(each.stat().st_size for each in files) / 1e6
    print(json.dumps({**asdict(usage), "file_mb": megabytes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
