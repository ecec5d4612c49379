"""A segmenter and a few points with classes -> a segmenter that tells nuclei apart: ``wsinuc classify``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import wsinuc
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Conditions, LabelledImage
from wsinuc.errors import CheckpointError, ConfigError, DataError
from wsinuc.exports.pictures.plots import draw_heat_map
from wsinuc.grid import ceil_div
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.devices import pick_device, pick_dtype
from wsinuc.models.features.nucleus_classifier import ClassifierConfig
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.own_files import create_text
from wsinuc.progress_line import ProgressLine
from wsinuc.segmenters import model_path, segmenter_from
from wsinuc.segmenters.typed import METHOD, TypedSegmenter, typed_checkpoint
from wsinuc.workflows.classify.cross_validate import ClassScores, cross_validate, fit_on, permutation_test
from wsinuc.workflows.classify.marks import marked
from wsinuc.workflows.classify.nuclei import NucleusTable, gather_nuclei


@dataclass(frozen=True, slots=True, kw_only=True)
class PointTrainConfig:
    """Settings of one training."""

    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    views: int = 2
    """Other stains that every image is also described in."""
    stain: float = 0.15
    """How far they are from the original, see `jitter_stain`."""
    folds: int = 5
    """Parts of the cross-validation; 0 skips it, as many as there are images leaves one image out at a time."""
    permutations: int = 100
    """Trainings on shuffled classes; 0 skips them."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.views, self.folds, self.permutations) < 0 or self.folds == 1 or not 0 <= self.stain < 1:
            raise ConfigError(
                "views and permutations must not be negative, folds 0 or at least 2, stain in [0, 1); "
                f"got {self.views}, {self.permutations}, {self.folds}, {self.stain}"
            )


@dataclass(frozen=True, slots=True)
class PointSet:
    """Images with points, and the classes of these."""

    images: tuple[LabelledImage, ...]
    classes: tuple[NucleusClass, ...]
    origin: dict[str, Any]


def gather_points(
    source: str, *, mpp: float | None, wanted: Conditions, unwanted: Conditions, regions: str | None = None
) -> PointSet:
    """Read the chosen images of a data set that gives nuclei classes, by points or by outlines.

    Raises
    ------
    DataError
        The set knows fewer than two classes of nuclei.
    """
    dataset = open_dataset(source, mpp=mpp, regions=regions).where(wanted, unwanted)
    kind = dataset.layout.kind
    if kind == "instances" and not dataset.classes:
        raise DataError(
            f"{dataset.path} has no points and its outlines have no classes ({dataset.layout.name}); "
            "wsinuc train learns from outlines"
        )
    if kind not in ("instances", "points"):
        raise DataError(f"{dataset.path} has no points ({dataset.layout.name} marks {kind})")
    if len(dataset.classes) < 2:
        raise DataError(f"the points of {dataset.path} have no classes to be told apart: two are the least")
    origin = {"data": dataset.path.name, "layout": dataset.layout.name, "images": sorted(set(dataset.names))}
    return PointSet(tuple(marked(image) for image in dataset), dataset.classes, origin)


def train_points(
    images: Sequence[LabelledImage],
    classes: tuple[NucleusClass, ...],
    base: str,
    out: Path,
    config: PointTrainConfig,
    *,
    device: str = "auto",
    provenance: dict[str, Any] | None = None,
    on_event: Callable[[str], None] = lambda message: None,
) -> ClassScores | None:
    """Learn the classes of nuclei that ``base`` segments, and write both as one segmenter checkpoint.

    Beside ``out`` stand ``.json`` (what became of the points, all figures) and, unless ``folds`` is
    0, the confusion of the cross-validation as ``.confusion.csv`` and ``.confusion.png``.

    Parameters
    ----------
    images
        With points and their classes, each with its own mpp.
    base
        Name of a shipped model, or the path of a checkpoint of kind ``segmenter``.

    Returns
    -------
    The scores of the cross-validation; None without.

    Raises
    ------
    CheckpointError
        ``base`` is no segmenter, or was itself trained on points.
    DataError
        There is too little to learn from; see `gather_nuclei` and `assign_folds`.
    """
    where = pick_device(device)
    checkpoint = load_checkpoint(model_path(base), "segmenter")
    # Classes upon classes: the upper ones would describe nuclei that the lower ones had named.
    if checkpoint.config.get("method") == METHOD:
        raise CheckpointError(
            f"{base} was itself trained on points; give the model below it, {_name_of_base(checkpoint)}"
        )
    segmenter = TypedSegmenter(segmenter_from(checkpoint, device=where, dtype=pick_dtype(where)), classes)
    table = gather_nuclei(
        images, classes, segmenter, views=config.views, stain=config.stain, seed=config.seed, on_image=on_event
    )
    on_event(f"together: {table.counts}")
    report: dict[str, Any] = {"points": asdict(table.counts), "nuclei": _per_class(table.classes, table.names)}
    scores = None
    if config.folds:
        scores = cross_validate(table, config.classifier, folds=config.folds, seed=config.seed)
        report["cross_validation"] = {"folds": min(config.folds, len(np.unique(table.groups))), **scores.as_json()}
    if config.folds and config.permutations:
        report["permutation_test"] = _tested_by_chance(table, config, on_event)
    # The model that is kept learns from all nuclei; cross-validation only says how good such a one is.
    classifier = fit_on(table, np.ones(len(table.classes), bool), config.classifier)
    origin = {
        "wsinuc": wsinuc.__version__,
        "training": asdict(config),
        "base": {"model": Path(base).name, "sha256": checkpoint.sha256, **checkpoint.provenance},
        **report,
        **(provenance or {}),
    }
    save_checkpoint(typed_checkpoint(checkpoint, classes, classifier, origin), out)
    with create_text(out.with_suffix(".json")) as file:
        file.write(json.dumps(report, indent=2) + "\n")
    if scores is not None:
        write_confusion(scores, out)
    return scores


def _tested_by_chance(table: NucleusTable, config: PointTrainConfig, on_event: Callable[[str], None]) -> dict[str, Any]:
    """What trainings on shuffled classes reach, and how often as much as the one on the true classes."""
    times = config.permutations

    def report(done: int) -> None:
        # Ten reports are enough for a bar, and do not flood a log.
        if done % ceil_div(times, 10) == 0:
            text = f"shuffled classes: {done} of {times} trainings"
            on_event(ProgressLine(text, stage="shuffled classes", unit="trainings", done=done, total=times))

    result = permutation_test(
        table, config.classifier, folds=config.folds, times=times, seed=config.seed, on_training=report
    )
    on_event(f"{result['times']} trainings on shuffled classes: p = {result['p']:.3g}")
    return result


def write_confusion(scores: ClassScores, out: Path) -> None:
    """Write ``.confusion.csv`` and ``.confusion.png`` beside ``out``."""
    with create_text(out.with_suffix(".confusion.csv"), newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["annotated", *scores.names])
        writer.writerows([name, *row] for name, row in zip(scores.names, scores.confusion.tolist(), strict=True))
    draw_heat_map(
        scores.confusion,
        scores.names,
        scores.names,
        out.with_suffix(".confusion.png"),
        x="predicted",
        y="annotated",
        title=f"Images not trained on: balanced accuracy {scores.balanced_accuracy:.3f}",
    )


def _per_class(classes: np.ndarray, names: tuple[str, ...]) -> dict[str, int]:
    return dict(zip(names, np.bincount(classes, minlength=len(names)).tolist(), strict=True))


def _name_of_base(checkpoint: Checkpoint) -> str:
    return str(checkpoint.provenance.get("base", {}).get("model", "which is not recorded"))
