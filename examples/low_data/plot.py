"""The low-data experiment's table and figure: `python examples/low_data/plot.py OUT` after `run.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean, stdev

from wsinuc.exports.plots import draw_curves

METRICS = ("aji", "dice", "iou")


def main(out: Path) -> None:
    """Print a Markdown table (mean and spread over seeds) and draw one plot per data set and metric."""
    lines = [json.loads(line) for path in sorted(out.glob("runs-*.jsonl")) for line in path.open()]
    for data in sorted({line["data"] for line in lines}):
        table = {}
        for line in lines:
            if line["data"] == data:
                table.setdefault((line["method"], line["count"]), []).append(line)
        methods = list(dict.fromkeys(method for method, _ in table))
        counts = sorted({count for _, count in table})
        for metric in METRICS:
            print(
                f"\n{data}, {metric}\n\n| | "
                + " | ".join(map(str, counts))
                + " |\n|---" * 1
                + "|---" * len(counts)
                + "|"
            )
            curves = {}
            for method in methods:
                runs = {n: [line[metric] for line in table[method, n]] for n in counts if (method, n) in table}
                spread = {n: stdev(values) if len(values) > 1 else 0.0 for n, values in runs.items()}
                cells = [f"{mean(runs[n]):.3f} ± {spread[n]:.3f} ({len(runs[n])})" if n in runs else "" for n in counts]
                print(f"| {method} | " + " | ".join(cells) + " |")
                curves[method] = (list(runs), [[mean(v) for v in runs.values()], list(spread.values())])
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
