"""Accuracy by organ as a table, and the ten worst images, at most one of an organ, as a picture, for a model's card.

    for p in held_organs held_images; do
        wsinuc evaluate DATA/nuinsseg --mpp 0.16 --split examples/nuinsseg_split.json --part $p --model fast -o $p
    done
    python examples/figures/organs.py DATA/nuinsseg held_organs held_images --picture docs/images/worst_fast.png

A table for each evaluation is printed in Markdown.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from statistics import fmean

from failures import write_failures

SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Of one image."""

    evaluation: Path
    name: str
    organ: str
    dice: float
    aji: float
    pq: float


def scores_of(evaluation: Path) -> list[Score]:
    """The images of an evaluation, sorted by organ."""
    with (evaluation / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [
        Score(
            evaluation=evaluation,
            name=row["name"],
            organ=row["organ"],
            dice=float(row["dice"]),
            aji=float(row["aji"]),
            pq=float(row["pq"]),
        )
        for row in rows
    ]
    return sorted(scores, key=attrgetter("organ"))


def table_of(scores: list[Score]) -> str:
    """Markdown, a row per organ and one for all; means over images."""
    lines = ["| organ | images | Dice | AJI | PQ |", "|---|---|---|---|---|"]
    lines += [row_of(organ, list(group)) for organ, group in groupby(scores, attrgetter("organ"))]
    return "\n".join([*lines, row_of("all", scores)])


def row_of(name: str, group: list[Score]) -> str:
    """One row."""
    means = [fmean(map(attrgetter(metric), group)) for metric in ("dice", "aji", "pq")]
    return f"| {name} | {len(group)} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"


def worst_of(scores: list[Score]) -> list[Score]:
    """The worst image of each organ; of them the worst ones."""
    worst: dict[str, Score] = {}
    for score in scores:
        if score.organ not in worst or score.aji < worst[score.organ].aji:
            worst[score.organ] = score
    return sorted(worst.values(), key=attrgetter("aji"))[:SHOWN]


def main() -> None:
    """Print the tables and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuinsseg", type=Path, help="folder of the data set")
    parser.add_argument("evaluations", type=Path, nargs="+", help="what wsinuc evaluate wrote for its parts")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    parts = [scores_of(evaluation) for evaluation in arguments.evaluations]
    for part in parts:
        print(table_of(part), end="\n\n")
    worst = worst_of([score for part in parts for score in part])
    for score in worst:
        print(f"{score.name}: AJI {score.aji:.3f}")
    if arguments.picture:
        write_failures(arguments.nuinsseg, [(score.evaluation, score.name) for score in worst], arguments.picture)


if __name__ == "__main__":
    main()
