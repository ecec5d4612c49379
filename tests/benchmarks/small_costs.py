"""What everybody pays: start-up of commands; CPU time, memory, page faults and preview by the size of the slide.

    PYTHONPATH=.:cli python tests/benchmarks/small_costs.py [--sides 4096 8192] [--model fast] [--against FOLDER]

Slides are synthetic (`wsinuc.workflows.bench.synthetic_slide`), 60 % tissue at 0.25 um per pixel. With ``--against``,
the working tree of another commit, both are run in turns, and it is checked that tables, label images and GeoJSON are
the same to the byte, but for the ids in GeoJSON, which are made from the version, too. Prints
a Markdown table; exits with 1 when they are not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

COMMANDS = ("--help", "info SLIDE", "segment SLIDE -o OUT --dry-run", "status .", "verify RESULT")
UUID = re.compile(rb'"id":"[0-9a-f-]{36}"')
PARTS = ("nuclei", "labels.ome.zarr", "nuclei.geojson", "nuclei.geojson.zip")
SEGMENT = """
import json, resource, sys
from wsinuc.config import SegmentConfig
from wsinuc.workflows.segment.run import segment_slide

def spent():
    total = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in total)

begins = {}
slide, out, model = sys.argv[1:]
segment_slide(slide, out, SegmentConfig(model=model), on_event=lambda event: begins.setdefault(
    getattr(event, "name", type(event).__name__), spent()))
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu": spent(), "preview": begins.get("report", begins["Finished"]) - begins["preview"],
                  "memory": usage.ru_maxrss * 1024, "faults": usage.ru_minflt}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[4096])
    parser.add_argument("--model", default="fast")
    parser.add_argument("--against", type=Path, help="working tree of another commit")
    parser.add_argument("--repeats", type=int, default=3, help="of each command")
    args = parser.parse_args()
    trees = {"here": Path(__file__).parents[2]} | ({"before": args.against} if args.against else {})
    same = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| slide | tree | CPU, s | preview, s | peak memory, MB | page faults |\n|---|---|---|---|---|---|")
        for side in args.sides:
            hashes = {each: whole_run(tree, each, folder, side, args.model) for each, tree in trees.items()}
            same &= len(set(hashes.values())) == 1
        print(
            "\n| command | " + " | ".join(f"CPU, s, {each}" for each in trees) + " |\n|---" + "|---" * len(trees) + "|"
        )
        for command in COMMANDS:
            print(f"| {command} | {' | '.join(start_up(trees, command, folder, args))} |")
    return int(not same)


def whole_run(tree: Path, name: str, folder: Path, side: int, model: str) -> str:
    """Segment a slide in a fresh process of a tree, print what it took; the hash of what came out."""
    slide, out = folder / f"{side}.svs", folder / f"{side}-{name}.wsinuc"
    if not slide.exists():
        from wsinuc.workflows.bench.synthetic_slide import SyntheticSlideConfig, write_synthetic_slide

        write_synthetic_slide(slide, SyntheticSlideConfig(width=side, height=side))
    child = [sys.executable, "-c", SEGMENT, str(slide), str(out), model]
    done = subprocess.run(child, cwd=folder, env=environment(tree), check=True, capture_output=True, text=True)
    cost = json.loads(done.stdout.splitlines()[-1])
    cells = (f"{cost['cpu']:.1f}", f"{cost['preview']:.2f}", f"{cost['memory'] / 1e6:,.0f}", f"{cost['faults']:,}")
    print(f"| {side} x {side} | {name} | {' | '.join(cells)} |", flush=True)
    return content_hash(out)


def content_hash(out: Path) -> str:
    """Of all bytes of the table, the label images and the GeoJSON without its ids."""
    total = hashlib.sha256()
    for part in PARTS:
        files = sorted((out / part).rglob("*")) if (out / part).is_dir() else [out / part]
        for file in files:
            if file.is_file():
                content = UUID.sub(b"", file.read_bytes()) if ".geojson" in file.name else file.read_bytes()
                total.update(str(file.relative_to(out)).encode() + content)
    return total.hexdigest()


def start_up(trees: dict[str, Path], command: str, folder: Path, args: argparse.Namespace) -> list[str]:
    """Median CPU seconds of a command in each tree, in turns."""
    side = args.sides[0]
    names = {"SLIDE": f"{side}.svs", "OUT": "new", "RESULT": f"{side}-here.wsinuc"}
    words = [names.get(word, word) for word in command.split()]
    seconds: dict[str, list[float]] = {each: [] for each in trees}
    for _ in range(args.repeats):
        for each, tree in trees.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            call = [sys.executable, "-m", "wsinuc_cli.main", *words]
            subprocess.run(call, cwd=folder, env=environment(tree), capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds[each].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return [f"{median(values):.2f}" for values in seconds.values()]


def environment(tree: Path) -> dict[str, str]:
    """Of a process that runs a tree's code."""
    return os.environ | {"PYTHONPATH": f"{tree}:{tree / 'cli'}", "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    sys.exit(main())
