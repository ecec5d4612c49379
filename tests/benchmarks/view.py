"""What a viewer costs on a gigapixel slide: start, tiles while one pans, memory.

    PYTHONPATH=.:cli:tests python tests/benchmarks/view.py --folder big [--size 100000x80000] [--nuclei 7700000]
    PYTHONPATH=.:cli:tests python tests/benchmarks/view.py --folder million --size 38000x32000 --nuclei 1000000

Makes the slide of ``wsinuc bench`` and a result with so many nuclei once (blocks of 2,048 px, copies of one block of
known nuclei). With ``--starts`` it starts ``wsinuc view`` as many times and asks for the page and its first tiles as a
browser does, which takes wall and CPU time (medians). Then it pans over the slide with a field of 1,000 x 800 px at
every zoom and asks for the tiles of slide, nuclei and a map that come into sight. Prints CPU time (user and system) of
each kind of tile, and the peak of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np

BLOCK = 2048
FIELD = (800, 1000)
MPP = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="100000x80000")
    parser.add_argument("--nuclei", type=int, default=7_700_000)
    parser.add_argument("--steps", type=int, default=8, help="fields at each zoom")
    parser.add_argument("--starts", type=int, default=3, help="starts of the command; medians are printed")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    result = args.folder / "big.wsinuc"
    if args.child:
        print(json.dumps(measure(result, args.steps)))
        return
    width, height = map(int, args.size.split("x"))
    if not (result / "summary.json").exists():
        make(args.folder, result, (height, width), args.nuclei)
    for name, value in starts(result, args.starts).items():
        print(f"{name}: {value}")
    child = [sys.executable, __file__, "--child", "--folder", str(args.folder), "--steps", str(args.steps)]
    figures = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    for name, value in figures.items():
        print(f"{name}: {value}")


def make(folder: Path, result: Path, shape: tuple[int, int], count: int) -> None:
    """The slide, and a finished result over it."""
    from wsinuc.workflows.bench.synthetic_slide import SyntheticSlideConfig, write_synthetic_slide

    folder.mkdir(parents=True, exist_ok=True)
    slide = folder / "big.svs"
    if not slide.exists():
        write_synthetic_slide(slide, SyntheticSlideConfig(width=shape[1], height=shape[0], mpp=MPP))
    write_result(result, slide, shape, count)


def write_result(result: Path, slide: Path, shape: tuple[int, int], count: int) -> None:
    """As many nuclei as wanted, in blocks."""
    from wsinuc.nuclei import write_nuclei
    from wsinuc.nuclei.columns import Provenance
    from wsinuc.store.files import write_json
    from wsinuc.store.manifest import with_manifest
    from wsinuc.store.outputs import part_name
    from wsinuc.store.upload import digests

    corners = [(y, x) for y in range(0, shape[0] - BLOCK, BLOCK) for x in range(0, shape[1] - BLOCK, BLOCK)]
    block = one_block(max(1, round(count / len(corners))))
    (result / "nuclei").mkdir(parents=True, exist_ok=True)
    run = Provenance(run_id="benchmark", origin_yx=(0.0, 0.0))
    first = 1
    for number, corner in enumerate(corners):
        moved = replace(block, outlines=block.outlines + np.array(corner, np.int32), centroids=block.centroids + corner)
        write_nuclei(moved.with_ids(first), result / part_name(number), run)
        first += len(block)
    summary = {
        "slide": str(slide.resolve()),
        "nuclei": first - 1,
        "settings": {"shape": shape, "mpp": MPP},
        "config": {"reader": "auto", "mpp": None, "tissue": "none"},
        "origin": [0, 0],
        "made_by": "wsinuc",
    }
    write_json(with_manifest(summary, digests(result)), result / "summary.json")


def one_block(count: int):
    """Nuclei of two classes in a block, measured as a run does."""
    from helpers.oracle import CLASSES, OracleSegmenter, plane, scores_of
    from wsinuc.grid import Box
    from wsinuc.nuclei import Frame
    from wsinuc.nuclei.measure import measure

    scores = scores_of(plane((BLOCK, BLOCK)))
    labels = OracleSegmenter().separate(scores)
    nuclei = measure(labels, scores[:-1], Box(0, 0, BLOCK, BLOCK), Frame(mpp=MPP, downsample=(1.0, 1.0)), list(CLASSES))
    rng = np.random.default_rng(0)
    return nuclei.select(np.sort(rng.permutation(len(nuclei))[:count]))


def starts(result: Path, count: int) -> dict[str, str]:
    """Medians over several starts of the command: wall time of each step, and CPU time of the server until then."""
    runs = [start(result) for _ in range(count)]
    figures = {}
    for name in runs[0] if runs else ():
        wall, cpu = (statistics.median(run[name][part] for run in runs) for part in (0, 1))
        figures[f"start: {name}, s"] = f"{wall:.2f} wall, {cpu:.2f} CPU so far"
    return figures


def start(result: Path) -> dict[str, tuple[float, float]]:
    """One start: each step's wall time, and the server's CPU time when it was done."""
    command = [sys.executable, "-m", "wsinuc_cli.main", "view", str(result), "--no-browser"]
    figures = {}
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        page = urllib.request.urlopen(url).url
        key = page.rpartition("=")[2]
        figures["until the page answers"] = (time.perf_counter() - begun, cpu_of(process.pid))
        for name in ("slide", "nuclei"):
            before = time.perf_counter()
            urllib.request.urlopen(f"{url}tiles/{name}/{key}/0/0/0").read()
            figures[f"then the first tile of the {name}"] = (time.perf_counter() - before, cpu_of(process.pid))
        process.terminate()
    return figures


def cpu_of(process: int) -> float:
    """Seconds of user and system time of a process and its threads (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(result: Path, steps: int) -> dict[str, object]:
    """Open the result and pan over it."""
    begun = time.perf_counter()
    cpu = time.process_time()
    from wsinuc.workflows.view.library import find_sources
    from wsinuc.workflows.view.server import start_server
    from wsinuc.workflows.view.tiles.map_choice import MapChoice
    from wsinuc.workflows.view.tiles.style import Style

    library = find_sources(result)
    server = start_server(library, warm=False)
    figures: dict[str, object] = {"until it listens, s": took(begun, cpu)}
    opened = library.open(next(iter(library.sources)))
    begun, cpu = time.perf_counter(), time.process_time()
    opened.slide_tile(0, 0, 0)
    figures["first slide tile, s"] = took(begun, cpu)
    begun, cpu = time.perf_counter(), time.process_time()
    opened.nuclei_tile(0, 0, 0, Style())
    figures["first nuclei tile with the table, s"] = took(begun, cpu)
    figures["nuclei"] = len(opened.table)
    begun, cpu = time.perf_counter(), time.process_time()
    opened.map_tile(0, 0, 0, MapChoice(of="density"), Style())
    figures["first tile of a map of 50 um, s"] = took(begun, cpu)
    # Outlines load a compiler once, in the background of the first view.
    opened.nuclei_tile(opened.pyramid.finest, 0, 0, Style())
    costs: dict[str, list[float]] = {"slide": [], "nuclei": [], "map": []}
    draw = {
        "slide": opened.slide_tile,
        "nuclei": lambda *place: opened.nuclei_tile(*place, Style()),
        "map": lambda *place: opened.map_tile(*place, MapChoice(of="density"), Style()),
    }
    rng = np.random.default_rng(0)
    for zoom in range(opened.pyramid.finest + 1):
        for kind, place in pan(opened.pyramid, zoom, steps, rng):
            cpu = time.process_time()
            draw[kind](*place)
            costs[kind].append((time.process_time() - cpu) * 1000)
    for kind, times in costs.items():
        figures[f"{kind}: tiles, median, 90 %, most CPU ms"] = (
            len(times),
            *(round(value, 1) for value in (statistics.median(times), np.quantile(times, 0.9), max(times))),
        )
    figures["peak memory, MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    server.close()
    return figures


def took(begun: float, cpu: float) -> str:
    return f"{time.perf_counter() - begun:.2f} wall, {time.process_time() - cpu:.2f} CPU"


def pan(pyramid, zoom: int, steps: int, rng: np.random.Generator):
    """Tiles that come into sight while a field moves by a third of itself, from a random place on."""
    from wsinuc.workflows.view.tiles.pyramid import TILE

    extent = pyramid.extent(zoom).shape
    corner = np.array([rng.uniform(0, max(1, side - field)) for side, field in zip(extent, FIELD, strict=True)])
    seen = set()
    for _ in range(steps):
        lows = np.maximum(0, corner // TILE).astype(int)
        highs = np.minimum(corner + FIELD, np.array(extent) - 1) // TILE
        for y in range(lows[0], int(highs[0]) + 1):
            for x in range(lows[1], int(highs[1]) + 1):
                if (y, x) not in seen:
                    seen.add((y, x))
                    yield "slide", (zoom, x, y)
                    yield "nuclei", (zoom, x, y)
                    yield "map", (zoom, x, y)
        corner = np.clip(corner + np.array(FIELD) / 3 * (1, 1), 0, np.maximum(0, np.array(extent) - FIELD))


if __name__ == "__main__":
    main()
