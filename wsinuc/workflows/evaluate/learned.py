"""Whether a model is measured on images that it has learned from, as far as its provenance names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsinuc.datasets.base import Dataset
from wsinuc.models.checkpoints.file_header import own_header
from wsinuc.shown import shown

_NAMED = 3
"""Images whose names a note gives."""


def learned_note(model: Path, dataset: Dataset) -> str | None:
    """What to say of images that a model has learned from; None where it has learned from none that is known.

    Images are compared by their names and the name of their data set. The provenance of the shipped models names no
    images: their cards say what they have learned from.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or not wsinuc's.
    """
    taught = {(source["data"], name) for source in _sources(own_header(model).provenance) for name in source["images"]}
    names = dict.fromkeys(dataset.names)
    learned = [name for name in names if (dataset.path.name, name) in taught]
    if not learned:
        return None
    shortened = ", ".join(map(shown, learned[:_NAMED]))
    more = "" if len(learned) <= _NAMED else ", ..."
    return (
        f"{model.name} has learned from {len(learned)} of the {len(names)} images ({shortened}{more}): their scores "
        "do not say how good it is on others. Measure on images that no training saw (--where-not, --split)"
    )


def _sources(provenance: Any) -> Iterator[dict[str, Any]]:
    """The data sets with names of images anywhere in a provenance: also those of a model that it began with."""
    if isinstance(provenance, list):
        for each in provenance:
            yield from _sources(each)
    if not isinstance(provenance, dict):
        return
    if isinstance(provenance.get("data"), str) and isinstance(provenance.get("images"), list):
        yield provenance
        return
    for value in provenance.values():
        yield from _sources(value)
