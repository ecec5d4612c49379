"""How much a synthetic data set is like a real one: images, labels, and whether the two belong together.

Both are cut into patches of one size and resolution. What a feature network sees, the shares of classes, colours, and
numbers, sizes and forms of nuclei are compared as distributions; a segmenter trained on real images then says whether
the synthetic labels fit the synthetic images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from wsinuc.datasets.base import Dataset
from wsinuc.metrics.distributions import inception_score
from wsinuc.models.features.image_vectors import FeatureNetwork
from wsinuc.segmenters.base import Segmenter
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.compare import files
from wsinuc.workflows.compare.distances import FigureDistances, compare_figures
from wsinuc.workflows.compare.patches import ClassNumbers, Cutting, PatchFigures, measure_patches
from wsinuc.workflows.evaluate.files import make_output_folder
from wsinuc.workflows.evaluate.run import ImageScores, Scoring, evaluate, predict_nuclei

SETS = ("real", "synthetic")
SCORES = ("dice", "aji", "f_detection")

Watch = Callable[[str, int, int], None]
"""Told what is being done, how many images are done, and of how many."""


def _nobody(what: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SetComparison:
    """Everything that was compared."""

    network: Mapping[str, Any]
    """Name, description and width of the feature network."""
    cutting: Cutting
    sources: Mapping[str, str]
    """Folder of each of the two `SETS`, ``real`` and ``synthetic``."""
    figures: Mapping[str, PatchFigures]
    """What was measured of each."""
    classes: tuple[str, ...]
    """Classes of nuclei that shares of pixels tell apart."""
    distances: FigureDistances
    inception: Mapping[str, float] = field(default_factory=dict)
    """Inception score of each set in one split; empty when the network does not classify."""
    alignment: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Dice and AJI (means over images) and pooled F_d of a segmenter on each set; empty without one."""
    notes: tuple[str, ...] = ()
    """What could not be said, and why."""

    @property
    def class_percent(self) -> dict[str, dict[str, float]]:
        """Mean share of the pixels of each set in percent: background and each class."""
        names = ("background", *self.classes)
        means = {name: 100 * each.proportions.mean(axis=0) for name, each in self.figures.items()}
        return {name: dict(zip(names, mean.tolist(), strict=True)) for name, mean in means.items()}

    def summary(self) -> dict[str, Any]:
        """Every figure by name; NaN where there is nothing to compare."""
        return {
            "network": dict(self.network),
            "cutting": asdict(self.cutting),
            "sets": {name: self._counts(name) for name in SETS},
            "distances": {name: asdict(each) for name, each in self.distances.sets.items()},
            "patches_per_half": self.distances.half_size,
            "inception_score": dict(self.inception),
            "class_percent": self.class_percent,
            "quantities": {name: asdict(each) for name, each in self.distances.quantities.items()},
            "alignment": {name: dict(each) for name, each in self.alignment.items()},
            "notes": list(self.notes),
        }

    def _counts(self, name: str) -> dict[str, Any]:
        figures = self.figures[name]
        return {
            "folder": self.sources[name],
            "images": figures.images,
            "images_too_small": figures.too_small,
            "patches": len(figures),
            "nuclei": int(figures.values("nuclei_per_patch").sum()),
        }


def compare_sets(
    real: Dataset,
    synthetic: Dataset,
    features: FeatureNetwork,
    *,
    cutting: Cutting,
    segmenter: Segmenter | None = None,
    out: PathLike | None = None,
    overwrite: bool = False,
    on_image: Watch = _nobody,
) -> SetComparison:
    """Compare two annotated sets.

    Parameters
    ----------
    features
        What sees the images; see `wsinuc.models.features.image_vectors`.
    cutting
        Size and resolution of the patches, and the seed of all that is drawn.
    segmenter
        Trained on real images. It is scored against the labels of both sets: the real score is the yardstick, and
        flatters the segmenter if it was trained on these very images.
    out
        Folder to write ``comparison.json``, ``distributions.png`` and ``patches.png`` to.
    overwrite
        Write into a folder that is not empty.
    on_image
        Called after each image.

    Raises
    ------
    OutputError
        ``out`` holds something and ``overwrite`` is False, or cannot be written.
    DataError
        A set marks nuclei with points, has no image as large as a patch, or cannot be read.
    ConfigError
        The network does not take patches of this size.
    """
    folder = None if out is None else to_path(out)
    if folder is not None:
        # Before any time is spent.
        make_output_folder(folder, overwrite)
    pair = dict(zip(SETS, (real, synthetic), strict=True))
    numbers, notes = _common_classes(real, synthetic)
    figures = {
        name: measure_patches(dataset, features, cutting, numbers[name], partial(on_image, f"measuring {name}"))
        for name, dataset in pair.items()
    }
    scores = _inception_scores(figures)
    comparison = SetComparison(
        network={"name": features.name, "description": features.description, "width": features.width},
        cutting=cutting,
        sources={name: dataset.path.name for name, dataset in pair.items()},
        figures=figures,
        classes=numbers["real"].names,
        distances=compare_figures(figures["real"], figures["synthetic"], cutting.seed),
        inception=scores,
        alignment={} if segmenter is None else _alignment(pair, segmenter, on_image),
        notes=(*notes, *_notes(figures, features, cutting), *([] if scores else [_no_score(features)])),
    )
    if folder is not None:
        files.write_comparison(comparison.summary(), figures, folder)
        files.write_patches(pair, figures, cutting, folder)
    return comparison


def _common_classes(real: Dataset, synthetic: Dataset) -> tuple[dict[str, ClassNumbers], list[str]]:
    """How each set's classes are counted: as the real set names them, or not at all where the names differ."""
    names = [[c.name.casefold() for c in dataset.classes] for dataset in (real, synthetic)]
    if names[0] and sorted(names[0]) == sorted(names[1]):
        shown = tuple(c.name for c in real.classes)
        # A nucleus of unknown class is -1, so that it is not taken for background.
        numbers = [np.array([-1, *(names[0].index(name) + 1 for name in each)], np.int64) for each in names]
        return {name: ClassNumbers(shown, number) for name, number in zip(SETS, numbers, strict=True)}, []
    had = [", ".join(c.name for c in dataset.classes) or "none" for dataset in (real, synthetic)]
    note = f"classes are not compared, only nuclei and background: the real set has {had[0]}, the synthetic {had[1]}"
    return {name: ClassNumbers(("nucleus",)) for name in SETS}, [note] if max(map(len, names)) > 1 else []


def _inception_scores(figures: Mapping[str, PatchFigures]) -> dict[str, float]:
    probabilities = {name: each.probabilities for name, each in figures.items() if each.probabilities is not None}
    return {name: inception_score(each, splits=1)[0] for name, each in probabilities.items()}


def _no_score(features: FeatureNetwork) -> str:
    return f"no inception score: {features.name} gives no class probabilities; FID's Inception does (--features FILE)"


def _notes(figures: Mapping[str, PatchFigures], features: FeatureNetwork, cutting: Cutting) -> list[str]:
    """What a reader of the figures must know."""
    notes = []
    fewest = min(len(each) for each in figures.values())
    if fewest < 2:
        notes.append("no distance between features: a set has one patch, which has no variance")
    elif fewest <= features.width:
        notes.append(
            f"the Frechet distance of {fewest} patches in {features.width} dimensions is far above its true value: "
            "compare same_n with floor, and trust the kernel distance more"
        )
    for name, each in figures.items():
        if each.too_small:
            notes.append(f"{each.too_small} {name} images are smaller than a patch and were left out")
        if each.coarsest_mpp > 1.01 * cutting.mpp:
            notes.append(
                f"{name} images are as coarse as {each.coarsest_mpp:g} um per px and were magnified to "
                f"{cutting.mpp:g}: they lack detail for that reason"
            )
        if not len(each.values("area_um2")):
            notes.append(f"no {name} nucleus lies wholly inside a patch: sizes and forms are not compared")
    if features.mpp is not None and abs(features.mpp / cutting.mpp - 1) > 0.1:
        notes.append(f"{features.name} was trained at {features.mpp:g} um per px and is given {cutting.mpp:g}")
    return notes


def _alignment(pair: Mapping[str, Dataset], segmenter: Segmenter, on_image: Watch) -> dict[str, dict[str, float]]:
    """Scores of the segmenter on each set, without classes."""
    scores = {}
    for name, dataset in pair.items():
        counter = _Counter(f"segmenting {name}", len(dataset), on_image)
        predict = partial(predict_nuclei, segmenter=segmenter)
        names = [c.name for c in segmenter.classes]
        # The generator's classes are not the segmenter's, so only nuclei and background are compared.
        scoring = Scoring(classes=False)
        evaluation = evaluate(dataset, predict, predicted_classes=names, scoring=scoring, on_image=counter)
        summary = evaluation.summary()
        every = {**summary["means"], **summary}
        scores[name] = {score: float(every[score]) for score in SCORES}
    return scores


class _Counter:
    """Counts the images of an evaluation for who watches the comparison."""

    def __init__(self, what: str, total: int, on_image: Watch) -> None:
        self._what = what
        self._total = total
        self._on_image = on_image
        self._done = 0

    def __call__(self, scored: ImageScores) -> None:
        self._done += 1
        self._on_image(self._what, self._done, self._total)
