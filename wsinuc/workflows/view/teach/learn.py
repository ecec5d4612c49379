"""Classes of all nuclei learned from the labels, by the functions that ``wsinuc classify`` is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.shown import shown
from wsinuc.workflows.view.table import NucleiTable

if TYPE_CHECKING:
    from wsinuc.workflows.reclassify.learn import Learned as Classifier
    from wsinuc.workflows.reclassify.tables import ResultTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What was learned, applied to all nuclei of a table."""

    names: tuple[str, ...]
    classes: NDArray[np.uint8]
    """(n,) position of each nucleus' class among ``names``."""
    doubt: NDArray[np.float64]
    """(n,) 1 where the two likeliest classes are equally likely, 0 where one is certain."""
    score: float | None
    """Cross-validated balanced accuracy; None where it was not measured."""
    apart: str
    """What was held out together: ``regions`` or ``nuclei``, whose score is too good."""
    chance: float | None
    """The same from shuffled labels."""
    labels: int
    """Labels that it was learned from."""
    source: ResultTable
    classifier: Classifier
    """What ``wsinuc classify`` writes with."""
    about: dict[str, Any]
    """Where the classes come from, as ``wsinuc classify`` notes it in a result."""

    def report(self) -> dict[str, Any]:
        """For the page."""
        return {
            "score": self.score,
            "apart": self.apart,
            "chance": self.chance,
            "labels": self.labels,
            "names": [shown(name) for name in self.names],
        }


def learn(table: NucleiTable, labels: Path) -> Learned:
    """Learn classes from a file of labels, and apply them to every nucleus of a table; nothing is written.

    Raises
    ------
    DataError
        There are too few labels, or the table has no measurements to learn from.
    """
    # Takes PyTorch's neighbours, which a page without labels does without.
    from wsinuc.workflows.reclassify.about import about_classes
    from wsinuc.workflows.reclassify.ask import doubts_of
    from wsinuc.workflows.reclassify.learn import LearnConfig, learn_classes
    from wsinuc.workflows.reclassify.marks import read_marks
    from wsinuc.workflows.reclassify.tables import open_tables

    if not labels.exists():
        raise DataError("there are no labels yet: give nuclei of each class a label, two at the least")
    tables = open_tables([table.folder])
    config = LearnConfig()
    learned = learn_classes(tables, [read_marks(labels)], config)
    estimates = [learned.classify(part) for part in tables[0].parts()]
    classes = np.concatenate([each.indices for each in estimates])
    if len(classes) != len(table):
        raise DataError(f"{table.folder} has changed since it was opened: open it again")
    held_out = learned.held_out
    return Learned(
        names=tuple(each.name for each in learned.classes),
        classes=classes,
        doubt=np.concatenate([doubts_of(each) for each in estimates]),
        score=None if held_out is None else float(held_out.scores.balanced_accuracy),
        apart="" if held_out is None else held_out.apart,
        chance=None if held_out is None else held_out.chance,
        labels=len(learned.labelled),
        source=tables[0],
        classifier=learned,
        about=about_classes(learned, [labels], config),
    )
