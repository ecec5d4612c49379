"""Whether an adapted model is better, and which mixture: by windows that it was not tuned on.

In each fold some windows are held out, those of one patient together, the networks are tuned on the others, and every
mixture of the tuned weights with those at the start scores the windows that were held out. What is measured of a choice
is measured on windows that had no part in it: the share for a window is the one that does best on all the others that
are no kin of it (`wsinuc.workflows.training.folds`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.workflows.adapt.networks import Weights, opened, parts_of, rebuilt
from wsinuc.workflows.adapt.settings import Refit, Scored, judged, refit, usual_of
from wsinuc.workflows.adapt.sight import sights_of
from wsinuc.workflows.adapt.tune import mixed
from wsinuc.workflows.adapt.windows import Field, Window
from wsinuc.workflows.training.folds import Kin, fold_of, kin_of

Tuning = Callable[[frozenset[str]], list[Weights]]
"""The weights of all networks after a tuning for which the windows of these names are held out."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A window, and what models that were not tuned on it say of it."""

    window: Window
    scores: dict[float, NDArray[np.uint8]]
    """By the share of the tuned weights, 0 among them: ``(channels, h, w)`` in pixels of the field."""
    kin: int
    """Number of the windows that are held out together, such as a patient's."""

    def scored(self, share: float) -> Scored:
        """The window as one mixture scores it."""
        return self.window, self.scores[share]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Which mixture and settings, and what such a choice does on windows that had no part in it."""

    share: float
    """Of the tuned weights; 0 is the model at the start."""
    refit: Refit
    before: NDArray[np.float64]
    """(windows,) AJI of the model at the start, or what `wsinuc.metrics.choosing` has for windows without nuclei."""
    after: NDArray[np.float64]
    """(windows,) the same of what all other windows would have chosen."""


def kin_among(windows: Sequence[Window]) -> Kin:
    """Which windows are held out together."""
    return kin_of([window.image.attributes for window in windows], [window.nuclei > 0 for window in windows])


def folds_of(windows: Sequence[Window], count: int) -> list[frozenset[str]]:
    """Names of windows in groups of about one size, at most ``count``, kin in one; others that follow one another fall
    into different ones."""
    fold = fold_of(kin_among(windows), [window.nuclei > 0 for window in windows], count)
    names = np.array([window.image.name for window in windows])
    return [frozenset(names[fold == number].tolist()) for number in range(fold.max() + 1)]


def hold_out(
    model: Checkpoint,
    fields: Sequence[Field],
    tuning: Tuning,
    shares: Sequence[float],
    folds: int,
    device: torch.device,
) -> list[Trial]:
    """Every window scored by every mixture of networks that were not tuned on it."""
    windows = [window for field in fields for window in field.windows]
    kin = dict(zip((window.image.name for window in windows), kin_among(windows).groups, strict=True))
    return [
        Trial(window, scores, kin[window.image.name])
        for fold in folds_of(windows, folds)
        for window, scores in _scored(model, [_only(field, fold) for field in fields], tuning(fold), shares, device)
    ]


def _only(field: Field, names: frozenset[str]) -> Field:
    return replace(field, windows=tuple(window for window in field.windows if window.image.name in names))


def _scored(
    model: Checkpoint, fields: Sequence[Field], tuned: Sequence[Weights], shares: Sequence[float], device: torch.device
) -> list[tuple[Window, dict[float, NDArray[np.uint8]]]]:
    """The windows of these fields with their scores by all mixtures of one tuning."""
    fields = [field for field in fields if field.windows]
    windows = [window for field in fields for window in field.windows]
    by_share: list[dict[float, NDArray[np.uint8]]] = [{} for _ in windows]
    for share in (0.0, *shares):
        segmenter = opened(mixture(model, tuned, share), device)
        sights = sights_of(fields, segmenter)
        scores = [sight.scores_in(window) for sight in sights for window in sight.field.windows]
        for of_window, each in zip(by_share, scores, strict=True):
            of_window[share] = each
    return list(zip(windows, by_share, strict=True))


def mixture(model: Checkpoint, tuned: Sequence[Weights], share: float) -> Checkpoint:
    """The model with this share of tuned weights in its networks."""
    parts = parts_of(model)
    weights = [mixed(part.checkpoint.tensors, new, share) for part, new in zip(parts, tuned, strict=True)]
    return rebuilt(model, weights, {})


def choose(trials: Sequence[Trial], segmenter: TiledSegmenter) -> Choice:
    """The share whose mixture does best on held-out windows, and settings that suit it.

    Parameters
    ----------
    segmenter
        The model at the start, which says how scores become nuclei.
    """
    shares = sorted(trials[0].scores)
    usual = usual_of(each.window for each in trials)

    def merit(trial: Trial, share: float, by: TiledSegmenter) -> float:
        return judged(*trial.scored(share), by).merit(usual)

    merits = np.array([[merit(each, share, segmenter) for share in shares] for each in trials])
    # argmax takes the first of several: the smallest share, which forgets least.
    share = shares[int(merits.sum(0).argmax())]
    # Without the window itself and its kin: the best of several on one window is partly luck.
    kin = [each.kin for each in trials]
    related = np.equal.outer(kin, kin)
    others = [shares[int(column)] for column in (~related @ merits).argmax(1)]
    refits = refit([each.scored(share) for each in trials], segmenter, kin)
    after = [
        merit(each, other, fitted.of(segmenter))
        for each, other, fitted in zip(trials, others, refits.apart, strict=True)
    ]
    return Choice(share, refits.whole, before=merits[:, 0], after=np.array(after))
