"""A training that is measured on held-out images as it goes, and keeps the weights that did best there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsinuc.models.training.loop import FitConfig, Progress, fit

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The weights that scored highest so far."""

    weights: Weights
    score: float
    step: int
    """Steps of training behind them."""


def fit_keeping_best(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    config: FitConfig,
    *,
    state: Path,
    every: int,
    measure: Callable[[Weights], float],
    on_best: Callable[[Best], None],
    known: float = float("-inf"),
    settings: Mapping[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train as `wsinuc.models.training.loop.fit` does, and hand each new best to ``on_best``.

    Parameters
    ----------
    every
        Steps between measurements; the last weights are measured as well.
    measure
        Score of averaged weights; higher is better.
    known
        Score that is to be beaten, of the part before an interruption.
    settings
        What a training that goes on must share with its beginning, JSON types.
    """
    done = 0

    def counted(part: int) -> Tensor:
        nonlocal done
        # A step may be computed in several passes, which are numbered on and on.
        done = part // config.accumulate + 1
        return loss(part)

    while True:
        begun = done
        # fit saves its state when it stops and goes on from it, so measuring does not change what is learnt.
        weights = fit(
            model,
            counted,
            config,
            state=state,
            settings=settings,
            on_progress=on_progress,
            should_stop=lambda: should_stop() or done % every == 0,
        )
        # Measuring draws random numbers, and must not change those of the training.
        with torch.random.fork_rng():
            score = measure(weights)
        if score > known:
            known = score
            # Copies: the training goes on writing into its average.
            on_best(Best({name: value.clone() for name, value in weights.items()}, score, done))
        # `done == begun`: an earlier run had finished, so there was no step left.
        if done >= config.steps or done == begun or should_stop():
            return
