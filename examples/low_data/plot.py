"""The low-data experiment's tables and figures: `python examples/low_data/plot.py OUT` after `run.py`."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from wsinuc.exports.pictures.plots import draw_curves

METRICS = ("aji", "dice", "iou")
Runs = dict[str, dict[int, list[float]]]
"""Method -> number of patches -> figure of each seed."""


def read_runs(out: Path, data: str, metric: str) -> Runs:
    """The runs on one data set, few patches first."""
    lines = [json.loads(line) for path in out.glob("runs-*.jsonl") for line in path.open()]
    runs: Runs = defaultdict(lambda: defaultdict(list))
    for line in sorted(lines, key=lambda line: (line["count"], line["seed"])):
        if line["data"] == data:
            runs[line["method"]][line["count"]].append(line[metric])
    return {method: dict(by_count) for method, by_count in sorted(runs.items())}


def spread(values: list[float]) -> float:
    """Standard deviation over seeds."""
    return stdev(values) if len(values) > 1 else 0.0


def print_table(runs: Runs) -> None:
    """Mean, spread and number of seeds, as Markdown."""
    counts = sorted({count for by_count in runs.values() for count in by_count})
    print("| method | " + " | ".join(map(str, counts)) + " |\n|---" + "|---" * len(counts) + "|")
    for method, by_count in runs.items():
        cells = [
            f"{mean(by_count[n]):.3f} ± {spread(by_count[n]):.3f} ({len(by_count[n])})" if n in by_count else ""
            for n in counts
        ]
        print(f"| {method} | " + " | ".join(cells) + " |")


def main(out: Path) -> None:
    """One table and one figure per data set and metric."""
    for data in ("monuseg", "tnbc"):
        for metric in METRICS:
            runs = read_runs(out, data, metric)
            print(f"\n{data}, {metric}\n")
            print_table(runs)
            curves = {
                method: (list(found), [[mean(v) for v in found.values()], [spread(v) for v in found.values()]])
                for method, found in runs.items()
            }
            draw_curves(
                curves,
                out / f"{data}-{metric}.png",
                x="labelled patches (256 px at 0.25 um per px)",
                y=metric.upper(),
                title=f"{data}: mean and standard deviation over seeds",
                log_x=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
