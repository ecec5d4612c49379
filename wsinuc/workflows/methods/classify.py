"""``wsinuc.classify``: finished results and a few labels to the classes of all their nuclei."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsinuc import arguments
from wsinuc.errors import ConfigError, DataError
from wsinuc.urls import PathLike, PlaceLike, Url, to_path
from wsinuc.workflows.methods.learned_classes import LearnedClasses
from wsinuc.workflows.reclassify.about import about_classes
from wsinuc.workflows.reclassify.learn import LearnConfig, learn_classes
from wsinuc.workflows.reclassify.marks import Mark, MarkFile, read_marks
from wsinuc.workflows.reclassify.tables import open_tables

Labels = PathLike | Sequence[PathLike] | Mapping[str, str]
"""Files of labels, or UUID of a nucleus -> its class."""
_GIVEN = Path("the labels")
"""What messages call labels that are of no file."""


def classify(
    results: PlaceLike | Sequence[PlaceLike],
    labels: Labels,
    *,
    folds: int = 5,
    permutations: int = 20,
    seed: int = 0,
) -> LearnedClasses:
    """Learn classes of nuclei from a few labelled ones, by what the table holds of them; no pixel is read.

    What is returned says how well the classes are told apart, and writes results with them, or a model.

    Parameters
    ----------
    results
        One or several finished results of `wsinuc.segment_slide`.
    labels
        Files of labels: GeoJSON as QuPath exports it (detections whose class was set, points, annotations around
        nuclei) or tables (``uuid,class`` or ``x,y,class``). Or class names by the nuclei's UUIDs, the column ``uuid``.
    folds
        Folds of the cross-validation, whole slides or regions each; 0 skips it.
    permutations
        Trainings on shuffled classes, to see what chance would reach; 0 skips them.
    seed
        Of what is drawn at random.

    Returns
    -------
    LearnedClasses
        ``scores``, and ``write``, ``apply``, ``save_model`` and ``ask``.

    Raises
    ------
    ConfigError
        ``folds`` or ``permutations`` are out of range.
    DataError
        The labels are damaged, or are mostly of no nucleus; classes are fewer than two or have a single nucleus; or
        the results lack measurements.
    DamageError, OutputError
        A result is none, is damaged, or lies at a URL.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> out = tempfile.mkdtemp() + "/field.wsinuc"
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student", report=False)
    >>> summary = wsinuc.segment_slide("examples/data/field.png", out, config)
    >>> rows = wsinuc.read(out).nuclei().select(["uuid", "area_um2"]).to_pylist()
    >>> labels = {row["uuid"]: "large" if row["area_um2"] > 30 else "small" for row in rows[:20]}
    >>> learned = wsinuc.classify(out, labels, folds=2, permutations=0)
    >>> learned.scores.balanced_accuracy > 0.5
    True
    """
    config = LearnConfig(
        folds=arguments.whole_number("folds", folds),
        permutations=arguments.whole_number("permutations", permutations),
        seed=arguments.whole_number("seed", seed),
    )
    tables = open_tables(_several(results))
    files, about = _read(labels)
    learned = learn_classes(tables, files, config)
    paths = [file.path for file in files if file.path is not _GIVEN]
    return LearnedClasses(
        learned=learned,
        tables=tuple(tables),
        about=about_classes(learned, paths, config) | about,
    )


def _several(results: PlaceLike | Sequence[PlaceLike]) -> list[PlaceLike]:
    """One or several results as a list; raises ConfigError for what is none."""
    if isinstance(results, (str, os.PathLike, Url)):
        return [results]
    if isinstance(results, Sequence) and not isinstance(results, bytes) and results:
        return list(results)
    raise ConfigError(
        f"expected finished results (slide.wsinuc) of wsinuc.segment_slide, got {arguments.came(results)}: an image "
        "that wsinuc.segment_image has segmented gets classes with the apply of what classify returns"
    )


def _read(labels: Labels) -> tuple[list[MarkFile], dict[str, Any]]:
    """The labels, and what is to be recorded of those that are of no file."""
    if isinstance(labels, Mapping):
        return [_of_mapping(labels)], {"labels": [{"given": len(labels)}]}
    if isinstance(labels, (str, os.PathLike)):
        return [read_marks(to_path(labels))], {}
    if not isinstance(labels, Iterable) or isinstance(labels, bytes):
        raise ConfigError(f"expected files of labels, or classes by UUID, got {arguments.came(labels)}")
    files = [read_marks(to_path(path)) for path in labels]
    if not files:
        raise DataError("expected at least one file of labels, got none")
    return files, {}


def _of_mapping(labels: Mapping[str, str]) -> MarkFile:
    """Classes by UUID as a file would hold them; raises DataError for what is no text."""
    for uuid, name in labels.items():
        if not isinstance(uuid, str) or not isinstance(name, str) or not name:
            raise DataError(
                f"labels are class names by the UUIDs of nuclei (the column uuid), got {arguments.came(name)} for "
                f"{arguments.came(uuid)}"
            )
    marks = tuple(Mark(class_name=name, uuid=uuid) for uuid, name in labels.items())
    if not marks:
        raise DataError("expected classes by UUID, got none")
    return MarkFile(path=_GIVEN, marks=marks, starred=0, nameless=0, colors={})
