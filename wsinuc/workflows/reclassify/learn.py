"""Results and labels -> a classifier with its scores; nothing is written.

What ``wsinuc classify RESULT --labels ...`` and viewers call::

    tables = open_tables(["slide.wsinuc"])
    learned = learn_classes(tables, [read_marks(Path("labels.geojson"))])
    learned.held_out.scores.balanced_accuracy
    for part in tables[0].parts():
        estimate = learned.classify(part)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from wsinuc.errors import ConfigError
from wsinuc.models.features.measured_classifier import ClassEstimate, MeasuredClassifier, fit_measured
from wsinuc.models.features.nucleus_classifier import ClassifierConfig
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.workflows.reclassify.gather import LabelledNuclei, gather
from wsinuc.workflows.reclassify.held_out import HeldOut, held_out_scores
from wsinuc.workflows.reclassify.marks import MarkFile
from wsinuc.workflows.reclassify.tables import ResultTable


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnConfig:
    """Settings of one training."""

    classifier: ClassifierConfig = field(default_factory=lambda: ClassifierConfig(penalty=0.1))
    folds: int = 5
    """Parts of the cross-validation; 0 skips it."""
    permutations: int = 20
    """Trainings on shuffled classes; 0 skips them."""
    most: int = 20_000
    """Labelled nuclei that are learned from at most, drawn at random where annotations around nuclei give more."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 0 or self.folds == 1 or self.permutations < 0 or self.most < 2:
            raise ConfigError(
                "folds must be 0 or at least 2, permutations not negative and most at least 2; "
                f"got {self.folds}, {self.permutations}, {self.most}"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """A classifier of the nuclei of a table, and how good it is."""

    classes: tuple[NucleusClass, ...]
    classifier: MeasuredClassifier
    labelled: LabelledNuclei
    """What it has learned from."""
    held_out: HeldOut | None
    """Scores of the cross-validation; None without."""

    def classify(self, part: pa.Table) -> ClassEstimate:
        """Classes of the nuclei of a part of a table (`ResultTable.parts`), in its order."""
        names = self.classifier.columns.names
        return self.classifier({name: part[name].to_numpy() for name in names})


def learn_classes(
    tables: Sequence[ResultTable], files: Sequence[MarkFile], config: LearnConfig | None = None
) -> Learned:
    """Learn classes from a few labelled nuclei; seconds for a slide, without a look at its pixels.

    Parameters
    ----------
    tables
        From `wsinuc.workflows.reclassify.tables.open_tables`.
    files
        From `wsinuc.workflows.reclassify.marks.read_marks`.

    Raises
    ------
    DataError
        See `wsinuc.workflows.reclassify.gather.gather`.
    """
    return learn_from(gather(tables, files), config)


def learn_from(labelled: LabelledNuclei, config: LearnConfig | None = None) -> Learned:
    """The same from nuclei that have been looked up."""
    config = config or LearnConfig()
    labelled = _at_most(labelled, config)
    held_out = None
    if config.folds:
        held_out = held_out_scores(
            labelled, config.classifier, folds=config.folds, permutations=config.permutations, seed=config.seed
        )
    # The classifier that is kept learns from all labels; cross-validation only says how good such a one is.
    classifier = fit_measured(
        labelled.features,
        labelled.classes,
        len(labelled.names),
        labelled.moments,
        labelled.columns,
        replace(config.classifier, seed=config.seed),
    )
    classes = tuple(NucleusClass(name, labelled.colors[name]) for name in labelled.names)
    return Learned(classes=classes, classifier=classifier, labelled=labelled, held_out=held_out)


def _at_most(labelled: LabelledNuclei, config: LearnConfig) -> LabelledNuclei:
    """The labelled nuclei, or as many of each class as there is room for."""
    if len(labelled) <= config.most:
        return labelled
    rng = np.random.default_rng(config.seed)
    room = config.most // len(labelled.names)
    kinds = [np.flatnonzero(labelled.classes == kind) for kind in range(len(labelled.names))]
    return labelled.rows(np.sort(np.concatenate([rng.permutation(kind)[:room] for kind in kinds])))
