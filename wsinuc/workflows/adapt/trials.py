"""Whether an adapted model is better, and which mixture: by windows that it was not tuned on.

In each fold some windows are held out, the networks are tuned on the others, and every mixture of the tuned weights
with those at the start scores the windows that were held out. What is measured of a choice is measured on windows that
had no part in it: the share for a window is the one that does best on all the others.
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
from wsinuc.workflows.adapt.settings import Refit, Scored, aji_of, refit
from wsinuc.workflows.adapt.sight import sights_of
from wsinuc.workflows.adapt.tune import mixed
from wsinuc.workflows.adapt.windows import Field, Window

Tuning = Callable[[frozenset[str]], list[Weights]]
"""The weights of all networks after a tuning for which the windows of these names are held out."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A window, and what models that were not tuned on it say of it."""

    window: Window
    scores: dict[float, NDArray[np.uint8]]
    """By the share of the tuned weights, 0 among them: ``(channels, h, w)`` in pixels of the field."""

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
    """(windows,) AJI of the model at the start."""
    after: NDArray[np.float64]
    """(windows,) AJI of what all other windows would have chosen."""


def folds_of(names: Sequence[str], count: int) -> list[frozenset[str]]:
    """Names in groups of about one size, at most ``count``; neighbours in the list fall into different ones.

    Examples
    --------
    >>> [sorted(fold) for fold in folds_of(["a", "b", "c"], 2)]
    [['a', 'c'], ['b']]
    """
    groups = min(count, len(names))
    return [frozenset(names[start::groups]) for start in range(groups)]


def hold_out(
    model: Checkpoint,
    fields: Sequence[Field],
    tuning: Tuning,
    shares: Sequence[float],
    folds: int,
    device: torch.device,
) -> list[Trial]:
    """Every window scored by every mixture of networks that were not tuned on it."""
    names = [window.image.name for field in fields for window in field.windows]
    return [
        trial
        for fold in folds_of(names, folds)
        for trial in _trials(model, [_only(field, fold) for field in fields], tuning(fold), shares, device)
    ]


def _only(field: Field, names: frozenset[str]) -> Field:
    return replace(field, windows=tuple(window for window in field.windows if window.image.name in names))


def _trials(
    model: Checkpoint, fields: Sequence[Field], tuned: Sequence[Weights], shares: Sequence[float], device: torch.device
) -> list[Trial]:
    """The windows of these fields by all mixtures of one tuning."""
    fields = [field for field in fields if field.windows]
    trials = [Trial(window, {}) for field in fields for window in field.windows]
    for share in (0.0, *shares):
        segmenter = opened(mixture(model, tuned, share), device)
        sights = sights_of(fields, segmenter)
        scores = [sight.scores_in(window) for sight in sights for window in sight.field.windows]
        for trial, each in zip(trials, scores, strict=True):
            trial.scores[share] = each
    return trials


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
    ajis = np.array([[aji_of(each.window, each.scores[share], segmenter) for share in shares] for each in trials])
    # argmax takes the first of several: the smallest share, which forgets least.
    share = shares[int(ajis.sum(0).argmax())]
    # Without the window itself: the best of several on one window is partly luck.
    others = [shares[int(column)] for column in (ajis.sum(0) - ajis).argmax(1)]
    refits = refit([each.scored(share) for each in trials], segmenter)
    after = [
        aji_of(each.window, each.scores[other], fitted.of(segmenter))
        for each, other, fitted in zip(trials, others, refits.apart, strict=True)
    ]
    return Choice(share, refits.whole, before=ajis[:, 0], after=np.array(after))
