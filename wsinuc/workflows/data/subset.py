"""A labelled subset as Nudiff chooses it (Yu et al. 2023): what would be annotated if only a tenth could be.

Images are cut into overlapping windows; a network sees each as one vector; k-means sorts the
vectors into groups, and from every group the same fraction is taken, the windows nearest to its
centre. So every kind of tissue is there, in its most typical form.

The paper counts its fractions in nuclei, not in windows, and its authors tuned the fraction of windows by hand (their
10 % are 11 %). `SubsetConfig.by` does that by bisection. A nucleus counts as soon as one of its pixels is in a chosen
window, and once, in however many it lies.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import ClusterError, kmeans2, vq

from wsinuc.datasets.augmentation.augment import resized
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.datasets.sampling.split import Place, Split, place_of
from wsinuc.datasets.sampling.windows import windows
from wsinuc.errors import ConfigError, DataError
from wsinuc.grid import Box
from wsinuc.models.features.image_vectors import FeatureNetwork

STARTS = 20
"""Random sets of windows from which k-means is begun; the tightest clusters stay."""
ROUNDS = 100
"""Iterations of k-means from each start."""
STRIDE = 32
"""Windows are resized to a multiple of this, which every U-Net can halve often enough."""
BY = ("patches", "nuclei")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetConfig:
    """How much is taken, and from what; the defaults are the paper's."""

    fraction: float = 0.1
    clusters: int = 6
    size_px: int = 256
    """Side of a window in pixels of the images."""
    stride: int = 128
    by: str = "patches"
    """What ``fraction`` counts: ``patches``, or ``nuclei``, to which the share of patches is then fitted."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction <= 1.0:
            raise ConfigError(f"fraction must lie above 0 and at most at 1, got {self.fraction:g}")
        if self.clusters < 1:
            raise ConfigError(f"windows need at least one cluster, got {self.clusters}")
        if self.by not in BY:
            raise ConfigError(f"the fraction is one of {' or '.join(BY)}, got {self.by!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """The chosen windows, and how much they are."""

    split: Split
    """Part ``train`` holds the windows, in the order of the images."""
    clusters: tuple[tuple[int, int], ...]
    """(windows, chosen ones) of each cluster, the largest first."""
    patch_fraction: float
    """Fraction of windows that was taken from every cluster, at least one each."""
    nuclei: int
    """Different nuclei that the chosen windows reach."""
    nuclei_share: float
    """Share of all nuclei, 0 to 1."""
    features: str
    """Name of the network whose features were clustered."""

    @property
    def windows(self) -> int:
        """How many windows were chosen."""
        return len(self.split.parts["train"])


@dataclass(frozen=True, slots=True, eq=False)
class _Survey:
    """All windows of a data set."""

    places: list[Place]
    vectors: NDArray[np.float64]
    """(windows, features)."""
    nuclei: list[NDArray[np.intp]]
    """Numbers of the nuclei in each window, counted over the whole data set."""
    total: int


def choose_subset(dataset: Dataset, network: FeatureNetwork, config: SubsetConfig) -> Subset:
    """The windows that stand for all, the same for the same data, network and config.

    Parameters
    ----------
    network
        Windows are shown to it at its resolution, where it has one.

    Raises
    ------
    DataError
        There are fewer windows, or fewer different ones, than clusters; or no nucleus.
    """
    survey = _look(dataset, network, config)
    if len(survey.places) < config.clusters:
        raise DataError(
            f"{dataset.path} has {len(survey.places)} windows of {config.size_px} px, too few for {config.clusters} "
            "clusters; ask for fewer, or for smaller windows"
        )
    if not survey.total:
        raise DataError(f"{dataset.path} has no annotated nucleus to choose from: check its labels and filters")
    members, distances = _clusters(survey.vectors, config)
    sizes = np.bincount(members, minlength=config.clusters)
    order = np.lexsort((distances, members))
    ranks = np.empty(len(order), np.intp)
    ranks[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)

    def nearest(fraction: float) -> NDArray[np.bool_]:
        # At least one window of every cluster, so that no kind of tissue is missing.
        enough: NDArray[np.bool_] = ranks < np.maximum(np.floor(fraction * sizes + 0.5), 1)[members]
        return enough

    fraction = config.fraction
    if config.by == "nuclei":
        fraction = _fitted(config.fraction, survey, nearest)
    chosen = nearest(fraction)
    chosen_of_cluster = np.bincount(members[chosen], minlength=config.clusters)
    largest = np.argsort(-sizes, kind="stable")
    places = tuple(place for place, is_chosen in zip(survey.places, chosen, strict=True) if is_chosen)
    return Subset(
        split=Split(parts={"train": places}, dataset=dataset.layout.name, seed=config.seed),
        clusters=tuple((int(sizes[i]), int(chosen_of_cluster[i])) for i in largest),
        patch_fraction=fraction,
        nuclei=_reached(survey, chosen),
        nuclei_share=_reached(survey, chosen) / survey.total,
        features=network.name,
    )


def _look(dataset: Dataset, network: FeatureNetwork, config: SubsetConfig) -> _Survey:
    """Cut every image, and show the windows to the network."""
    places: list[Place] = []
    vectors: list[NDArray[np.floating]] = []
    nuclei: list[NDArray[np.intp]] = []
    numbers: dict[tuple[str, int], int] = {}
    for index, image in enumerate(dataset):
        boxes = windows((image.labels.shape[0], image.labels.shape[1]), size_px=config.size_px, stride=config.stride)
        vectors.append(network(_pixels(image, boxes, network.mpp)).vectors)
        name = dataset.rows[index]["name"]
        outer = dataset.boxes[index]
        for box in boxes:
            places.append(place_of(dataset, index, box, image))
            ids = _nuclei(image, box, outer)
            nuclei.append(np.array([numbers.setdefault((name, i), len(numbers)) for i in ids], np.intp))
    return _Survey(places, np.concatenate(vectors).astype(np.float64), nuclei, len(numbers))


def _pixels(image: LabelledImage, boxes: list[Box], mpp: float | None) -> NDArray[np.uint8]:
    """RGB ``(n, h, w, 3)`` of the windows, at about ``mpp`` if that is not None."""
    if mpp is None:
        return np.stack([image.image[box.slices] for box in boxes])
    height, width = (max(1, round(side * image.mpp / mpp / STRIDE)) * STRIDE for side in boxes[0].shape)
    return np.stack([resized(image, box, (height, width))[0] for box in boxes])


def _nuclei(image: LabelledImage, box: Box, outer: Box | None) -> list[int]:
    """What names the nuclei of a window in its image file: their labels, or where their points lie."""
    labels: list[int] = [label for label in np.unique(image.labels[box.slices]).tolist() if label > 0]
    if image.points is None:
        return labels
    inside = ((image.points >= (box.y0, box.x0)) & (image.points < (box.y1, box.x1))).all(axis=1)
    corner = (outer.y0, outer.x0) if outer else (0, 0)
    y, x = (image.points[inside] + corner).astype(np.int64).T
    # One number for both coordinates: a point in two windows that overlap counts once.
    # Negative, so that it is no label.
    names: list[int] = (-1 - ((y << 32) | x)).tolist()
    return labels + names


def _clusters(vectors: NDArray[np.float64], config: SubsetConfig) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Cluster of each window and distance to its centre: the tightest of several runs of k-means."""
    rng = np.random.default_rng(config.seed)
    best: tuple[NDArray[np.intp], NDArray[np.float64]] | None = None
    for _ in range(STARTS):
        first = vectors[rng.choice(len(vectors), config.clusters, replace=False)]
        try:
            centres, _ = kmeans2(vectors, first, iter=ROUNDS, minit="matrix", missing="raise")
        except ClusterError:  # a cluster ran empty
            continue
        members, distances = vq(vectors, centres)
        if best is None or (distances**2).sum() < (best[1] ** 2).sum():
            best = members.astype(np.intp), distances
    if best is None:
        raise DataError(f"the windows are too alike to be told apart into {config.clusters} clusters; ask for fewer")
    return best


def _fitted(wanted: float, survey: _Survey, nearest: Callable[[float], NDArray[np.bool_]]) -> float:
    """The fraction of windows whose share of nuclei comes nearest to the wanted one; it grows with the fraction."""
    steps = len(survey.places)

    def share(step: int) -> float:
        return _reached(survey, nearest(step / steps)) / survey.total

    above = 1 + bisect_left(range(1, steps), wanted, key=share)
    return min(range(max(above - 1, 1), above + 1), key=lambda step: abs(share(step) - wanted)) / steps


def _reached(survey: _Survey, chosen: NDArray[np.bool_]) -> int:
    """How many different nuclei the chosen windows hold."""
    return len(np.unique(np.concatenate([survey.nuclei[i] for i in np.flatnonzero(chosen)])))
