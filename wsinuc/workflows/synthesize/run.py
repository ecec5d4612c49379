"""``wsinuc synthesize``: labelled images from trained generators, as a data set on disk.

Sample k depends on the checkpoints, the settings, the seed and k alone: not on how many are made,
in how many processes, or how often the run was interrupted. So a set can be made longer later, and
on a CPU any number of workers writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsinuc.errors import ConfigError
from wsinuc.models.devices import pick_device
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.workflows.synthesize.batches import batches, generate
from wsinuc.workflows.synthesize.cosyn import CoSynMaker, CoSynRecipe
from wsinuc.workflows.synthesize.folder import SHEET, SyntheticSample, SyntheticSet, samples_in, writing
from wsinuc.workflows.synthesize.nudiff import NudiffMaker, NudiffRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisPlan:
    """What a synthesis will do, after every check that can fail early."""

    count: int
    done: int
    """Samples of these that an interrupted run has made before."""
    size: int
    mpp: float
    guidance: float
    sampler: str
    steps: int
    parameters: int
    """Of all networks."""
    weights_bytes: int
    """Of all networks in one process."""
    flops_per_sample: float
    checkpoints: dict[str, str]
    """Role -> sha256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisStarted:
    """All checks are passed, work begins."""

    count: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDone:
    """One more sample is stored."""

    done: int
    """Samples stored so far, those of an interrupted run included."""
    count: int
    nuclei: int
    """In this sample."""


SynthesisEvent = SynthesisStarted | SampleDone


def plan_synthesis(recipe: NudiffRecipe | CoSynRecipe, out: Path, count: int) -> SynthesisPlan:
    """What a synthesis would do, nothing written; raises what the synthesis would raise before its first sample."""
    maker, settings, classes = _prepared(recipe, count)
    done = samples_in(out, settings, classes)
    return SynthesisPlan(
        count=count,
        done=sum(i < count for i in done),
        size=maker.size,
        mpp=maker.mpp,
        guidance=maker.guidance,
        sampler=recipe.config.sampler.name,
        steps=recipe.config.sampler.steps,
        parameters=maker.parameters,
        # Four bytes a weight: fp32.
        weights_bytes=4 * maker.parameters,
        # Last, because counting gives the weights away.
        flops_per_sample=maker.flops(),
        checkpoints=settings["checkpoints"],
    )


def synthesize_recipe(
    recipe: NudiffRecipe | CoSynRecipe,
    out: Path,
    count: int,
    *,
    on_event: Callable[[SynthesisEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Make ``count`` samples of method B or C in the folder ``out``.

    Parameters
    ----------
    recipe
        What makes them; see `NudiffRecipe` and `CoSynRecipe`.
    should_stop
        Asked after each batch; the same call goes on later.

    Raises
    ------
    CheckpointError, ConfigError, DataError, DeviceError
        The checkpoints or the request are not what they should be: tissues, classes and words that the
        model does not know among them.
    OutputError
        ``out`` holds something else, or samples of other settings.
    SynthesisError
        A sample became no number any more, or a process was killed.
    """
    maker, settings, classes = _prepared(recipe, count)
    with writing(out, settings, classes) as target:
        done = sum(i < count for i in target.done)
        on_event(SynthesisStarted(count=count, done=done))
        work = batches(count, recipe.config.batch_on(pick_device(recipe.device)), target.done)
        made = generate(recipe, work, workers=recipe.config.workers, maker=maker)
        # Several workers have networks of their own; these would lie beside them to the end.
        del maker
        finished = _write(made, target, count, on_event, should_stop)
        if finished and (work or not (out / SHEET).exists()):
            target.draw_sheet()


def _write(
    made: Generator[list[SyntheticSample], None, None],
    target: SyntheticSet,
    count: int,
    on_event: Callable[[SynthesisEvent], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Store the samples that are still missing; whether all were, or it was told to stop."""
    with closing(made):
        while not should_stop():
            batch = next(made, None)
            if batch is None:
                return True
            for sample in batch:
                # Batches are whole, so the last one may hold samples beyond what was asked for, or made before.
                if sample.index < count and sample.index not in target.done:
                    target.add(sample)
                    done = sum(i < count for i in target.done)
                    nuclei = len(np.unique(sample.labels[sample.labels > 0]))
                    on_event(SampleDone(done=done, count=count, nuclei=nuclei))
    return False


def _prepared(
    recipe: NudiffRecipe | CoSynRecipe, count: int
) -> tuple[NudiffMaker | CoSynMaker, dict[str, Any], tuple[NucleusClass, ...]]:
    """The networks, the settings that all samples share, and the classes of their nuclei."""
    if count < 1:
        raise ConfigError(f"at least one sample must be wanted, got {count}")
    maker = recipe.open()
    config = recipe.config
    shared = {
        "mpp": maker.mpp,
        "size": maker.size,
        "seed": config.seed,
        "sampler": config.sampler.name,
        "steps": config.sampler.steps,
        "guidance": maker.guidance,
    }
    return maker, shared | maker.identity(), maker.classes
