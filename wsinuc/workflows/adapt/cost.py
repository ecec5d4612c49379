"""What an adaptation takes: what the model says of one field, and a few steps of each network, are timed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.devices import prepare_device
from wsinuc.segmenters import model_path
from wsinuc.segmenters.outline import outline_model
from wsinuc.workflows.adapt.config import AdaptConfig
from wsinuc.workflows.adapt.gather import Material
from wsinuc.workflows.adapt.networks import learner_of, parts_of
from wsinuc.workflows.adapt.run import Adaptation
from wsinuc.workflows.adapt.trials import folds_of
from wsinuc.workflows.adapt.windows import Field, in_classes
from wsinuc.workflows.training.cost import TrainingCost, cost_of_parts, measured
from wsinuc.workflows.training.folds import FEWEST

STEPS = 5
"""That are timed; the first is slower than others."""


def adapt_cost(model: str, material: Material, config: AdaptConfig, *, device: str = "auto") -> TrainingCost:
    """The cost of `adapt`, from one of its fields and a few of its steps.

    What the tuned networks say of windows that are held out is not in it.

    Raises
    ------
    ConfigError
        The model is of a kind that cannot be adapted.
    """
    start = load_checkpoint(model_path(model), "segmenter")
    few = replace(config, fit=replace(config.fit, steps=STEPS))
    fields = [in_classes(field, len(outline_model(model).classes)) for field in material.fields]
    begun = time.monotonic()
    # One field stands for all: scoring those of a large model takes minutes, and a plan has to come at once.
    adaptation = Adaptation(start, fields[:1], (), few, prepare_device(device), lambda message: None)
    scoring = (time.monotonic() - begun) * _area((*fields, *material.rest)) / _area(fields[:1])
    windows = [window for field in material.fields for window in field.windows]
    held_out = sum(window.nuclei > 0 for window in windows) >= FEWEST
    tunings = len(folds_of(windows, config.folds)) + 1 if held_out else 1
    parameters = sum(p.numel() for part in parts_of(start) for p in learner_of(part).module.parameters())
    cost = cost_of_parts(
        measured(lambda: adaptation.tuned(frozenset())),
        round(tunings * config.fit.steps / STEPS),
        parameters=parameters,
        text=f"{len(windows)} windows, tuned {tunings} times for {config.fit.steps} steps",
        what=f"round of {STEPS} steps",
    )
    return replace(cost, seconds=(cost.seconds or 0.0) + scoring)


def _area(fields: Sequence[Field]) -> int:
    """Pixels of fields together."""
    return sum(field.pixels.shape[0] * field.pixels.shape[1] for field in fields)
