"""When fragments of nuclei are one: learned where the annotation says which fragments belong together.

Crops of annotated images, disturbed and drawn together as for a training so that scores are as
doubtful as on a slide of another laboratory, are scored and cut into fragments. A join is worth
what the AJI would gain: the shared pixels of a region and the nucleus that it covers best, weighed
with their IoU, more (or fewer) than its parts have at their best. A logistic regression learns the
sign of that, each join weighing as much as is at stake.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import CropSource
from wsinuc.errors import ConfigError, DataError
from wsinuc.labels import relabel
from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.segmenters import load_segmenter, model_path
from wsinuc.segmenters.base import Segmenter
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.separation.channels import FIRST_CLASS, FOREGROUND
from wsinuc.separation.joining import DESCRIPTORS, RISE, Joining, JoinTree, describe_joins, join_tree
from wsinuc.separation.watershed import WatershedSettings, fragments
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.distill.teacher import GRID, Teaching

MOST_UM2 = 60.0
"""A join weighs no more than this: a few giant nuclei must not decide."""
FEWEST = 50
"""Joins that the regression needs."""
_PULL = 1e-4  # of the squared weights in units of spread: descriptors that say the same share a weight
_SIDE_UM = 80.0  # of a crop: a few dozen nuclei


@dataclass(frozen=True, slots=True, kw_only=True)
class JoiningFit:
    """Settings of a fit."""

    crops: int = 400
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(zoom=1.6, stain=0.6, blur=0.5, noise=4.0, light=0.2, jpeg=0.3, compact=0.6)
    )
    fragment_height: float = 0.03
    """See `Joining`."""
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Joins:
    """Joins with known worth."""

    descriptors: NDArray[np.float64]
    """(n, 10)."""
    gains_um2: NDArray[np.float64]
    """(n,) what is gained by the join, negative where its parts are better apart."""

    @property
    def stakes(self) -> NDArray[np.float64]:
        """(n,) how much each weighs, in um2."""
        return np.minimum(np.abs(self.gains_um2), MOST_UM2)

    def decided(self, right: NDArray[np.bool_]) -> float:
        """Share of all stakes that the answers ``right`` (n,) decide as the annotation does."""
        agree = right == (self.gains_um2 > 0)
        return float(self.stakes[agree].sum() / max(self.stakes.sum(), 1e-9))


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedJoining:
    """A rule, and how good it is on crops that it was not learned from (of the same images)."""

    joining: Joining
    joins: int
    """Number of joins from which it was learned."""
    decided: float
    """Share of what is at stake that a rule learned from the other crops decides right."""
    decided_by_height: float
    """What ``marker_height`` alone, which decides where there is no rule, decides right of the same stakes."""


def train_joining(
    images: Sequence[LabelledImage],
    model: PathLike,
    out: PathLike,
    config: JoiningFit,
    *,
    weights: Sequence[float] | None = None,
    device: str = "auto",
    on_crop: Callable[[int], None] = lambda done: None,
) -> FittedJoining:
    """`fit_joining` for a shipped model or checkpoint ``model``; ``out`` is that model with the rule in its header."""
    path = to_path(out)
    fitted = fit_joining(load_segmenter(model, device=device), images, config, weights=weights, on_crop=on_crop)
    checkpoint = load_checkpoint(model_path(model), "segmenter")
    header = checkpoint.config | {"joining": asdict(fitted.joining)}
    learned = {"joins": fitted.joins, "decided": fitted.decided, "from": checkpoint.sha256}
    save_checkpoint(replace(checkpoint, config=header, provenance=checkpoint.provenance | {"joining": learned}), path)
    return fitted


def fit_joining(
    segmenter: Segmenter,
    images: Sequence[LabelledImage],
    config: JoiningFit,
    *,
    weights: Sequence[float] | None = None,
    on_crop: Callable[[int], None] = lambda done: None,
) -> FittedJoining:
    """Learn from annotated ``images`` which fragments a segmenter should join.

    Parameters
    ----------
    segmenter
        One with a network that separates by ``distance``.
    weights
        How often each image is drawn; None draws by area.
    on_crop
        Called with the number of crops that are done.

    Raises
    ------
    ConfigError
        The segmenter separates in another way.
    DataError
        There are too few fragments that touch to learn from.
    """
    crops = score_crops(cast(Teaching, segmenter), images, config, weights, on_crop)
    height = cast(Teaching, segmenter).config.watershed.marker_height
    # A fifth is held out to judge a rule; the rule that is kept learns from all of them.
    learned = len(crops) * 4 // 5
    trial = regress(_together(crops[:learned]), config.fragment_height)
    held_out = _together(crops[learned:])
    joins = _together(crops)
    return FittedJoining(
        joining=regress(joins, config.fragment_height),
        joins=len(joins.gains_um2),
        decided=held_out.decided(trial.accepts(held_out.descriptors)),
        decided_by_height=held_out.decided(held_out.descriptors[:, RISE] < height),
    )


def score_crops(
    segmenter: Teaching,
    images: Sequence[LabelledImage],
    config: JoiningFit,
    weights: Sequence[float] | None = None,
    on_crop: Callable[[int], None] = lambda done: None,
) -> list[Joins]:
    """The joins of every crop; raises ConfigError for a segmenter that does not separate by distance."""
    if not isinstance(segmenter, TiledSegmenter) or segmenter.config.separation != "distance":
        raise ConfigError(
            "only a model that separates nuclei by distance joins fragments, and this one does not: it "
            "separates by H and V "
            "(--separation hv), or adds classes to another model, which is the one to give"
        )
    side = math.ceil(_SIDE_UM / segmenter.mpp / GRID) * GRID
    tiles = segmenter.with_core(min(side, segmenter.tile - 2 * segmenter.margin))
    source = CropSource(
        images=list(images),
        mpp=tiles.mpp,
        size=tiles.tile,
        seed=config.seed,
        weights=weights,
        augmentation=config.augmentation,
    )
    inner = slice(tiles.margin, tiles.tile - tiles.margin)
    joins = []
    for index in range(config.crops):
        crop = source.crop(index)
        scores = tiles.predict(np.array(crop.image)[None])[0]
        settings = tiles.config.watershed
        truth = crop.labels[inner, inner]
        ignore = None if crop.ignore is None else crop.ignore[inner, inner]
        joins.append(joins_of(scores, truth, settings, len(tiles.classes), config.fragment_height, ignore))
        on_crop(index + 1)
    return joins


def _together(parts: Sequence[Joins]) -> Joins:
    return Joins(np.concatenate([j.descriptors for j in parts]), np.concatenate([j.gains_um2 for j in parts]))


def joins_of(
    scores: NDArray[np.uint8],
    truth: NDArray[np.integer],
    settings: WatershedSettings,
    classes: int,
    fragment_height: float,
    ignore: NDArray[np.bool_] | None = None,
) -> Joins:
    """The joins of one scored crop, but those that the crop's border cuts or that reach into ignored pixels.

    Parameters
    ----------
    scores
        uint8 ``(channels, h, w)``; see `wsinuc.segmenters.base`.
    truth
        ``(h, w)`` annotated nuclei, 0 is background.
    classes
        Class channels of ``scores``; the distance follows them.
    ignore
        ``(h, w)`` pixels that nobody annotated; None where all count.
    """
    pieces, heights = fragments(scores[FOREGROUND], scores[FIRST_CLASS + classes], settings, fragment_height)
    pieces = relabel(pieces)
    tree = join_tree(pieces, heights, scores[FOREGROUND], settings.area_px(settings.max_area_um2))
    gains, whole = gains_of(tree, pieces, truth, ignore)
    return Joins(describe_joins(tree, settings.mpp)[whole], gains[whole] * settings.mpp**2)


def gains_of(
    tree: JoinTree,
    pieces: NDArray[np.int32],
    truth: NDArray[np.integer],
    ignore: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What every join gains in pixels ``(joins,)``, and whether the array's border and ignored pixels leave it whole.

    A region is worth the pixels that it shares with the nucleus that suits it best, times their IoU: exact regions are
    worth their area, those on background nothing.
    """
    count = len(tree.parents) - len(tree.parts)
    nodes = len(tree.parents)
    _, nuclei = np.unique(truth, return_inverse=True)
    # Column 0 stands for background, also where the crop has none.
    nuclei = nuclei.reshape(truth.shape) + (0 if (truth == 0).any() else 1)
    areas = np.bincount(nuclei.ravel())
    shared = np.zeros((nodes, len(areas)))
    np.add.at(shared[:count], (pieces[pieces > 0] - 1, nuclei[pieces > 0]), 1)
    cut = np.zeros(nodes, np.bool_)
    edges = [pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]
    if ignore is not None:
        edges.append(pieces[ignore])
    cut[[k - 1 for edge in edges for k in np.unique(edge) if k]] = True
    best = np.zeros(nodes)
    gains = np.zeros(len(tree.parts))
    # Children come before their parents, so the best of every part is known when it is asked for.
    for node in range(nodes):
        if node >= count:
            parts = tree.parts[node - count]
            shared[node] = shared[parts].sum(0)
            cut[node] = cut[parts].any()
        worth = _worth(shared[node], areas)
        best[node] = worth
        if node >= count:
            apart = best[parts].sum()
            gains[node - count] = worth - apart
            best[node] = max(worth, apart)
    return gains, ~cut[count:]


def _worth(shared: NDArray[np.float64], areas: NDArray[np.int64]) -> float:
    """Worth of a region that shares so many pixels with background and each nucleus."""
    unions = shared.sum() + areas[1:] - shared[1:]
    return float(np.max(shared[1:] ** 2 / np.maximum(unions, 1), initial=0.0))


def regress(joins: Joins, fragment_height: float) -> Joining:
    """The logistic regression of whether a join gains, each weighing its gain or loss.

    Raises
    ------
    DataError
        There are fewer than `FEWEST` joins, or all are right, or all wrong.
    """
    stakes = joins.stakes
    right = joins.gains_um2 > 0
    if len(right) < FEWEST or not stakes[right].sum() or not stakes[~right].sum():
        raise DataError(
            f"too few touching fragments to learn from: {len(right)}, of which {int(right.sum())} belong together; "
            "give more images, or more crops of them"
        )
    middle = joins.descriptors.mean(0)
    spread = joins.descriptors.std(0) + 1e-6
    x = (joins.descriptors - middle) / spread
    share = stakes / stakes.sum()
    sign = np.where(right, 1.0, -1.0)

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = sign * (x @ line[:-1] + line[-1])
        pull = -share * sign * expit(-margins)
        slope = np.append(pull @ x, pull.sum()) + 2 * _PULL * np.append(line[:-1], 0.0)
        return float(share @ np.logaddexp(0.0, -margins) + _PULL * (line[:-1] ** 2).sum()), slope

    line = minimize(loss, np.zeros(len(DESCRIPTORS) + 1), jac=True, method="L-BFGS-B").x
    weights = line[:-1] / spread
    return Joining(
        weights=tuple(float(w) for w in weights),
        offset=float(line[-1] - weights @ middle),
        fragment_height=fragment_height,
    )
