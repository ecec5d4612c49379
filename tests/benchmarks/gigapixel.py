"""A gigapixel slide with more than a million nuclei, and one a tenth the size: time, CPU, memory, disk.

    PYTHONPATH=.:tests python tests/benchmarks/gigapixel.py [--size 100000x80000] [--workers 2]

Made of the plane of known nuclei and segmented by the oracle, so that it is the pipeline that is measured; each run in
a process of its own. Prints a Markdown table; exits with 1 when a run needs 3 GB or more, or the larger slide more than
1.1 times the memory of the smaller.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

LIMIT_BYTES, LIMIT_RATIO = 3e9, 1.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="8000x8000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--folder", type=Path, help="where slides and results go; a temporary folder unless given")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return segment(*args.child, args)
    width, height = map(int, args.size.split("x"))
    tenth = tuple(round(side / math.sqrt(10)) for side in (width, height))
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        runs = [measure(Path(folder), size, args) for size in (tenth, (width, height))]
    print(table(runs))
    small, large = (run["usage"]["peak_memory_bytes"] for run in runs)
    return int(large > LIMIT_BYTES or large > LIMIT_RATIO * small)


def measure(folder: Path, size: tuple[int, int], args: argparse.Namespace) -> dict[str, Any]:
    """Make a slide, segment it in a fresh process, say what that took, and remove both."""
    from helpers.oracle import write_slide

    slide, out = folder / "slide.tiff", folder / "slide.wsinuc"
    write_slide(slide, (size[1], size[0]), levels=4)
    options = ["--workers", str(args.workers), "--block", str(args.block)]
    child = [sys.executable, __file__, *options, "--child", str(slide), str(out)]
    usage = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    summary = json.loads((out / "summary.json").read_text())
    disk = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    subprocess.run(["rm", "-r", str(out), str(slide)], check=True)
    return {"size": size, "usage": usage["whole"], "stages": usage["stages"], "disk": disk, **summary}


def segment(slide: Path, out: Path, args: argparse.Namespace) -> int:
    """One run in this process; prints what it took, as JSON."""
    import time

    from helpers.oracle import OracleSegmenter
    from wsinuc.config import SegmentConfig
    from wsinuc.workflows.bench.meter import metered
    from wsinuc.workflows.segment.events import StageStarted
    from wsinuc.workflows.segment.run import segment_slide

    config = SegmentConfig(tissue="none", block=args.block, workers=args.workers)
    begins: list[tuple[str, float]] = []

    def note(event: object) -> None:
        if isinstance(event, StageStarted):
            begins.append((event.name, time.process_time()))

    segmenter = OracleSegmenter(tile=512, margin=32)
    _, usage = metered(lambda: segment_slide(slide, out, config, segmenter=segmenter, on_event=note))
    ends = [begin for _, begin in begins[1:]] + [time.process_time()]
    stages = {name: end - begin for (name, begin), end in zip(begins, ends, strict=True)}
    print(json.dumps({"whole": asdict(usage), "stages": stages}))
    return 0


def table(runs: list[dict[str, Any]]) -> str:
    """A column per slide."""
    rows: list[tuple[str, list[str]]] = [
        ("nuclei", [f"{run['nuclei']:,}" for run in runs]),
        ("wall, s", [f"{run['usage']['seconds']:.0f}" for run in runs]),
        ("CPU, s", [f"{run['usage']['cpu_seconds']:.0f}" for run in runs]),
        ("CPU, s per megapixel", [f"{run['usage']['cpu_seconds'] / _mpx(run):.3f}" for run in runs]),
    ]
    rows += [(f"CPU of {name}, s", [f"{run['stages'][name]:.1f}" for run in runs]) for name in runs[0]["stages"]]
    rows += [
        ("peak memory of all processes, MB", [f"{run['usage']['peak_memory_bytes'] / 1e6:,.0f}" for run in runs]),
        ("result on disk, MB", [f"{run['disk'] / 1e6:,.0f}" for run in runs]),
    ]
    head = ["| | " + " | ".join("{} x {}".format(*run["size"]) for run in runs) + " |", "|---" * (len(runs) + 1) + "|"]
    return "\n".join([*head, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows)])


def _mpx(run: dict[str, Any]) -> float:
    return run["size"][0] * run["size"][1] / 1e6


if __name__ == "__main__":
    sys.exit(main())
