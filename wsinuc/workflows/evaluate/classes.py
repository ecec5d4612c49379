"""Which class of a model, or of predicted label images, is which class of the annotation: by name,
never by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class ClassMatch:
    """How predicted classes are to be read."""

    names: tuple[str, ...]
    """Classes that are scored, as the annotation names and counts them, then those that only the prediction has; empty
    when nuclei are scored without classes."""
    number: NDArray[np.int64]
    """(predicted classes + 1,) predicted class -> annotated class, both counted from 1, 0 is unknown."""
    note: str
    """Why classes are not scored, or which of them the annotation has no nucleus of; empty otherwise."""

    def translate(self, classes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Predicted classes in the numbers of the annotation; raises DataError for a number without a name."""
        if classes.max(initial=0) >= len(self.number) or classes.min(initial=0) < 0:
            raise DataError(
                f"the prediction names {len(self.number) - 1} classes, but nuclei are of class "
                f"{classes.min()} to {classes.max()}"
            )
        numbers: NDArray[np.int64] = self.number[classes]
        return numbers

    def translate_map(self, pixels: NDArray[np.integer]) -> NDArray[np.int64]:
        """Predicted classes of pixels ``(h, w)`` in the numbers of the annotation.

        1 for every pixel of nucleus where nuclei are scored without classes. A value beyond the predicted classes is
        that of unclassified pixels (`wsinuc.semantic.classes`), which are no class's.
        """
        if not self.names:
            return (pixels > 0).astype(np.int64)
        numbers: NDArray[np.int64] = np.append(self.number, 0)[np.minimum(pixels, len(self.number))]
        return numbers


def known_classes(classes: NDArray[np.integer] | None, labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Class of each label, by its number; all are 0, unknown, where nothing says them.

    Examples
    --------
    >>> known_classes(None, np.array([[0, 2]])).tolist()
    [0, 0, 0]
    """
    if classes is None:
        return np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    return classes


def match_classes(annotated: Sequence[str], predicted: Sequence[str], *, seen: bool = False) -> ClassMatch:
    """Match classes by name, capitals aside.

    One class, or none, on either side means that nuclei are not told apart there: then they are scored without classes.

    Parameters
    ----------
    seen
        Whether ``annotated`` are only the classes that occur: the prediction may then have others, too.

    Raises
    ------
    DataError
        Both sides tell nuclei apart, but not into the same classes.

    Examples
    --------
    >>> match_classes(["Epithelial", "Stromal"], ["stromal", "epithelial"]).number.tolist()
    [0, 2, 1]
    >>> match_classes(["Epithelial", "Stromal"], ["Nucleus"]).note
    'classes are not scored: the annotation has 2 (Epithelial, Stromal), the prediction has one or none'
    >>> match_classes(["stromal", "Tumor"], ["Other", "Stromal", "Tumor"], seen=True).names
    ('stromal', 'Tumor', 'Other')
    """
    if len(annotated) < 2 or len(predicted) < 2:
        return ClassMatch((), np.zeros(len(predicted) + 1, np.int64), _why_not(annotated, predicted))
    others = tuple(name for name in predicted if name.casefold() not in {each.casefold() for each in annotated})
    names = (*annotated, *others)
    number = {name.casefold(): i for i, name in enumerate(names, start=1)}
    predicted_names = [name.casefold() for name in predicted]
    if sorted(predicted_names) != sorted(number) or (others and not seen):
        raise DataError(
            f"the annotation has {len(annotated)} classes ({', '.join(annotated)}), "
            f"the prediction {len(predicted)} ({', '.join(predicted)}): the names must be the same, capitals aside. "
            "Measure with data of the classes that the model was trained on, rename the classes of one side in its "
            "classes.csv, or score without classes (--no-classes)"
        )
    note = ""
    if others:
        note = f"the annotation has no nucleus of {', '.join(others)}: one that is called so counts as wrong"
    return ClassMatch(names, np.array([0, *(number[name] for name in predicted_names)], np.int64), note)


def without_classes(predicted: Sequence[str]) -> ClassMatch:
    """Nuclei are scored without classes because the user says so."""
    return ClassMatch((), np.zeros(len(predicted) + 1, np.int64), "classes are not scored, as asked for")


def _why_not(annotated: Sequence[str], predicted: Sequence[str]) -> str:
    for many, has, other in ((annotated, "annotation", "prediction"), (predicted, "prediction", "annotation")):
        if len(many) > 1:
            listed = ", ".join(many)
            return f"classes are not scored: the {has} has {len(many)} ({listed}), the {other} has one or none"
    return ""
