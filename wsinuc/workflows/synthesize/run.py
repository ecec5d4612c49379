"""``wsinuc synthesize``: labelled images from trained generators, as a data set on disk.

Sample k depends on the checkpoints, the settings, the seed and k alone: not on how many are made,
in how many processes, or how often the run was interrupted. So a set can be made longer later, and
on a CPU any number of workers writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsinuc.datasets.base import Dataset
from wsinuc.errors import ConfigError
from wsinuc.models.devices import pick_device
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.workflows.synthesize.batches import batches, generate
from wsinuc.workflows.synthesize.config import SynthesisConfig
from wsinuc.workflows.synthesize.cosyn import CoSynMaker, CoSynRecipe
from wsinuc.workflows.synthesize.folder import SHEET, SyntheticSample, SyntheticSet, check_folder, writing
from wsinuc.workflows.synthesize.layouts import Layouts
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


def synthesize_nudiff(
    structure_model: Path | None,
    image_model: Path,
    out: Path,
    count: int,
    config: SynthesisConfig,
    *,
    structures: Dataset | None = None,
    condition: str = "instances",
    device: str = "auto",
    on_event: Callable[[SynthesisEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Make ``count`` samples of method B (Yu et al. 2023) in the folder ``out``.

    Parameters
    ----------
    structure_model
        Checkpoint of kind ``nudiff-structure``; None where ``structures`` are given.
    image_model
        Checkpoint of kind ``nudiff-image``.
    structures
        Annotated images whose nuclei get new images, instead of generated structures.
    condition
        What the image is made for: ``instances``, the structure of the labels, or ``raw``, the generated structure.
    should_stop
        Asked after each batch; the same call goes on later.

    Raises
    ------
    CheckpointError, ConfigError, DeviceError
        The checkpoints or the request are not what they should be.
    OutputError
        ``out`` holds something else, or samples of other settings.
    SynthesisError
        A sample became no number any more, or a process was killed.
    """
    recipe = NudiffRecipe(
        structure_model=structure_model,
        image_model=image_model,
        structures=structures,
        config=config,
        condition=condition,
        device=device,
    )
    synthesize_recipe(recipe, out, count, on_event=on_event, should_stop=should_stop)


def synthesize_cosyn(
    model: Path,
    layouts: Layouts,
    prompts: Sequence[str],
    out: Path,
    count: int,
    config: SynthesisConfig,
    *,
    layout_name: str = "random",
    tissues: Sequence[str] = (),
    text_encoder: Path | None = None,
    device: str = "auto",
    on_event: Callable[[SynthesisEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Make ``count`` samples of method C (Min, Oh, Jeong 2024) in the folder ``out``.

    Parameters
    ----------
    model
        Checkpoint of kind ``cosyn``.
    layouts
        A data set whose layouts are taken, one layout for all samples, or None for random ones from
        the point process that the checkpoint holds for each tissue.
    prompts
        Sample k has the one at k modulo their number; none: the template's, of its own tissue and classes.
    layout_name
        What the manifest calls layouts that are of no data set.
    tissues
        Of random layouts and of prompts, in turn; none: those of the prompts or data set, or all that the model knows.
    text_encoder
        Folder of CLIP's weights for models that were trained with it.

    Raises
    ------
    CheckpointError, ConfigError, DataError, DeviceError, OutputError, SynthesisError
        As in `synthesize_nudiff`; also for tissues, classes and words that the model does not know.
    """
    recipe = CoSynRecipe(
        model=model,
        layouts=layouts,
        layout_name=layout_name,
        prompts=tuple(prompts),
        tissues=tuple(tissues),
        config=config,
        text_encoder=text_encoder,
        device=device,
    )
    synthesize_recipe(recipe, out, count, on_event=on_event, should_stop=should_stop)


def plan_synthesis(recipe: NudiffRecipe | CoSynRecipe, out: Path, count: int) -> SynthesisPlan:
    """What a synthesis would do, nothing written; raises what the synthesis would raise before its first sample."""
    maker, settings, classes = _prepared(recipe, count)
    done = check_folder(out, settings, classes)
    return SynthesisPlan(
        count=count,
        done=sum(i < count for i in done),
        size=maker.size,
        mpp=maker.mpp,
        guidance=maker.guidance,
        sampler=recipe.config.sampler.name,
        steps=recipe.config.sampler.steps,
        parameters=maker.parameters,
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
    """Make samples by a recipe; what `synthesize_nudiff` and `synthesize_cosyn` do, and raise."""
    maker, settings, classes = _prepared(recipe, count)
    with writing(out, settings, classes) as target:
        done = sum(i < count for i in target.done)
        on_event(SynthesisStarted(count=count, done=done))
        work = batches(count, recipe.config.batch_on(pick_device(recipe.device)), target.done)
        finished = _write(
            generate(recipe, work, workers=recipe.config.workers, maker=maker), target, count, on_event, should_stop
        )
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
    maker, config = recipe.open(), recipe.config
    shared = {
        "mpp": maker.mpp,
        "size": maker.size,
        "seed": config.seed,
        "sampler": config.sampler.name,
        "steps": config.sampler.steps,
        "guidance": maker.guidance,
    }
    return maker, shared | maker.identity(), maker.classes
