"""What an adaptation takes: one step of each network is timed."""

from __future__ import annotations

from dataclasses import replace

from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.devices import pick_device
from wsinuc.segmenters import model_path
from wsinuc.segmenters.outline import outline_model
from wsinuc.workflows.adapt.config import AdaptConfig
from wsinuc.workflows.adapt.gather import Material
from wsinuc.workflows.adapt.networks import learner_of, parts_of
from wsinuc.workflows.adapt.run import Adaptation
from wsinuc.workflows.adapt.trials import folds_of
from wsinuc.workflows.adapt.windows import in_classes
from wsinuc.workflows.training.cost import TrainingCost, cost_of_parts, measured

STEPS = 5
"""That are timed; the first is slower than others."""


def adapt_cost(model: str, material: Material, config: AdaptConfig, *, device: str = "auto") -> TrainingCost:
    """The cost of `adapt`, from a few of its steps; what windows cost to be scored is not in it.

    Raises
    ------
    ConfigError
        The model is of a kind that cannot be adapted.
    """
    start = load_checkpoint(model_path(model), "segmenter")
    few = replace(config, fit=replace(config.fit, steps=STEPS))
    fields = [in_classes(field, len(outline_model(model).classes)) for field in material.fields]
    adaptation = Adaptation(start, fields, material.rest, few, pick_device(device), lambda message: None)
    names = [window.image.name for field in material.fields for window in field.windows]
    tunings = len(folds_of(names, config.folds)) + 1 if len(names) > 1 else 1
    parameters = sum(p.numel() for part in parts_of(start) for p in learner_of(part).module.parameters())
    return cost_of_parts(
        measured(lambda: adaptation.tuned(frozenset())),
        round(tunings * config.fit.steps / STEPS),
        parameters=parameters,
        text=f"{len(names)} windows, tuned {tunings} times for {config.fit.steps} steps",
        what=f"round of {STEPS} steps",
    )
