"""Where the classes of a result or a model come from, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wsinuc.store.upload import digest
from wsinuc.workflows.reclassify.learn import LearnConfig, Learned


def about_classes(learned: Learned, files: Sequence[Path], config: LearnConfig | None) -> dict[str, Any]:
    """Files of labels, labelled nuclei per class, settings, features, and scores of the cross-validation."""
    labelled = learned.labelled
    sizes = np.bincount(labelled.classes, minlength=len(labelled.names)).tolist()
    about: dict[str, Any] = {
        "labels": [{"file": path.name, "sha256": digest(path).sha256} for path in files],
        "labelled": dict(zip(labelled.names, sizes, strict=True)),
        "counts": asdict(labelled.counts),
        "features": list(learned.classifier.columns.names),
    }
    if config is not None:
        about["settings"] = asdict(config)
    if learned.held_out is not None:
        about["cross_validation"] = learned.held_out.as_json()
    return about
