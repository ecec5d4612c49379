"""Tables and figures of the claims' pages, rebuilt from the runs' files.

    python examples/claims/tables.py docs/experiments

RECORDS are in `data/claim-a`, `claim-b`, `claim-c`, `claim-d` and `speed` of that folder. In a page
of such a name what stands between `<!-- table NAME -->` and `<!-- end -->` is replaced by the table
of that name, and pictures are drawn to `../images/claim_X*.png` and `speed.png`. A test compares the pages with the
records, so a page never says what no run has measured.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure
from records import read_records

from wsinuc.exports.atomic import replacing

Record = Mapping[str, Any]
Values = dict[int, list[float]]
"""Number of windows -> a score of each seed."""

ROWS_OF_A = {
    "unet": "U-Net",
    "attention-unet": "Attention U-Net",
    "random": "random weights",
    "photographs": "denoiser of photographs",
    "little-tissue": "denoiser of as little tissue",
    "masked": "masked image modelling",
    "contrast": "dense contrast",
    "tissue-t50": "A at t = 50 alone",
    "tissue": "A",
}
"""In the order of the paper's table."""
BLOCK = re.compile(r"(<!-- table ([a-z0-9-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def cell(values: Sequence[float]) -> str:
    """Mean, standard deviation over seeds and number of seeds; empty without any."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f} (1)"
    return f"{fmean(values):.3f} ± {stdev(values):.3f} ({len(values)})"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; without lines it says that there are none."""
    if not lines:
        return "No run yet.\n"
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*rows, *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"


def by_count(records: Sequence[Record], metric: str = "mean_iou") -> Values:
    """A score of every seed, for each number of windows; a run without that score is left out."""
    values: Values = {}
    known = [record for record in records if record[metric] is not None]
    for record in sorted(known, key=lambda each: (each["count"], each["seed"])):
        values.setdefault(record["count"], []).append(record[metric])
    return values


def windows_table(groups: Mapping[str, Sequence[Record]], metric: str = "mean_iou") -> str:
    """A line for each group of records, a column for each number of windows."""
    counts = sorted({record["count"] for records in groups.values() for record in records})
    head = ["", *(f"{count} window{'s' * (count > 1)}" for count in counts)]
    lines = []
    for name, records in groups.items():
        values = by_count(records, metric)
        lines.append([name, *(cell(values.get(count, [])) for count in counts)])
    return markdown(head, lines)


def common_mark(records: Sequence[Record]) -> list[Record]:
    """Of each row the records at the longest pre-training that A and all its rivals have: equal cost."""
    marks: dict[str, set[int]] = {}
    for record in records:
        if record["pretraining_steps"]:
            marks.setdefault(record["row"], set()).add(record["pretraining_steps"])
    shared = set.intersection(*marks.values()) if marks else set()
    mark = max(shared, default=0)
    return [record for record in records if record["pretraining_steps"] in (0, mark)]


def rows_of_a(records: Sequence[Record], data: str) -> dict[str, list[Record]]:
    """The records of a set by the names of the paper's rows, those without records left out."""
    of_set = common_mark([record for record in records if record["data"] == data])
    groups: dict[str, list[Record]] = {}
    for row, name in ROWS_OF_A.items():
        chosen = [record for record in of_set if record["row"] == row]
        if chosen:
            steps = chosen[0]["pretraining_steps"]
            groups[f"{name}, {steps} steps" if steps else name] = chosen
    return groups


def steps_of_a(records: Sequence[Record], data: str) -> dict[str, list[Record]]:
    """A's records of a set by the length of its pre-training."""
    chosen = [record for record in records if record["data"] == data and record["row"] == "tissue"]
    steps = sorted({record["pretraining_steps"] for record in chosen})
    return {f"{each} steps": [record for record in chosen if record["pretraining_steps"] == each] for each in steps}


def classes_of_a(records: Sequence[Record], data: str) -> str:
    """IoU of each class with the most windows that every row has."""
    groups = rows_of_a(records, data)
    if not groups:
        return markdown([""], [])
    count = min(max(record["count"] for record in group) for group in groups.values())
    names = list(next(iter(groups.values()))[0]["iou"])
    lines = []
    for name, group in groups.items():
        chosen = [record for record in group if record["count"] == count]
        lines.append([name, *(cell([record["iou"][each] for record in chosen]) for each in names)])
    return markdown([f"{count} windows", *names], lines)


def tables_of_a(records: Sequence[Record]) -> dict[str, str]:
    """All tables of claim A's page, by name."""
    tables = {}
    for data in ("tnbc", "nuinsseg", "brca"):
        tables[data] = windows_table(rows_of_a(records, data))
        tables[f"{data}-steps"] = windows_table(steps_of_a(records, data))
        if data == "brca":
            tables[f"{data}-classes"] = classes_of_a(records, data)
        else:
            tables[f"{data}-aji"] = windows_table(rows_of_a(records, data), "aji")
    return tables


METRICS_OF_D = {
    "mean_iou": "mean IoU of pixels",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "precision": "precision",
    "hausdorff_um": "Hausdorff distance (µm)",
}
"""The paper's metrics as the table heads them."""


def tables_of_d(records: Sequence[Record]) -> dict[str, str]:
    """A table for each set; the starts of a network stand below each other for each number of windows."""
    tables = {}
    for data in ("tnbc", "nuinsseg"):
        groups: dict[tuple[int, int, int], list[Record]] = {}
        for record in records:
            if record["data"] == data:
                key = (record["width"], record["count"], record["pretraining_steps"])
                groups.setdefault(key, []).append(record)
        lines = []
        for key in sorted(groups):
            width, count, steps = key
            scores = [by_count(groups[key], metric).get(count, []) for metric in METRICS_OF_D]
            begins = f"{steps:,} steps" if steps else "random weights"
            lines.append([str(width), str(count), begins, *map(cell, scores)])
        tables[data] = markdown(["width", "windows", "pre-training", *METRICS_OF_D.values()], lines)
    return tables


def pair_table(records: Sequence[Record]) -> str:
    """AJI and Dice of every row of a grid of pairs."""
    names = ("data", "judge", "count", "pairs", "augmentation", "share")
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record[name] for name in names), []).append(record)
    lines = []
    for key in sorted(groups):
        scores = [cell([record[metric] for record in groups[key]]) for metric in ("aji", "dice")]
        short = sum(record["gained_to_the_end"] for record in groups[key])
        lines.append([*map(str, key), *scores, str(short)])
    head = ["set", "judge", "windows", "pairs", "augmentation", "share of crops", "AJI", "Dice", "not converged"]
    return markdown(head, lines)


def tables_of_b(records: Sequence[Record]) -> dict[str, str]:
    """The one table of claim B's page."""
    return {"pairs": pair_table(records)}


def tables_of_c(records: Sequence[Record]) -> dict[str, str]:
    """How like the images are to real ones, and what they are worth."""
    likeness = [record for record in records if "variant" in record]
    return {
        "likeness": likeness_table(likeness),
        "diversity": diversity_table(likeness),
        "pairs": pair_table([record for record in records if "pairs" in record]),
    }


VARIANTS_OF_C = {
    "full": "as it is",
    "points": "without points",
    "text": "without text",
    "augmentation": "without augmentation",
}


def in_order_of_c(records: Sequence[Record]) -> list[Record]:
    """Records of a set after one another, the whole generator first."""
    names = list(VARIANTS_OF_C)
    return sorted(records, key=lambda each: (each["data"], names.index(each["variant"])))


def likeness_table(records: Sequence[Record]) -> str:
    """How far images are from real windows, beside how far two halves of the windows are from each other."""
    lines = []
    for record in in_order_of_c(records):
        compared = record["comparison"]
        distances = [beside_floor(compared["distances"][name]) for name in ("frechet", "kernel", "fsd")]
        score = compared["inception_score"].get("synthetic")
        agreement = compared["alignment"].get("synthetic", {})
        lines.append(
            [
                record["data"],
                VARIANTS_OF_C[record["variant"]],
                str(record["steps"]),
                compared["network"]["name"],
                *distances,
                "" if score is None else f"{score:.2f}",
                f"{agreement['aji']:.3f}" if agreement else "",
            ]
        )
    head = ["set", "generator", "steps", "features", "Fréchet (floor)", "kernel (floor)", "FSD (floor)", "IS"]
    return markdown([*head, "AJI of `fast` on the pairs"], lines)


def beside_floor(distance: Record) -> str:
    """A distance of parts as large as the halves, and that of the halves; empty where it was not measured."""
    if distance["same_n"] is None:
        return ""
    return f"{distance['same_n']:.3g} ({distance['floor']:.3g})"


def diversity_table(records: Sequence[Record]) -> str:
    """Mean difference between images, of one layout and of all, and between real windows."""
    lines = []
    for record in in_order_of_c(records):
        of = record["diversity"]
        one = f"{of['one_layout']:.1f}" if "one_layout" in of else ""
        lines.append(
            [record["data"], VARIANTS_OF_C[record["variant"]], one, f"{of['images']:.1f}", f"{of['real']:.1f}"]
        )
    return markdown(["set", "generator", "one layout", "all layouts", "real windows"], lines)


def tables_of_speed(records: Sequence[Record]) -> dict[str, str]:
    """The one table of the page on the speed of synthesis."""
    lines = []
    for record in sorted(records, key=lambda each: (each["generator"], walk_of(each), each["steps"])):
        cost = [f"{record['cpu_s_per_image']:.2f}", f"{record['gflop_per_image']:,.0f}"]
        lines.append(
            [
                record["generator"],
                walk_of(record),
                str(record["steps"]),
                *cost,
                f"{record['kernel']:.4f}",
                f"{record['floor']:.4f}",
            ]
        )
    head = ["generator", "sampler", "steps", "CPU s per image", "GFLOP per image", "kernel distance", "of real fields"]
    return {"speed": markdown(head, lines)}


def walk_of(record: Record) -> str:
    """The sampler, and from where it is restarted."""
    if record["restart"]:
        return f"{record['sampler']}, restarted from {record['restart']}"
    return str(record["sampler"])


def draw_speed(records: Sequence[Record], path: Path) -> None:
    """A panel for each generator, a curve for each sampler: distance over CPU time."""
    generators = sorted({record["generator"] for record in records})
    figure = Figure(figsize=(4.5 * len(generators), 4), layout="constrained")
    panels = figure.subplots(1, len(generators), squeeze=False)[0]
    for panel, name in zip(panels, generators, strict=True):
        own = [record for record in records if record["generator"] == name]
        for walk in sorted({walk_of(record) for record in own}):
            chosen = sorted((r["cpu_s_per_image"], r["kernel"]) for r in own if walk_of(r) == walk)
            panel.plot(*zip(*chosen, strict=True), marker="o", label=walk)
        panel.axhline(own[0]["floor"], color="grey", linestyle=":", label="real fields")
        panel.set_title(name)
        panel.set_xscale("log")
        panel.set_xlabel("CPU seconds of an image")
    panels[0].set_ylabel("kernel distance")
    panels[-1].legend(fontsize=7)
    with replacing(path) as stream:
        figure.savefig(stream, dpi=120, format="png")


PAGES: dict[str, Callable[[Sequence[Record]], dict[str, str]]] = {
    "claim-a": tables_of_a,
    "claim-b": tables_of_b,
    "claim-c": tables_of_c,
    "claim-d": tables_of_d,
    "speed": tables_of_speed,
}
"""Name of a page and of its folder of records -> its tables."""


def filled(page: str, tables: Mapping[str, str]) -> str:
    """A page with the tables that it asks for."""
    return BLOCK.sub(lambda match: f"{match.group(1)}\n{tables[match.group(2)]}\n{match.group(4)}", page)


def draw(groups: Mapping[str, Mapping[str, Sequence[Record]]], path: Path, y: str = "mean IoU of pixels") -> None:
    """A panel for each set, a curve with its spread for each row, over the number of windows."""
    figure = Figure(figsize=(4.5 * len(groups), 4), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for panel, (data, rows) in zip(panels, groups.items(), strict=True):
        for name, records in rows.items():
            values = by_count(records)
            spread = [stdev(each) if len(each) > 1 else 0.0 for each in values.values()]
            means = [fmean(each) for each in values.values()]
            panel.errorbar(list(values), means, spread, marker="o", capsize=3, label=name)
        panel.set_title(data)
        panel.set_xscale("log", base=2)
        # 32, not 2^5.
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlabel("annotated windows of 64 µm")
    panels[0].set_ylabel(y)
    panels[-1].legend(fontsize=7)
    with replacing(path) as stream:
        figure.savefig(stream, dpi=120, format="png")


def draw_all(records: Mapping[str, Sequence[Record]], images: Path) -> None:
    """The figures of the claims whose records there are."""
    of_a = records["claim-a"]
    sets = {data: rows_of_a(of_a, data) for data in ("tnbc", "nuinsseg", "brca")}
    drawn = {data: rows for data, rows in sets.items() if rows}
    if drawn:
        draw(drawn, images / "claim_a.png")
    if records.get("speed"):
        draw_speed(records["speed"], images / "speed.png")
    of_d = records["claim-d"]
    starts: dict[str, dict[str, list[Record]]] = {}
    for record in of_d:
        begins = f"{record['row']}, {record['width']} wide"
        if record["pretraining_steps"]:
            begins += f", {record['pretraining_steps']:,} steps"
        starts.setdefault(record["data"], {}).setdefault(begins, []).append(record)
    if starts:
        draw(starts, images / "claim_d.png")


def main() -> None:
    folder = Path(sys.argv[1])
    records = {name: read_records(folder / "data" / name) for name in PAGES}
    for name, tables in PAGES.items():
        page = folder / f"{name}.md"
        if page.is_file():
            text = filled(page.read_text(encoding="utf-8"), tables(records[name]))
            with replacing(page) as stream:
                stream.write(text.encode())
    draw_all(records, folder.parent / "images")


if __name__ == "__main__":
    main()
