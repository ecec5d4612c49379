"""How well classes are told apart in slides, or parts of a slide, whose labels the classifier has not seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from wsinuc.models.features.measured_classifier import fit_measured
from wsinuc.models.features.nucleus_classifier import ClassifierConfig
from wsinuc.workflows.classify.cross_validate import ClassScores, assign_folds
from wsinuc.workflows.reclassify.gather import LabelledNuclei

TRIES = 20
"""Ways of parting groups into folds that are tried, until every class lies in two of them."""
REGIONS = 3
"""Regions of a slide for each fold."""
MOST_SHUFFLED = 2000
"""Labels that trainings on shuffled classes use at most: more say the same and take longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Scores of the cross-validation, and what was held out together."""

    scores: ClassScores
    apart: str
    """``slides``, ``regions`` (of slides) or ``nuclei``: in the last case the scores are too good."""
    folds: int
    chance: float | None
    """Mean balanced accuracy after the classes were shuffled; None where nothing was shuffled."""
    p: float | None
    """Share of trainings, the true one among them, that are at least as good."""

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        shuffled = {} if self.chance is None else {"shuffled_balanced_accuracy": round(self.chance, 4), "p": self.p}
        return {"held_out": self.apart, "folds": self.folds, **self.scores.as_json(), **shuffled}


def held_out_scores(
    labelled: LabelledNuclei, config: ClassifierConfig, *, folds: int, permutations: int, seed: int
) -> HeldOut:
    """Cross-validate, with slides apart where each class has labels on two of them, else regions, else nuclei.

    Parameters
    ----------
    permutations
        Trainings on shuffled classes.
    """
    apart, fold = _folds(labelled, folds, seed)
    scores = _validated(labelled, labelled.classes, fold, config)
    chance = None
    p = None
    if permutations:
        shuffled = list(_shuffled(labelled, fold, config, permutations, seed))
        chance = float(np.mean(shuffled))
        p = (1 + sum(value >= scores.balanced_accuracy for value in shuffled)) / (1 + permutations)
    return HeldOut(scores=scores, apart=apart, folds=int(fold.max()) + 1, chance=chance, p=p)


def _folds(labelled: LabelledNuclei, folds: int, seed: int) -> tuple[str, NDArray[np.intp]]:
    """What is held out together, and the fold of each nucleus."""
    for apart, groups in (("slides", labelled.slides), ("regions", _regions(labelled, folds, seed))):
        if not _is_spread(labelled, groups):
            continue
        fold = _spread_folds(labelled, groups, folds, seed)
        if fold is not None:
            return apart, fold
    return "nuclei", _stratified(labelled.classes, folds, seed)


def _spread_folds(labelled: LabelledNuclei, groups: NDArray[np.intp], folds: int, seed: int) -> NDArray[np.intp] | None:
    """The fold of each nucleus, groups whole and every class in two folds; None where no try comes to that.

    A class that lies in one fold alone is unknown to the classifier that is asked for it.
    """
    # Folds of about one size first.
    fold = assign_folds(groups, folds, seed)
    numbers, group = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    for _ in range(TRIES):
        if _is_spread(labelled, fold):
            return fold
        fold = (rng.permutation(len(numbers)) % folds)[group]
    return None


def _is_spread(labelled: LabelledNuclei, groups: NDArray[np.intp]) -> bool:
    """Whether every class has labels in two groups, or folds."""
    kinds = range(len(labelled.names))
    return all(len(np.unique(groups[labelled.classes == kind])) > 1 for kind in kinds)


def _regions(labelled: LabelledNuclei, folds: int, seed: int) -> NDArray[np.intp]:
    """Labels of each slide in patches of what lies together, numbered over all slides."""
    groups = np.zeros(len(labelled), np.intp)
    start = 0
    for slide in np.unique(labelled.slides):
        own = np.flatnonzero(labelled.slides == slide)
        count = min(REGIONS * folds, max(1, len(own) // 2))
        # "++" begins with points that lie apart; what kmeans2 warns of, an empty region, does no harm.
        _, region = kmeans2(labelled.xy_um[own], count, minit="++", rng=np.random.default_rng(seed), missing="warn")
        groups[own] = start + region
        start += count
    return groups


def _stratified(classes: NDArray[np.intp], folds: int, seed: int) -> NDArray[np.intp]:
    """Folds with about equal shares of every class."""
    fold = np.zeros(len(classes), np.intp)
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(classes)), classes))
    fold[order] = np.arange(len(classes)) % min(folds, len(classes))
    return fold


def _validated(
    labelled: LabelledNuclei, classes: NDArray[np.intp], fold: NDArray[np.intp], config: ClassifierConfig
) -> ClassScores:
    """Every labelled nucleus classified by a classifier that has seen nothing of its fold."""
    count = len(labelled.names)
    confusion = np.zeros((count, count), np.int64)
    for k in range(int(fold.max()) + 1):
        seen = fold != k
        classifier = fit_measured(
            labelled.features[seen], classes[seen], count, labelled.moments, labelled.columns, config
        )
        said = classifier.of_features(labelled.features[~seen]).indices
        np.add.at(confusion, (classes[~seen], said), 1)
    return ClassScores(labelled.names, confusion)


def _shuffled(
    labelled: LabelledNuclei, fold: NDArray[np.intp], config: ClassifierConfig, times: int, seed: int
) -> Iterator[float]:
    """Balanced accuracies with classes shuffled over the labels, by one regression each."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(labelled))[:MOST_SHUFFLED])
    some = labelled.rows(rows)
    single = ClassifierConfig(members=1, penalty=config.penalty, seed=config.seed)
    for _ in range(times):
        yield _validated(some, rng.permutation(some.classes), fold[rows], single).balanced_accuracy
