"""Damage to results on disk: is every fault refused or harmless?

    PYTHONPATH=.:tests python tests/benchmarks/damage.py [--flips 10000] [--other 1000] [--resumes
    100] [--folder /dev/shm]

A small slide of known nuclei is segmented once to the end, and once until everything lies in the
working area. Then one fault at a time is put in, everything that reads results is asked, and the
fault is taken out again. Faults: a byte changed (half of them anywhere in the bytes, half in any
file, so that small files have their share); a file deleted, cut, emptied, its tail zeroed; two
files exchanged; a file put in another's place or beside it under a new name; a file replaced by
that of another slide's result.

Asked are, of a finished result: ``verify``, ``iter_nuclei`` (every part that it yields, also before it refuses), the
GeoJSON export (where table or summary are hit; it reads nothing else), ``status``, and a run with the same settings,
which must refuse and change nothing. Of an unfinished one: ``status``, ``verify``, ``iter_nuclei``, and the run that
continues it: which blocks it takes for done and with what nuclei, which is all that its result depends on. The run
itself is made for every n-th fault only (``--resumes``), and its result compared byte for byte.

Exits with 1 when something was silently wrong.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from helpers.damaged import ANEW, HARMLESS, OTHER, REFUSED, WRONG, Finished, Unfinished, flip, harm, make_case


def try_faults(folder: Path, flips: int, other: int, resumes: int, seed: int = 0) -> dict[tuple[str, str], Counter]:
    """Verdicts by area and kind of fault; two thirds of the faults hit the finished result."""
    case = make_case(folder)
    areas = {"finished": Finished(case), "unfinished": Unfinished(case)}
    rng = np.random.default_rng(seed)
    plan = [("byte changed", area, 2 * flips // 3 if area == "finished" else flips - 2 * flips // 3) for area in areas]
    for index, kind in enumerate(OTHER):
        count = other // len(OTHER) + (index < other % len(OTHER))
        plan += [(kind, "finished", 2 * count // 3), (kind, "unfinished", count - 2 * count // 3)]
    every = max(1, sum(count for _, area, count in plan if area == "unfinished") // max(1, resumes))
    table: dict[tuple[str, str], Counter] = {}
    for kind, area, count in plan:
        verdicts: Counter = table.setdefault((area, kind), Counter())
        for number in range(count):
            reader = areas[area]
            path = (
                flip(rng, reader.folder) if kind == "byte changed" else harm(rng, reader.folder, kind, reader.foreign)
            )
            if isinstance(reader, Unfinished):
                reader.resumes = bool(resumes) and number % every == 0
                verdicts["resumed"] += reader.resumes
            outcome = reader.judge(path)
            verdicts[outcome.verdict] += 1
            if outcome.error:
                verdicts[f"error {outcome.error}"] += 1
            if outcome.verdict == WRONG:
                print(f"{area}, {kind}, {path.relative_to(reader.folder)}: {outcome.detail}", flush=True)
            reader.restore()
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--other", type=int, default=1_000)
    parser.add_argument("--resumes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where results lie; memory is quickest  [default: temporary]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        table = try_faults(Path(folder), options.flips, options.other, options.resumes, options.seed)
    columns = (REFUSED, ANEW, HARMLESS, WRONG)
    print(f"| result | fault | faults | {' | '.join(columns)} | continued in full |\n|{'---|' * 8}")
    for (area, kind), verdicts in table.items():
        counts = [verdicts[column] for column in columns]
        cells = [area, kind, sum(counts), *counts, verdicts["resumed"] if area == "unfinished" else ""]
        print(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in cells)} |")
    total = sum(table.values(), Counter())
    print({name: count for name, count in total.items() if name.startswith("error")})
    raise SystemExit(1 if total[WRONG] else 0)


if __name__ == "__main__":
    main()
