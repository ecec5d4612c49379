"""Does peak memory depend on the size of the slide? Segments two synthetic slides with the oracle and compares.

    PYTHONPATH=.:tests python tests/benchmarks/memory.py [--sides 10000 20000] [--workers 2]

Each slide is segmented in a process of its own; its peak is what the operating system counted. The oracle costs no
memory, so it is the pipeline that is measured: reading, separation, tables, label images, GeoJSON, preview. Prints
JSON; exits with 1 when the larger slide needs more than 1.1 times the memory of the smaller.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 1.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs=2, default=[10_000, 20_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return segment(Path(args.child[0]), Path(args.child[1]), args)
    with tempfile.TemporaryDirectory() as folder:
        small, large = (measure(Path(folder), side, args) for side in args.sides)
    ratio = large["peak_memory_bytes"] / small["peak_memory_bytes"]
    print(json.dumps({"small": small, "large": large, "ratio": round(ratio, 3), "limit": LIMIT}, indent=1))
    return int(ratio > LIMIT)


def measure(folder: Path, side: int, args: argparse.Namespace) -> dict[str, object]:
    """Make a slide and segment it in a fresh process; facts from its summary."""
    from helpers.oracle import write_slide

    slide, out = write_slide(folder / f"{side}.tiff", (side, side)), folder / f"{side}.wsinuc"
    options = ["--workers", str(args.workers), "--block", str(args.block)]
    subprocess.run([sys.executable, __file__, *options, "--child", str(slide), str(out)], check=True)
    summary = json.loads((out / "summary.json").read_text())
    facts = ("nuclei", "blocks", "peak_memory_bytes", "seconds", "block_seconds")
    return {"side": side, **{name: summary[name] for name in facts}}


def segment(slide: Path, out: Path, args: argparse.Namespace) -> int:
    from helpers.oracle import OracleSegmenter
    from wsinuc.config import SegmentConfig
    from wsinuc.workflows.segment.run import segment_slide

    config = SegmentConfig(tissue="none", block=args.block, workers=args.workers)
    segment_slide(slide, out, config, segmenter=OracleSegmenter(tile=512, margin=32))
    return 0


if __name__ == "__main__":
    sys.exit(main())
