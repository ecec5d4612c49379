"""A segmenter and a few points with classes -> a segmenter that tells nuclei apart: ``wsinuc classify``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import wsinuc
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Conditions, LabelledImage
from wsinuc.errors import ConfigError, DataError
from wsinuc.exports.atomic import replacing_text
from wsinuc.exports.pictures.plots import draw_heat_map
from wsinuc.exports.qupath.class_names import check_class_names
from wsinuc.grid import ceil_div
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.devices import pick_dtype, prepare_device
from wsinuc.models.features.nucleus_classifier import ClassifierConfig
from wsinuc.models.training.loop import Progress
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.progress_line import ProgressLine
from wsinuc.segmenters import check_outlines_itself, model_path, segmenter_from
from wsinuc.segmenters.class_network import ClassNetwork, ClassWeights
from wsinuc.segmenters.typed import TypedSegmenter, network_of, typed_checkpoint
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.classify.cross_validate import (
    ClassScores,
    assign_folds,
    cross_validate,
    fit_on,
    permutation_test,
)
from wsinuc.workflows.classify.learn_maps import MapsConfig, learn_maps
from wsinuc.workflows.classify.marked import MarkedImage, kin_among, mark
from wsinuc.workflows.classify.marks import with_points
from wsinuc.workflows.classify.nuclei import NucleusTable, describe_marked
from wsinuc.workflows.data.training_set import label_notes


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
    network: MapsConfig | None = None
    """How a network of classes is learned besides, which thousands of points can bear; None learns none."""
    taught: int = 4
    """Of the patients, the share of 1 - 1 / (this + 1) teaches the network, and the others the regressions."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.taught < 1:
            raise ConfigError(f"the network needs a share of the patients, got taught {self.taught}")
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
    notes: tuple[str, ...] = ()
    """What was done to make points of what the files hold, a line for each kind."""


def gather_points(
    source: PathLike, *, mpp: float | None, wanted: Conditions, unwanted: Conditions, regions: str | None = None
) -> PointSet:
    """Read the chosen images of a data set that gives nuclei classes, by points or by outlines.

    Raises
    ------
    DataError
        The set knows fewer than two classes of nuclei, or one whose name results could not be written with.
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
    check_class_names(each.name for each in dataset.classes)
    origin = {"data": dataset.path.name, "layout": dataset.layout.name, "images": sorted(set(dataset.names))}
    images = tuple(dataset)
    notes = label_notes(dataset, images)
    return PointSet(tuple(with_points(image) for image in images), dataset.classes, origin, notes)


def train_points(
    images: Sequence[LabelledImage],
    classes: tuple[NucleusClass, ...],
    base: PathLike,
    out: PathLike,
    config: PointTrainConfig,
    *,
    device: str = "auto",
    network_from: PathLike | None = None,
    cache: PathLike | None = None,
    provenance: dict[str, Any] | None = None,
    on_event: Callable[[str], None] = lambda message: None,
) -> ClassScores | None:
    """Learn the classes of nuclei that ``base`` segments, and write both as one segmenter checkpoint.

    With ``config.network`` most patients teach the network of classes, and the rest the regressions on
    what it says: they must know how far it can be trusted where it has learned nothing by heart. The
    cross-validation is then one of the rest, which the network has not seen either.

    Beside ``out`` stand ``.json`` (what became of the points, all figures) and, unless ``folds`` is
    0, the confusion of the cross-validation as ``.confusion.csv`` and ``.confusion.png``.

    Parameters
    ----------
    images
        With points and their classes, each with its own mpp.
    base
        Name of a shipped model, or the path of a checkpoint of kind ``segmenter``.
    network_from
        Model whose network of classes is taken instead of learning one; none of the images may have taught it.
    cache
        Folder in which segmentations are kept from run to run; None keeps none.

    Returns
    -------
    The scores of the cross-validation; None without.

    Raises
    ------
    CheckpointError
        ``base`` is no segmenter, or gives classes to whole nuclei itself; ``network_from`` has no network of classes.
    DataError
        There is too little to learn from; see `describe_marked` and `assign_folds`.
    """
    out = to_path(out)
    kept = None if cache is None else to_path(cache)
    where = prepare_device(device)
    checkpoint = untyped_checkpoint(base)
    segmenter = TypedSegmenter(segmenter_from(checkpoint, device=where, dtype=pick_dtype(where)), classes)
    marked: Sequence[MarkedImage] = mark(images, segmenter.base, cache=kept, on_image=on_event)
    report: dict[str, Any] = {}
    network = None
    if network_from is not None:
        network = network_of(load_checkpoint(model_path(network_from), "segmenter"))
        report["network"] = {"from": Path(network_from).name}
    elif config.network is not None:
        taught, marked = _shared_out(marked, config)
        on_event(f"{len(taught)} images teach the network, {len(marked)} the regressions on what it says")
        network = _trained_network(taught, len(classes), out.with_suffix(".state"), config.network, where, on_event)
        report["network"] = {"images": sorted(image.name for image in taught)}
    if network is not None:
        segmenter = with_network(segmenter, network, where)
    table = describe_marked(marked, classes, segmenter, views=config.views, stain=config.stain, seed=config.seed)
    on_event(f"together: {table.counts}")
    report |= {"points": asdict(table.counts), "nuclei": _per_class(table.classes, table.names)}
    scores, figures = _cross_validated(table, config, on_event)
    report |= figures
    # The model that is kept learns from all nuclei; cross-validation only says how good such a one is.
    classifier = fit_on(table, np.ones(len(table.classes), bool), config.classifier)
    origin = {
        "wsinuc": wsinuc.__version__,
        "training": asdict(config),
        "base": {"model": Path(base).name, "sha256": checkpoint.sha256, **checkpoint.provenance},
        **report,
        **(provenance or {}),
    }
    save_checkpoint(typed_checkpoint(checkpoint, classes, classifier, origin, network=network), out)
    with replacing_text(out.with_suffix(".json")) as file:
        file.write(json.dumps(report, indent=2) + "\n")
    if scores is not None:
        write_confusion(scores, out)
    return scores


def untyped_checkpoint(base: PathLike) -> Checkpoint:
    """The checkpoint of a segmenter that names no classes of whole nuclei itself; raises CheckpointError."""
    checkpoint = load_checkpoint(model_path(base), "segmenter")
    # Classes upon classes: the upper ones would describe nuclei that the lower ones had named.
    check_outlines_itself(checkpoint, base)
    return checkpoint


def _cross_validated(
    table: NucleusTable, config: PointTrainConfig, on_event: Callable[[str], None]
) -> tuple[ClassScores | None, dict[str, Any]]:
    """The scores, None without folds, and what the report says of them and of trainings on shuffled classes."""
    if not config.folds:
        return None, {}
    scores = cross_validate(table, config.classifier, folds=config.folds, seed=config.seed)
    folds = min(config.folds, len(np.unique(table.groups)))
    on_event(f"cross-validation: {folds} folds of {table.kin}")
    measured = {"folds": folds, "held_out": table.kin.level, **scores.as_json()}
    figures: dict[str, Any] = {"cross_validation": measured}
    if config.permutations:
        figures["permutation_test"] = _tested_by_chance(table, config, on_event)
    return scores, figures


def _shared_out(marked: Sequence[MarkedImage], config: PointTrainConfig) -> tuple[list[MarkedImage], list[MarkedImage]]:
    """Images that teach the network, and those that teach the regressions; patients stay whole."""
    sizes = [image.counts.nuclei for image in marked]
    groups = np.repeat(np.array(kin_among(marked).groups, np.intp), sizes)
    folds = assign_folds(groups, config.taught + 1, config.seed)
    first = np.cumsum([0, *sizes[:-1]])
    rest = [size > 0 and folds[start] == 0 for start, size in zip(first, sizes, strict=True)]
    return (
        [image for image, is_rest in zip(marked, rest, strict=True) if not is_rest],
        [image for image, is_rest in zip(marked, rest, strict=True) if is_rest],
    )


def _trained_network(
    taught: Sequence[MarkedImage],
    classes: int,
    state: Path,
    config: MapsConfig,
    device: torch.device,
    on_event: Callable[[str], None],
) -> ClassWeights:
    def report(progress: Progress) -> None:
        on_event(progress.line("network", config.fit.steps))

    return learn_maps(taught, classes, state, config, device=device, on_progress=report)


def with_network(segmenter: TypedSegmenter, network: ClassWeights, device: torch.device) -> TypedSegmenter:
    """The same with a network of classes, its weights as precise as the checkpoint will have them."""
    shape, weights = network
    stored = {name: value.half().float() if value.ndim > 1 else value for name, value in weights.items()}
    made = ClassNetwork.from_tensors(shape, stored, device=device, dtype=pick_dtype(device))
    return TypedSegmenter(segmenter.base, segmenter.classes, segmenter.classifier, network=made)


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
    with replacing_text(out.with_suffix(".confusion.csv")) as file:
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
