"""Many small slides by one command, with damaged ones among them, killed again and again: is everything accounted for?

    python tests/benchmarks/soak.py --slides 200 --kills 20

Slides of known nuclei (``tests/helpers/oracle.py``) are written; of every ten, one is damaged and one does
not say its resolution. An undisturbed run gives the reference. Then the same command runs into
another folder, is killed by SIGKILL at random moments and started anew, until it ends by itself. At
the end every slide must be done with the same bytes as the reference, or have failed with the same
error; nothing else may be left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

import tifffile  # noqa: E402

from helpers.oracle import plane, write_slide  # noqa: E402
from helpers.runs import tree  # noqa: E402

SIDES = (220, 400)
"""Slides are between these sizes."""
COMMAND = """
import sys
import wsinuc.segmenters
from helpers.oracle import OracleSegmenter
wsinuc.segmenters.load_segmenter = lambda model, device: OracleSegmenter(delay={delay})
from wsinuc_cli.main import main
print("begun", flush=True)
main(sys.argv[1:])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What came of it."""

    slides: int
    done: int
    failed: int
    kills: int
    starts: int
    problems: tuple[str, ...]
    """Empty when all is accounted for."""
    seconds: float


def soak(folder: Path, *, slides: int, kills: int, seed: int = 0, delay_s: float = 0.01) -> Soak:
    """Write slides into ``folder``, run undisturbed and disturbed, compare."""
    begin = time.perf_counter()
    rng = random.Random(seed)
    table = write_slides(folder, slides, rng)
    reference, disturbed = folder / "reference", folder / "disturbed"
    expected_code, expected_s = run(table, reference, 0.0)
    killed, starts = 0, 0
    while True:
        starts += 1
        patience = rng.uniform(0.0, 1.0) * max(1.0, expected_s / max(1, kills)) if killed < kills else None
        code, _ = run(table, disturbed, delay_s if patience is not None else 0.0, patience)
        if code != -signal.SIGKILL:
            break
        killed += 1
    problems = compare(reference, disturbed)
    known = len(read_states(reference))
    if known != slides:  # or a command that cannot even start would have no problems
        problems.append(f"undisturbed, {known} of {slides} slides are accounted for, exit code {expected_code}")
    if code != expected_code:
        problems.append(f"exit code {code}, undisturbed {expected_code}")
    states = read_states(disturbed)
    return Soak(
        slides=slides,
        done=sum(state["state"] == "done" for state in states.values()),
        failed=sum(state["state"] == "failed" for state in states.values()),
        kills=killed,
        starts=starts,
        problems=tuple(problems),
        seconds=time.perf_counter() - begin,
    )


def write_slides(folder: Path, count: int, rng: random.Random) -> Path:
    """Slides and the table that lists them; of every ten one is damaged, one without a resolution."""
    names = []
    for number in range(count):
        path = folder / f"slide-{number:04d}.tiff"
        shape = (rng.randint(*SIDES), rng.randint(*SIDES))
        if number % 10 == 4:
            tifffile.imwrite(path, plane(shape, seed=number % 5), photometric="rgb")
        else:
            write_slide(path, shape, levels=1, seed=number % 5, origin=(number, 0))
        if number % 10 == 7:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        names.append(path.name)
    table = folder / "slides.csv"
    table.write_text("\n".join(["slide", *names]) + "\n", encoding="utf-8")
    return table


def run(table: Path, out: Path, delay_s: float, patience_s: float | None = None) -> tuple[int, float]:
    """Exit code of the command and how long it took; it is killed after ``patience_s`` of work."""
    paths = [str(TESTS), str(TESTS.parent), str(TESTS.parent / "cli")]
    arguments = ["segment", str(table), "-o", str(out), "--tissue", "none", "--block", "128", "-q", "--threads", "1"]
    child = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(delay=delay_s), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    child.stdout.readline()
    begin = time.perf_counter()
    try:
        child.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
    return child.returncode, time.perf_counter() - begin


def compare(reference: Path, disturbed: Path) -> list[str]:
    """What differs between two output folders, a line each."""
    expected, found = read_states(reference), read_states(disturbed)
    problems = [f"{name}: not accounted for" for name in sorted(expected.keys() ^ found.keys())]
    for name in sorted(expected.keys() & found.keys()):
        for key in ("state", "error", "figures"):
            before, now = expected[name].get(key), found[name].get(key)
            if key == "figures":
                before, now = before.get("counts"), now.get("counts")
            if before != now:
                problems.append(f"{name}: {key} is {now}, undisturbed {before}")
        before, now = (tree(out / f"{name}.wsinuc") for out in (reference, disturbed))
        if expected[name]["state"] == "done" and before != now:
            problems.append(f"{name}: other bytes")
        if expected[name]["state"] != "done" and any(not path.startswith(".run") for path in now):
            problems.append(f"{name}: failed, but has outputs")
    problems += [f"left over: {path.relative_to(disturbed)}" for path in disturbed.glob("?*.wsinuc/.run/lock*")]
    return problems


def read_states(out: Path) -> dict[str, dict]:
    """States of the slides by name."""
    return {path.stem: json.loads(path.read_text()) for path in (out / ".wsinuc").glob("*.json")}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wsinuc-soak-") as folder:
        result = soak(Path(folder), slides=arguments.slides, kills=arguments.kills, seed=arguments.seed)
    for problem in result.problems:
        print(problem)
    print(
        f"{result.slides} slides: {result.done} done, {result.failed} failed as they should; killed "
        f"{result.kills} times, "
        f"started {result.starts} times; {len(result.problems)} problems; {result.seconds:.0f} s"
    )
    sys.exit(bool(result.problems))


if __name__ == "__main__":
    main()
