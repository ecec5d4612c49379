"""The table and the figure of `few_windows.py`: `python examples/low_data/few_windows_table.py RECORDS [FIGURE.png]`.

Mean AJI over seeds and its standard deviation, with the number of seeds; the model as it is has none.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure

Records = dict[str, dict[str, dict[int, list[float]]]]
"""Set -> method -> number of windows -> mean AJI on the test images, of every seed."""


def read_records(folder: Path) -> Records:
    """All runs that are there."""
    records: Records = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for path in sorted(folder.glob("*.json")):
        run: dict[str, Any] = json.loads(path.read_text())
        records[run["data"]][run["method"]][run["count"]].append(run["means"]["aji"])
    return records


def spread(values: list[float]) -> float:
    """Standard deviation over seeds."""
    if len(values) < 2:
        return 0.0
    return stdev(values)


def cell(values: list[float]) -> str:
    """Mean, spread and number of seeds."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f} (1)"
    return f"{fmean(values):.3f} ± {spread(values):.3f} ({len(values)})"


def counts_of(records: Records) -> list[int]:
    """The numbers of windows that anything was trained on."""
    return sorted({n for methods in records.values() for runs in methods.values() for n in runs if n})


def table(records: Records) -> str:
    """Markdown, a line for each set and method."""
    counts = counts_of(records)
    lines = [
        "| set | method | " + " | ".join(f"{count} window{'s' * (count > 1)}" for count in counts) + " |",
        "|---|---|" + "---|" * len(counts),
    ]
    for data, methods in records.items():
        for method, runs in sorted(methods.items(), key=lambda each: each[0] != "untouched"):
            if method == "untouched":
                cells = [f"{runs[0][0]:.3f}"] * len(counts)
            else:
                cells = [cell(runs.get(count, [])) for count in counts]
            lines.append(f"| {data} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(records: Records, path: Path) -> None:
    """A panel for each set; the model as it is, is a line across."""
    figure = Figure(figsize=(4 * len(records), 3.6), layout="constrained")
    panels = figure.subplots(1, len(records), sharey=True, squeeze=False)[0]
    trained = sorted({method for methods in records.values() for method in methods} - {"untouched"})
    # A method has its colour in every panel, also beside a set on which another was not run.
    colours = {method: f"C{number}" for number, method in enumerate(trained)}
    labels = {}
    ticks = counts_of(records)
    for panel, (data, methods) in zip(panels, records.items(), strict=True):
        for method, runs in sorted(methods.items()):
            if method == "untouched":
                labels[method] = panel.axhline(runs[0][0], color="black", linestyle=":")
                continue
            trained_on = sorted(runs)
            means = [fmean(runs[count]) for count in trained_on]
            errors = [spread(runs[count]) for count in trained_on]
            labels[method] = panel.errorbar(trained_on, means, errors, marker="o", capsize=3, color=colours[method])
        panel.set_title(data)
        panel.set_xscale("log", base=2)
        panel.set_xticks(ticks, [str(count) for count in ticks])
        panel.set_xlabel("annotated windows of 256 px")
    panels[0].set_ylabel("AJI on other images")
    figure.legend(labels.values(), labels.keys(), loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    records = read_records(Path(sys.argv[1]))
    print(table(records))
    if len(sys.argv) > 2:
        draw(records, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
