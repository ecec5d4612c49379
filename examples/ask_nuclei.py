"""Are twenty nuclei that ``classify --ask 20`` names worth more than twenty at random? Accuracy against labels.

    wsinuc segment BRCA-M2C/images/*.jpg --mpp 0.5 --model fast --measure all --tissue none --no-report -o results
    python examples/ask_nuclei.py results BRCA-M2C -o ask_nuclei.png

A third of the patients is kept for measuring. Of the nuclei of the others 15 drawn at random are labelled by the
points of the data set; then round by round 20 more, drawn at random or asked for. Nuclei without a point cannot be
answered, and are left out of both. Beside the plot a JSON file holds all figures.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wsinuc.models.features.nucleus_classifier import ClassifierConfig
from wsinuc.nuclei.class_features import FeatureColumns, Moments, common_columns
from wsinuc.workflows.reclassify.ask import next_questions
from wsinuc.workflows.reclassify.gather import LabelCounts, LabelledNuclei
from wsinuc.workflows.reclassify.learn import LearnConfig, learn_from
from wsinuc.workflows.reclassify.matching import at_points, marked
from wsinuc.workflows.reclassify.tables import ResultTable, open_table

NAMES = ("lymphocyte", "epithelial", "stromal")
START = 15
STEP = 20
REACH_UM = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTable(ResultTable):
    """The nuclei of an image whose class is known."""

    part: pa.Table
    classes_of: NDArray[np.intp]
    """(n,) of the nuclei of ``part``."""

    def parts(self) -> Iterator[pa.Table]:
        """One part."""
        yield self.part


@dataclass(frozen=True, slots=True)
class Pool:
    """All nuclei of some images."""

    tables: list[KnownTable]
    features: NDArray[np.float64]
    classes: NDArray[np.intp]
    slides: NDArray[np.intp]
    ids: NDArray[np.int64]
    columns: FeatureColumns
    moments: Moments


def known_table(result: Path, data: Path) -> KnownTable:
    """The nuclei of a result on which points of one class lie."""
    table = open_table(result)
    part = pa.concat_tables(list(table.parts()))
    with (data / "points" / f"{table.stem}.csv").open() as file:
        rows = list(csv.DictReader(file))
    xy = np.array([[float(row["x"]), float(row["y"])] for row in rows]) + 0.5
    said = np.array([NAMES.index(row["class"]) for row in rows])
    # Some copies of the set have x and y exchanged: the way round in which more points lie on nuclei is the right one.
    ways = [at_points(part, way, REACH_UM / table.um_per_px) for way in (xy, xy[:, ::-1])]
    hits = max(ways, key=lambda each: int((each.distances_px == 0).sum()))
    on = marked(hits)
    ids = np.unique(hits.ids[on])
    seen = [set(said[on][hits.ids[on] == nucleus].tolist()) for nucleus in ids.tolist()]
    sure = [k for k, classes in enumerate(seen) if len(classes) == 1]
    rows_of = np.searchsorted(part["id"].to_numpy(), ids[sure])
    fields = {name: getattr(table, name) for name in ResultTable.__dataclass_fields__}
    classes = np.array([seen[k].pop() for k in sure], np.intp)
    return KnownTable(**{**fields, "nuclei": len(sure)}, part=part.take(pa.array(rows_of)), classes_of=classes)


def pooled(tables: list[KnownTable]) -> Pool:
    """The nuclei of several images."""
    columns = FeatureColumns(common_columns({each.stem: each.measurements for each in tables}))
    features = [columns.matrix({name: each.part[name].to_numpy() for name in columns.names}) for each in tables]
    return Pool(
        tables=tables,
        features=np.concatenate(features),
        classes=np.concatenate([each.classes_of for each in tables]),
        slides=np.repeat(np.arange(len(tables)), [each.nuclei for each in tables]),
        ids=np.concatenate([each.part["id"].to_numpy() for each in tables]),
        columns=columns,
        moments=reduce(add, map(Moments.of, features)),
    )


def labelled(pool: Pool, rows: NDArray[np.intp]) -> LabelledNuclei:
    """Some nuclei with their classes."""
    counts = LabelCounts(labels=len(rows), nuclei=len(rows), unchanged=0, conflicts=0, unmatched=0, distance_um=None)
    return LabelledNuclei(
        names=NAMES,
        colors=dict.fromkeys(NAMES, (0, 0, 0)),
        columns=pool.columns,
        features=pool.features[rows],
        classes=pool.classes[rows],
        slides=pool.slides[rows],
        ids=pool.ids[rows],
        xy_um=np.zeros((len(rows), 2)),
        moments=pool.moments,
        counts=counts,
    )


def begin(pool: Pool, rng: np.random.Generator) -> NDArray[np.intp]:
    """Nuclei at random, at least two of each class."""
    while True:
        rows = rng.choice(len(pool.ids), START, replace=False)
        if np.bincount(pool.classes[rows], minlength=len(NAMES)).min() >= 2:
            return rows


def curve(pool: Pool, test: Pool, way: str, seed: int, rounds: int, penalty: float) -> list[float]:
    """Balanced accuracy on other patients after each round."""
    rng = np.random.default_rng(seed)
    rows = begin(pool, rng)
    config = LearnConfig(classifier=ClassifierConfig(penalty=penalty), folds=0)
    accuracies = []
    for number in range(rounds + 1):
        learned = learn_from(labelled(pool, rows), config)
        said = learned.classifier.of_features(test.features).indices
        recalls = [(said[test.classes == kind] == kind).mean() for kind in range(len(NAMES))]
        accuracies.append(float(np.mean(recalls)))
        if way == "random":
            rest = np.setdiff1d(np.arange(len(pool.ids)), rows)
            new = rng.choice(rest, STEP, replace=False)
        else:
            asked = next_questions(pool.tables, learned, STEP, seed=seed * 100 + number)
            place = {
                (slide, nucleus): row for row, (slide, nucleus) in enumerate(zip(pool.slides, pool.ids, strict=True))
            }
            new = np.array([place[question.slide, question.id] for question in asked], np.intp)
        rows = np.concatenate([rows, new])
    return accuracies


def draw(curves: dict[str, NDArray[np.float64]], path: Path) -> None:
    """Mean over seeds, and its standard error."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for (way, values), color in zip(curves.items(), ("#7f8c8d", "#2e86de"), strict=True):
        labels = START + STEP * np.arange(values.shape[1])
        mean = values.mean(axis=0)
        spread = values.std(axis=0) / np.sqrt(len(values))
        axes.plot(labels, mean, "o-", color=color, label=way)
        axes.fill_between(labels, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
    axes.set(xlabel="labelled nuclei", ylabel="balanced accuracy, patients not labelled")
    axes.set_title("Three classes of nuclei in breast tissue (BRCA-M2C)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--penalty", type=float, default=LearnConfig().classifier.penalty)
    args = parser.parse_args()
    tables = [known_table(path, args.data) for path in sorted(args.results.glob("?*.wsinuc"))]
    tables = [table for table in tables if table.nuclei]
    patients = sorted({table.stem[:12] for table in tables})
    curves: dict[str, list[list[float]]] = {"at random": [], "asked for": []}
    for seed in range(args.seeds):
        held = set(np.random.default_rng([seed, 1]).choice(patients, len(patients) // 3, replace=False).tolist())
        pool = pooled([table for table in tables if table.stem[:12] not in held])
        test = pooled([table for table in tables if table.stem[:12] in held])
        for name, way in (("at random", "random"), ("asked for", "ask")):
            curves[name].append(curve(pool, test, way, seed, args.rounds, args.penalty))
            print(seed, name, [round(value, 3) for value in curves[name][-1]], flush=True)
    figures = {
        "images": len(tables),
        "nuclei": sum(table.nuclei for table in tables),
        "patients": len(patients),
        **curves,
    }
    args.output.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    arrays = {name: np.array(values) for name, values in curves.items()}
    gains = arrays["asked for"] - arrays["at random"]
    for count in (5, args.seeds):
        for name, values in (*arrays.items(), ("gain", gains)):
            print(count, name, values[:count].mean(axis=0).round(3), values[:count].std(axis=0).round(3))
    draw(arrays, args.output)


if __name__ == "__main__":
    main()
