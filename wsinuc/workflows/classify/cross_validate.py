"""How well classes of nuclei are told apart in images that the classifier has not seen, and whether that is chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.models.features.nucleus_classifier import ClassifierConfig, NucleusClassifier, fit_classifier

if TYPE_CHECKING:
    from wsinuc.workflows.classify.nuclei import NucleusTable


@dataclass(frozen=True, slots=True, eq=False)
class ClassScores:
    """What follows from a confusion matrix; a class that no nucleus has is left out of means."""

    names: tuple[str, ...]
    confusion: NDArray[np.int64]
    """(classes, classes) annotated by predicted."""

    @property
    def accuracy(self) -> float:
        """Share of nuclei with the right class."""
        return float(self.confusion.trace() / self.confusion.sum())

    @property
    def majority(self) -> float:
        """Accuracy of always naming the most frequent class."""
        return float(self.confusion.sum(axis=1).max() / self.confusion.sum())

    @property
    def balanced_accuracy(self) -> float:
        """Mean over classes of the share that is recognised; 1 / classes is chance."""
        of_class = self.confusion.sum(axis=1)
        return float((self.confusion.diagonal() / np.maximum(of_class, 1))[of_class > 0].mean())

    @property
    def f1(self) -> dict[str, float]:
        """F1 of each class."""
        both = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        values = 2 * self.confusion.diagonal() / np.maximum(both, 1)
        return dict(zip(self.names, values.tolist(), strict=True))

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "classes": list(self.names),
            "confusion": self.confusion.tolist(),
            "accuracy": round(self.accuracy, 4),
            "accuracy_of_majority": round(self.majority, 4),
            "balanced_accuracy": round(self.balanced_accuracy, 4),
            "balanced_accuracy_of_chance": round(1 / len(self.names), 4),
            "f1": {name: round(value, 4) for name, value in self.f1.items()},
        }


def fit_on(table: NucleusTable, rows: NDArray[np.bool_], config: ClassifierConfig) -> NucleusClassifier:
    """A classifier of the nuclei in ``rows`` ``(n,)``, in all views."""
    views = len(table.descriptors)
    return fit_classifier(
        table.descriptors[:, rows].reshape(-1, table.descriptors.shape[2]),
        np.tile(table.classes[rows], views),
        np.tile(table.images[rows], views),
        len(table.names),
        config,
    )


def assign_folds(groups: NDArray[np.intp], folds: int, seed: int) -> NDArray[np.intp]:
    """Fold of every nucleus, ``(n,)``: groups stay whole, the folds are about equally large.

    Raises
    ------
    DataError
        There are fewer than two groups, or fewer than two folds are asked for.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 2 or folds < 2:
        raise DataError(
            f"cross-validation needs 2 images (or patients) with nuclei of a class and 2 folds, got {len(names)} and "
            f"{folds}: add images, or train with --folds 0"
        )
    fold_sizes = np.zeros(min(folds, len(names)), np.int64)
    fold_of = np.empty(len(names), np.intp)
    # The largest groups first, each into the smallest fold so far; the shuffle decides between equals.
    order = np.random.default_rng(seed).permutation(len(names))
    for i in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[i] = fold_sizes.argmin()
        fold_sizes[fold_of[i]] += sizes[i]
    return fold_of[np.searchsorted(names, groups)]


def cross_validate(table: NucleusTable, config: ClassifierConfig, *, folds: int, seed: int = 0) -> ClassScores:
    """Every nucleus classified by a classifier that has seen nothing of its group, in the original stain.

    Raises
    ------
    DataError
        See `assign_folds`.
    """
    fold = assign_folds(table.groups, folds, seed)
    confusion = np.zeros((len(table.names),) * 2, np.int64)
    for k in range(fold.max() + 1):
        probabilities, _ = fit_on(table, fold != k, config)(table.descriptors[0, fold == k])
        np.add.at(confusion, (table.classes[fold == k], probabilities.argmax(axis=1)), 1)
    return ClassScores(table.names, confusion)


def permutation_test(
    table: NucleusTable,
    config: ClassifierConfig,
    *,
    folds: int,
    times: int,
    seed: int = 0,
    on_training: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """How often shuffled classes are told apart as well as the true ones.

    Everything is fitted anew to classes shuffled over all nuclei. To be affordable, true and shuffled classes are both
    learnt by one member from the original stain alone.

    Parameters
    ----------
    on_training
        Told how many of the ``times`` trainings on shuffled classes are done.

    Returns
    -------
    dict
        ``times``, ``balanced_accuracy`` (of the true classes), ``shuffled_mean``,
        ``shuffled_highest``, and ``p``, the share of all runs, the true one among them, that are at
        least as good.
    """
    plain = replace(table, descriptors=table.descriptors[:1])
    single = replace(config, members=1)
    true = cross_validate(plain, single, folds=folds, seed=seed).balanced_accuracy
    rng = np.random.default_rng(seed)
    shuffled: list[float] = []
    for _ in range(times):
        by_chance = replace(plain, classes=rng.permutation(table.classes))
        shuffled.append(cross_validate(by_chance, single, folds=folds, seed=seed).balanced_accuracy)
        on_training(len(shuffled))
    return {
        "times": times,
        "balanced_accuracy": round(true, 4),
        "shuffled_mean": round(float(np.mean(shuffled)), 4),
        "shuffled_highest": round(max(shuffled), 4),
        "p": (1 + sum(value >= true for value in shuffled)) / (1 + times),
    }
