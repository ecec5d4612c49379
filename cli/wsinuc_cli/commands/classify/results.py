"""``wsinuc classify RESULT... --labels FILE``: classes of nuclei that have been segmented, from a few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli.terminal import as_text, echo, echo_text

if TYPE_CHECKING:
    from wsinuc.workflows.classify.cross_validate import ClassScores
    from wsinuc.workflows.reclassify.learn import LearnConfig, Learned
    from wsinuc.workflows.reclassify.tables import ResultTable

FIELDS = {name: name for name in ("folds", "permutations", "seed")}
"""Option -> the field of `LearnConfig` that it sets."""
OWN = ("labels", "export", "ask", "overwrite", "report", "slide")
"""Options that go with RESULT."""
NOT_OWN = ("mpp", "wanted", "unwanted", "log", "dry_run", "device")
"""Options that go with DATA."""


def classify_results(results: Sequence[str], config: LearnConfig, options: Mapping[str, Any]) -> None:
    """Learn, print the scores, and write what was asked for."""
    from wsinuc.workflows.reclassify.learn import learn_classes
    from wsinuc.workflows.reclassify.marks import read_marks
    from wsinuc.workflows.reclassify.tables import open_tables
    from wsinuc.workflows.reclassify.write import check_out

    tables = open_tables(results)
    targets = targets_of(tables, options["output"])
    # Before anything is learned.
    for table, out in targets.items():
        check_out(tables[table], out, overwrite=options["overwrite"])
    files = [read_marks(path) for path in options["labels"]]
    learned = learn_classes(tables, files, config)
    echo(f"{learned.labelled.counts}")
    _echo_scores(learned)
    _write(tables, learned, targets, config, options)
    if options["export"] is not None:
        _export(tables, learned, options)
    if options["ask"] is not None:
        _ask(tables, learned, options)
    if not targets and options["export"] is None and options["ask"] is None:
        echo("Nothing was written: give the results their classes with -o DIR, keep a model with --export FILE")


def targets_of(tables: Sequence[ResultTable], output: Path | None) -> dict[int, Path]:
    """Folder of the new result of each table; empty without ``-o``."""
    from wsinuc.regular import make_folder

    if output is None:
        return {}
    if len(tables) == 1 and output.suffix == ".wsinuc":
        return {0: output}
    make_folder(output)
    return {number: output / f"{table.stem}.wsinuc" for number, table in enumerate(tables)}


def _echo_scores(learned: Learned) -> None:
    held_out = learned.held_out
    if held_out is None:
        return
    apart = {
        "slides": "Slides that the classifier has not seen",
        "regions": "Parts of the slides that the classifier has not seen",
        "nuclei": "Nuclei that the classifier has not seen (too good: some class has all its labels in one place)",
    }[held_out.apart]
    echo_text(scores_table(held_out.scores, apart))
    if held_out.chance is not None:
        echo(f"After the classes were shuffled: balanced accuracy {held_out.chance:.3f}, p = {held_out.p:.2g}")


def scores_table(scores: ClassScores, title: str) -> str:
    """The confusion of a cross-validation and its figures, for the terminal."""
    width = max(9, *map(len, scores.names)) + 2
    cells = [["annotated", *scores.names, "F1"]]
    for name, row in zip(scores.names, scores.confusion.tolist(), strict=True):
        cells.append([name, *map(str, row), f"{scores.f1[name]:.3f}"])
    lines = ["".join(f"{cell:>{width}}" for cell in row) for row in cells]
    return as_text(
        [
            f"{title} (rows annotated, columns predicted):",
            *lines,
            f"accuracy {scores.accuracy:.3f} (always the most frequent class: {scores.majority:.3f}), "
            f"balanced accuracy {scores.balanced_accuracy:.3f} (chance: {1 / len(scores.names):.3f})",
        ]
    )


def _write(
    tables: Sequence[ResultTable],
    learned: Learned,
    targets: Mapping[int, Path],
    config: LearnConfig,
    options: Mapping[str, Any],
) -> None:
    from wsinuc.workflows.reclassify.about import about_classes
    from wsinuc.workflows.reclassify.write import WriteConfig, write_classified

    about = about_classes(learned, options["labels"], config)
    writing = WriteConfig(overwrite=options["overwrite"], report=options["report"], slide=options["slide"])
    for number, out in targets.items():
        classified = write_classified(tables[number], learned, out, writing, about=about)
        counts = ", ".join(f"{name} {count:,}" for name, count in classified.counts.items())
        echo(f"{out}: {counts}")
        for note in classified.notes:
            echo(f"note: {note}")


def _export(tables: Sequence[ResultTable], learned: Learned, options: Mapping[str, Any]) -> None:
    from wsinuc.workflows.reclassify.about import about_classes
    from wsinuc.workflows.reclassify.export import export_model

    out = options["export"]
    export_model(tables, learned, out, model=options["model"], about=about_classes(learned, options["labels"], None))
    echo(f"Written to {out}. Next: wsinuc segment SLIDE --model {out}")


def _ask(tables: Sequence[ResultTable], learned: Learned, options: Mapping[str, Any]) -> None:
    from wsinuc.workflows.reclassify.ask import next_questions, write_questions

    questions = next_questions(tables, learned, options["ask"], seed=options["seed"] or 0)
    folder = options["output"]
    for number, table in enumerate(tables):
        own = [question for question in questions if question.slide == number]
        if not own:
            continue
        place = table.folder.resolve().parent if folder is None or folder.suffix == ".wsinuc" else folder
        path = place / f"{table.stem}.ask.geojson"
        write_questions(table, own, path)
        echo(
            f"{path}: {len(own)} nuclei to label next; drag it onto the slide in QuPath, set their classes, export them"
        )


def check_options(given: Mapping[str, Any], *, has_labels: bool) -> None:
    """Raise UsageError for options that go with the other kind of argument."""
    foreign = NOT_OWN if has_labels else OWN
    wrong = next((name for name in given if name in foreign), None)
    if wrong is None:
        return
    flag = {"wanted": "--where", "unwanted": "--where-not", "dry_run": "--dry-run"}.get(wrong, f"--{wrong}")
    if has_labels:
        raise click.UsageError(f"{flag} goes with DATA, a data set of points; with --labels, results are taught")
    raise click.UsageError(f"{flag} goes with RESULT..., and these need --labels FILE")
