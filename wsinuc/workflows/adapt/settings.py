"""What turns scores into nuclei, fitted again to held-out windows: threshold, rule of joining, certainty.

Each is kept as it was unless the windows show enough nuclei, and a fit on all windows but one and its kin does better
on that one, on average over all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.datasets.augmentation.augment import parted, resized
from wsinuc.errors import DataError
from wsinuc.grid import Box
from wsinuc.metrics.calibration import certainty, fit_certainty
from wsinuc.metrics.choosing import Judged, nuclear_share, usual_share
from wsinuc.metrics.segmentation import count_overlaps
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.nuclei import Frame
from wsinuc.nuclei.measure import measure
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.separation.joining import Joining
from wsinuc.separation.settings import WatershedSettings
from wsinuc.workflows.adapt.windows import Window
from wsinuc.workflows.evaluate.ignored import counted, judge
from wsinuc.workflows.join.run import Joins, joins_of, regress
from wsinuc.workflows.train.held_out_window import with_settings
from wsinuc.workflows.train.window_settings import FEWEST_VERDICTS, fit_watershed

ENOUGH = 100
"""Nuclei without which threshold and certainty stay; so many joins, without which the rule of joining does."""
FEWEST = 3
"""Windows that it takes to fit on all but one."""
Scored = tuple[Window, NDArray[np.uint8]]
"""A window and what a model says of it, ``(channels, h, w)`` in pixels of the field."""
Line = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """What was fitted again; None is as the model had it."""

    threshold: float | None = None
    joining: Joining | None = None
    certainty: Line | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What was fitted again, for people."""
        fitted = {"threshold": self.threshold, "joining": self.joining, "certainty": self.certainty}
        return tuple(name for name, value in fitted.items() if value is not None)

    def of(self, segmenter: TiledSegmenter) -> TiledSegmenter:
        """The segmenter with this separation."""
        changed = copy.copy(segmenter)
        config: Any = segmenter.config
        if self.threshold is not None:
            config = replace(config, watershed=replace(config.watershed, foreground_threshold=self.threshold))
        if self.joining is not None:
            config = replace(config, joining=self.joining)
        changed.config = config
        return changed

    def written(self, model: Checkpoint) -> Checkpoint:
        """The checkpoint with all of it in its header."""
        config = dict(model.config)
        if self.threshold is not None:
            config["watershed"] = config["watershed"] | {"foreground_threshold": self.threshold}
        if self.joining is not None:
            config["joining"] = asdict(self.joining)
        if self.certainty is not None:
            config["certainty"] = list(self.certainty)
        return replace(model, config=config)


def judged(window: Window, scores: NDArray[np.uint8], segmenter: TiledSegmenter) -> Judged:
    """What a segmenter makes of these scores, on the pixels of the window's image."""
    return judge(window.image, _resized(segmenter.separate(scores), window.image.labels.shape))


def usual_of(windows: Iterable[Window]) -> float:
    """Share of nuclei in the windows that show some, beside which the merit of others is counted."""
    images = (window.image for window in windows)
    return usual_share(nuclear_share(counted(image.labels, image.ignore), image.ignore) for image in images)


@dataclass(frozen=True, slots=True)
class Refits:
    """What was fitted to all windows, and to all but each of them."""

    whole: Refit
    apart: tuple[Refit, ...]
    """One for each window, which it did not see, nor its kin."""


def refit(scored: Sequence[Scored], segmenter: TiledSegmenter, kin: Sequence[int] = ()) -> Refits:
    """What is better fitted again, one after the other.

    Parameters
    ----------
    kin
        Number of each window's kin, which are left out with it; by default each stands for itself.
    """
    kin = kin or range(len(scored))
    nothing = Refits(Refit(), (Refit(),) * len(scored))
    if len(scored) < FEWEST or sum(window.nuclei for window, _ in scored) < ENOUGH:
        return nothing
    threshold = _threshold(scored, segmenter, kin) or nothing
    joining = _joining(scored, threshold.whole.of(segmenter), kin) or nothing
    apart = tuple(
        replace(first, joining=second.joining) for first, second in zip(threshold.apart, joining.apart, strict=True)
    )
    whole = replace(threshold.whole, joining=joining.whole.joining)
    return Refits(replace(whole, certainty=_certainty(scored, whole.of(segmenter), kin)), apart)


def _threshold(scored: Sequence[Scored], segmenter: TiledSegmenter, kin: Sequence[int]) -> Refits | None:
    """The one of highest merit, as trainings choose it; see `wsinuc.workflows.train.window_settings`."""
    start = segmenter.config.watershed
    usual = usual_of(window for window, _ in scored)
    nuclear = frozenset(number for number, (window, _) in enumerate(scored) if window.nuclei)

    @cache
    def merit(number: int, settings: WatershedSettings) -> float:
        return judged(*scored[number], with_settings(segmenter, settings, segmenter.config.certainty)).merit(usual)

    def fit(chosen: Sequence[int]) -> Refit:
        return Refit(threshold=fit_watershed(chosen, merit, start, nuclear=nuclear).foreground_threshold)

    return _if_better(scored, segmenter, kin, fit)


def _joining(scored: Sequence[Scored], segmenter: TiledSegmenter, kin: Sequence[int]) -> Refits | None:
    """The rule learned from the windows' own fragments; see `wsinuc.workflows.join.run`."""
    rule = segmenter.config.joining
    if rule is None or segmenter.config.separation != "distance":
        return None
    height = rule.fragment_height
    settings = segmenter.config.watershed
    classes = len(segmenter.config.classes)
    joins = []
    for window, scores in scored:
        labels, ignore = _annotation(window)
        joins.append(joins_of(scores, labels, settings, classes, height, ignore))
    if sum(len(each.gains_um2) for each in joins) < ENOUGH:
        return None

    def fit(chosen: Sequence[int]) -> Refit:
        descriptors = np.concatenate([joins[i].descriptors for i in chosen])
        return Refit(joining=regress(Joins(descriptors, np.concatenate([joins[i].gains_um2 for i in chosen])), height))

    try:
        return _if_better(scored, segmenter, kin, fit)
    except DataError:
        # All joins of some windows are right, or all are wrong: nothing to learn from.
        return None


def _if_better(
    scored: Sequence[Scored], segmenter: TiledSegmenter, kin: Sequence[int], fit: Callable[[Sequence[int]], Refit]
) -> Refits | None:
    """What ``fit`` makes of the windows, if what it makes of all but one and its kin raises the merit of that one, on
    average over all of them; else None."""
    everyone = range(len(scored))
    usual = usual_of(window for window, _ in scored)
    of_kin = {own: fit([i for i in everyone if kin[i] != own]) for own in sorted(set(kin))}
    apart = tuple(of_kin[own] for own in kin)
    gains = [
        judged(window, scores, fitted.of(segmenter)).merit(usual) - judged(window, scores, segmenter).merit(usual)
        for (window, scores), fitted in zip(scored, apart, strict=True)
    ]
    if np.mean(gains) > 0:
        return Refits(fit(everyone), apart)
    return None


def _certainty(scored: Sequence[Scored], segmenter: TiledSegmenter, kin: Sequence[int]) -> Line | None:
    """The line of `fit_certainty`, if it makes the verdicts on windows that it was not fitted to more likely."""
    verdicts = [_verdicts(window, scores, segmenter) for window, scores in scored]
    right = sum(int(hits.sum()) for _, hits in verdicts)
    found = sum(len(hits) for _, hits in verdicts)
    if found < ENOUGH or min(right, found - right) < FEWEST_VERDICTS:
        return None
    former: Line = segmenter.config.certainty
    gain = 0.0
    for index, (claimed, hits) in enumerate(verdicts):
        line = _line([each for i, each in enumerate(verdicts) if kin[i] != kin[index]])
        gain += _likelihood(claimed, hits, line) - _likelihood(claimed, hits, former)
    whole = _line(verdicts)
    # A falling line would turn the order of nuclei round: it has learned an accident.
    if gain > 0 and whole[0] > 0:
        return whole
    return None


def _line(verdicts: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> Line:
    return fit_certainty(np.concatenate([p for p, _ in verdicts]), np.concatenate([right for _, right in verdicts]))


def _likelihood(claimed: NDArray[np.float64], right: NDArray[np.bool_], line: Line) -> float:
    """Logarithm of the probability of these verdicts."""
    p = certainty(claimed, line).astype(np.float64).clip(1e-3, 1 - 1e-3)
    return float(np.log(np.where(right, p, 1 - p)).sum())


def _verdicts(
    window: Window, scores: NDArray[np.uint8], segmenter: TiledSegmenter
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What is claimed of each nucleus that is found, before the line, and whether it is right (IoU above one half)."""
    labels = segmenter.separate(scores)
    frame = Frame(segmenter.mpp, (1.0, 1.0))
    nuclei = measure(labels, scores, Box.of_shape(labels.shape), frame, segmenter.classes)
    claims = np.zeros(int(nuclei.ids.max(initial=0)) + 1)
    claims[nuclei.ids] = segmenter.claims(nuclei)
    image = window.image
    found = counted(_resized(labels, image.labels.shape), image.ignore)
    table = count_overlaps(counted(image.labels, image.ignore), found)
    return claims[table.predicted_labels], table.right


def _annotation(window: Window) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Labels in pixels of the field, and which of these pixels nobody annotated."""
    return parted(resized(window.image, Box.of_shape(window.image.labels.shape), window.box.shape)[1])


def _resized(labels: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Labels with another number of pixels, each the nearest one."""
    if labels.shape == shape:
        return labels.astype(np.int32, copy=False)
    image = Image.fromarray(np.ascontiguousarray(labels, np.int32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.NEAREST), np.int32)
