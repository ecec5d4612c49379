"""A classifier of the nuclei of results, and the model that segmented them, as one model for ``segment --model``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wsinuc
from wsinuc.errors import CheckpointError, DataError
from wsinuc.nuclei.measured_names import FIXED
from wsinuc.own_files import check_place
from wsinuc.segmenters.base import Needs
from wsinuc.segmenters.shipped import model_path
from wsinuc.urls import PathLike
from wsinuc.workflows.reclassify.learn import Learned
from wsinuc.workflows.reclassify.tables import ResultTable


def export_model(
    tables: Sequence[ResultTable],
    learned: Learned,
    out: Path,
    *,
    model: PathLike | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write the checkpoint.

    Parameters
    ----------
    tables
        The results that the classifier has learned from.
    model
        Name or path of the model that segmented them; None takes what they have noted.
    about
        Where the classes come from, for the checkpoint's provenance.

    Raises
    ------
    CheckpointError
        The model is not here, or another one.
    DataError
        The results were segmented by different models, or measured with stain vectors fitted to each slide.
    """
    # Takes PyTorch, which teaching a result does without.
    from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
    from wsinuc.segmenters.measured import measured_checkpoint, without_classes

    check_place(out)
    needs = needs_of(tables, learned.classifier.columns.names)
    sha256, noted = _model_of(tables)
    path = model_path(model or noted)
    if not path.is_file():
        raise CheckpointError(
            f"the model that segmented {tables[0].folder} is not at {path}, and its export has to hold it: say with "
            "--model where it is now"
        )
    checkpoint = load_checkpoint(path, "segmenter")
    if checkpoint.sha256 != sha256:
        raise CheckpointError(
            f"{model or noted} is not the model that segmented {tables[0].folder} (SHA-256 {checkpoint.sha256[:12]}, "
            f"then {sha256[:12]}): give that one with --model"
        )
    origin = {
        "wsinuc": wsinuc.__version__,
        "base": {"model": Path(model or noted).name, "sha256": sha256, **checkpoint.provenance},
        **(about or {}),
    }
    base = without_classes(checkpoint)
    save_checkpoint(measured_checkpoint(base, learned.classes, learned.classifier, needs, origin), out)


def needs_of(tables: Sequence[ResultTable], columns: Sequence[str]) -> Needs:
    """What has to be measured for these columns; raises DataError where results differ in how they were measured."""
    groups = {FIXED[name].group for name in columns} - {"basic"}
    stains = {str(table.summary["settings"]["stains"]) for table in tables}
    if len(stains) > 1:
        raise DataError(
            f"the results were measured with different stain vectors ({', '.join(sorted(stains))}): use one"
        )
    return Needs(measure=tuple(sorted(groups)), stains=stains.pop())


def _model_of(tables: Sequence[ResultTable]) -> tuple[str, str]:
    """SHA-256 and name of the model that segmented all results."""
    hashes = {table.summary.get("weights_sha256") for table in tables}
    sha256 = hashes.pop()
    if hashes:
        raise DataError("the results were segmented by different models: export a model from results of one")
    if not sha256:
        raise DataError(f"{tables[0].folder} does not say which model's file it was segmented with: segment it again")
    return str(sha256), str(tables[0].summary["config"]["model"])
