"""Does the real model give the same nuclei whatever the blocks, the threads and the interruptions?

    PYTHONPATH=. python tests/benchmarks/determinism.py SLIDE [--model default] [--kills 10]

Segments the slide with several block sizes and numbers of threads, and once more killed at random
moments and resumed. Results on the same blocks must agree to the byte, results on other blocks in
every nucleus. Prints JSON, exits with 1 if not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from wsinuc.store import iter_nuclei


def command(slide: Path, out: Path, model: str, block: int, threads: int) -> list[str]:
    """The command line of one run."""
    options = ["--model", model, "--block", str(block), "--threads", str(threads), "-q"]
    return [sys.executable, "-m", "wsinuc_cli.main", "segment", str(slide), "-o", str(out), *options]


def digest(result: Path) -> str:
    """One hash over every file of a result but ``summary.json``, which holds times."""
    total = hashlib.sha256()
    for path in sorted(p for p in result.rglob("*") if p.is_file() and p.name != "summary.json"):
        total.update(str(path.relative_to(result)).encode() + path.read_bytes())
    return total.hexdigest()


def nuclei_set(result: Path) -> set[bytes]:
    """Every nucleus as bytes: its outline and its probability, in no order."""
    found = set()
    for part in iter_nuclei(result):
        for i in range(len(part)):
            ring = np.ascontiguousarray(part.outlines[part.offsets[i] : part.offsets[i + 1]])
            found.add(ring.tobytes() + part.probabilities[i].tobytes())
    return found


def killed_and_resumed(arguments: list[str], kills: int, seconds: float) -> int:
    """Run a command, kill it at random moments and start it again until it ends; the number of kills that struck."""
    draw, struck = random.Random(0), 0
    for _ in range(kills):
        process = subprocess.Popen(arguments)
        try:
            process.wait(timeout=draw.uniform(0.3, 1.0) * seconds)
            return struck
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            struck += 1
    subprocess.run(arguments, check=True)
    return struck


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--kills", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        hashes, sets, folder = {}, {}, Path(name)
        for block, threads in [(512, 1), (512, 2), (512, 4), (1024, 2), (2048, 1), (2048, 2)]:
            out = folder / f"{block}-{threads}"
            begin = time.perf_counter()
            subprocess.run(command(args.slide, out, args.model, block, threads), check=True)
            seconds = time.perf_counter() - begin
            result = out / f"{args.slide.stem}.wsinuc"
            hashes[block, threads], sets[block, threads] = digest(result), nuclei_set(result)
            print(f"block {block} threads {threads}: {len(sets[block, threads])} nuclei, {seconds:.0f} s", flush=True)
        struck = killed_and_resumed(command(args.slide, folder / "killed", args.model, 512, 2), args.kills, seconds / 4)
        hashes["killed", 2] = digest(folder / "killed" / f"{args.slide.stem}.wsinuc")
    same_bytes = len({hashes[512, 1], hashes[512, 2], hashes[512, 4], hashes["killed", 2]}) == 1
    same_bytes &= hashes[2048, 1] == hashes[2048, 2]
    first = next(iter(sets.values()))
    same_nuclei = all(found == first for found in sets.values())
    facts = {"nuclei": len(first), "same_bytes": same_bytes, "same_nuclei": same_nuclei, "kills": struck}
    if not same_nuclei:
        facts["differing"] = {str(key): len(found ^ first) for key, found in sets.items()}
    print(json.dumps(facts, indent=1))
    return int(not (same_bytes and same_nuclei))


if __name__ == "__main__":
    sys.exit(main())
