"""``wsinuc adapt``: a model that exists, tuned on a few annotated windows without forgetting what it knows.

A network that saw thousands of nuclei is hard to better from scratch with a hundred, and easy to spoil. So it is tuned
a little, beside tissue on which it should stay as it is (`tune`), its weights are mixed with those that it had, which
keeps both what was known and what was learned (Wortsman et al. 2022), and held-out windows say how much of each
(`trials`). Where no mixture is better than the model as it was, nothing is written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsinuc.errors import DataError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.devices import prepare_device
from wsinuc.models.training.loop import Progress
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.own_files import check_place
from wsinuc.segmenters import model_path
from wsinuc.segmenters.outline import outline_model
from wsinuc.urls import PathLike
from wsinuc.workflows.adapt.batches import Cut, Task, cut_batches, kept
from wsinuc.workflows.adapt.config import AdaptConfig
from wsinuc.workflows.adapt.networks import Part, Weights, check_adaptable, opened, parts_of
from wsinuc.workflows.adapt.settings import Refit
from wsinuc.workflows.adapt.sight import sights_of
from wsinuc.workflows.adapt.trials import Choice, choose, hold_out, kin_among, mixture
from wsinuc.workflows.adapt.tune import Taught, lessons_of, tune
from wsinuc.workflows.adapt.windows import Field, Window, in_classes
from wsinuc.workflows.data.training_set import check_annotation
from wsinuc.workflows.training.folds import FEWEST, Kin
from wsinuc.workflows.training.run import origin_of

UNMEASURED_SHARE = 0.5
"""Share of the tuned weights where nothing could be measured: half of what is new, half of what is known."""
Tell = Callable[[str], None]


def _nobody(message: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Outcome:
    """What an adaptation came to."""

    windows: tuple[str, ...]
    """Their names."""
    nuclei: int
    """Annotated in them."""
    empty: int = 0
    """So many of them show none."""
    held_out: Kin | None = None
    """Which of them were held out together; None where nothing could be held out."""
    choice: Choice | None
    """What held-out windows chose; None where nothing could be held out."""
    share: float
    """Of the tuned weights; 0 where the model as it was is best."""
    written: bool
    """Whether there is a file."""

    def __repr__(self) -> str:
        measured = "nothing measured"
        if self.choice is not None:
            measured = f"AJI {self.before:.3f} -> {self.after:.3f}"
        counts = f"{len(self.windows)} windows, {self.nuclei:,} nuclei"
        return f"<wsinuc adaptation: {measured} ({counts}), {'written' if self.written else 'not written'}>"

    @property
    def before(self) -> float | None:
        """Mean AJI on held-out windows of the model as it was; None where nothing was measured.

        Windows without nuclei count as `wsinuc.metrics.choosing` says.
        """
        if self.choice is None:
            return None
        return float(np.mean(self.choice.before))

    @property
    def after(self) -> float | None:
        """Mean AJI on windows that the adapted model had not seen; None where nothing was measured."""
        if self.choice is None:
            return None
        return float(np.mean(self.choice.after))

    @property
    def refit(self) -> Refit:
        """What of the settings was fitted again."""
        if self.choice is None:
            return Refit()
        return self.choice.refit

    @property
    def gain(self) -> float | None:
        """Mean AJI on held-out windows less that of the model as it was; None where nothing was measured."""
        if self.choice is None:
            return None
        return float(np.mean(self.choice.after - self.choice.before))

    @property
    def gain_error(self) -> float | None:
        """Standard error of the gain; None where nothing was measured."""
        if self.choice is None:
            return None
        gains = self.choice.after - self.choice.before
        return float(np.std(gains, ddof=1) / np.sqrt(len(gains)))


def adapt(
    model: PathLike,
    fields: Sequence[Field],
    out: Path,
    config: AdaptConfig,
    *,
    rest: Sequence[Field] = (),
    anyway: bool = False,
    device: str = "auto",
    provenance: dict[str, Any] | None = None,
    on_event: Tell = _nobody,
) -> Outcome:
    """Tune a model on annotated windows, and write it where it beats itself on windows that were held out.

    Parameters
    ----------
    model
        Name of a shipped model, or path of a checkpoint: a plain U-Net, pixel classifiers on a denoiser, or a joint
        model of these.
    fields
        Windows and what lies around them, at the model's resolution.
    rest
        More tissue on which the model should stay as it is.
    anyway
        Write it also where nothing could be measured, or where it is not better.
    provenance
        What to record of the data: names, licences, the command.

    Raises
    ------
    ConfigError
        The model is of a kind that cannot be adapted.
    CheckpointError
        There is no such model.
    DataError
        No window shows a nucleus, two have one name, or a model of several classes has other ones than they.
    OutputError
        ``out`` lies in no folder.
    """
    check_place(out)
    start = load_checkpoint(model_path(model), "segmenter")
    check_adaptable(start.config)
    classes = outline_model(model).classes
    fields = [in_classes(field, len(classes)) for field in fields]
    windows = [window for field in fields for window in field.windows]
    _check(windows, classes)
    adaptation = Adaptation(start, fields, rest, config, prepare_device(device), on_event)
    shows = sum(window.nuclei > 0 for window in windows)
    choice = adaptation.choose() if shows >= FEWEST else None
    outcome = Outcome(
        windows=tuple(window.image.name for window in windows),
        nuclei=sum(window.nuclei for window in windows),
        empty=len(windows) - shows,
        held_out=None if choice is None else kin_among(windows),
        choice=choice,
        share=choice.share if choice is not None and (choice.share or not anyway) else UNMEASURED_SHARE,
        written=anyway,
    )
    outcome = replace(outcome, written=anyway or (outcome.gain or 0.0) > 0)
    if outcome.written:
        origin = _origin(config, outcome, start) | {"model": Path(model).name} | (provenance or {})
        save_checkpoint(adaptation.finished(outcome, origin), out)
    return outcome


def _check(windows: Sequence[Window], classes: tuple[NucleusClass, ...]) -> None:
    """Raise DataError where there is nothing to learn, or windows could not be told apart."""
    if not any(window.nuclei for window in windows):
        raise DataError("no annotated nucleus to adapt to: check the data set's labels and filters")
    check_annotation([window.image for window in windows], classes)
    names = [window.image.name for window in windows]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two windows are called {twice!r}: one could not be held out without the other")


class Adaptation:
    """One model and what it is adapted to."""

    def __init__(
        self,
        start: Checkpoint,
        fields: Sequence[Field],
        rest: Sequence[Field],
        config: AdaptConfig,
        device: torch.device,
        tell: Tell,
    ) -> None:
        self.start = start
        self.fields = fields
        self.config = config
        self.device = device
        self.tell = tell
        self.parts = parts_of(start)
        self.segmenter = opened(start, device)
        # Once: what the model says of the tissue is the same in every fold.
        self.taught = [Taught.of(sight, config.crop) for sight in sights_of((*fields, *rest), self.segmenter)]

    def choose(self) -> Choice:
        """The mixture and the settings that held-out windows speak for."""
        trials = hold_out(self.start, self.fields, self.tuned, self.config.shares, self.config.folds, self.device)
        return choose(trials, self.segmenter)

    def tuned(self, held_out: frozenset[str]) -> list[Weights]:
        """The weights of all networks, tuned without these windows."""
        batches: dict[tuple[Any, ...], Cut] = {}
        tuned = []
        for number, part in enumerate(self.parts):
            key = self._lesson_key(part)
            if key not in batches:
                batches[key] = self._batches(part, held_out)
                if sum(self._lesson_key(other) == key for other in self.parts) > 1:
                    batches[key] = kept(batches[key])
            tuned.append(self._tuned(number, batches[key], len(held_out)))
        return tuned

    def _lesson_key(self, part: Part) -> tuple[Any, ...]:
        """What the lessons of a network depend on: those of two that agree are the same."""
        config = self.config.of_method(part.method)
        return (config.labelled, config.taught, *(each.sight.sizes(part) for each in self.taught))

    @property
    def _task(self) -> Task:
        model = self.segmenter.config
        return Task(classes=len(model.classes), mpp=self.segmenter.mpp, separation=model.separation)

    def _batches(self, part: Part, held_out: frozenset[str]) -> Cut:
        """What a network learns from when these windows are held out."""
        config = self.config.of_method(part.method)
        return cut_batches(lessons_of(self.taught, part, held_out, config.crop), config, self._task)

    def _tuned(self, number: int, batches: Cut, held_out: int) -> Weights:
        """The weights of one network; ``held_out`` windows are, which is said."""
        part = self.parts[number]
        stage = f"tuning {number + 1} of {len(self.parts)}"
        if held_out:
            stage = f"{stage}, windows held out: {held_out}"
        config = self.config.of_method(part.method)

        def report(progress: Progress) -> None:
            self.tell(progress.line(stage, config.fit.steps))

        with tempfile.TemporaryDirectory(prefix="wsinuc-adapt-") as folder:
            return tune(
                part,
                batches,
                config,
                task=self._task,
                state=Path(folder) / "tuning.state",
                device=self.device,
                on_progress=report,
            )

    def finished(self, outcome: Outcome, provenance: dict[str, Any]) -> Checkpoint:
        """The model tuned on all windows, mixed as they have chosen."""
        mixed = mixture(self.start, self.tuned(frozenset()), outcome.share)
        return replace(outcome.refit.written(mixed), provenance=provenance)


def _origin(config: AdaptConfig, outcome: Outcome, start: Checkpoint) -> dict[str, Any]:
    """Where the adapted model comes from, and what was measured of it."""
    measured = None
    if outcome.choice is not None:
        measured = {"before": outcome.choice.before.tolist(), "after": outcome.choice.after.tolist()}
    return origin_of(
        config,
        windows=list(outcome.windows),
        nuclei=outcome.nuclei,
        share=outcome.share,
        refit=list(outcome.refit.names),
        held_out=None if outcome.held_out is None else outcome.held_out.level,
        held_out_aji=measured,
        start={"sha256": start.sha256, **start.provenance},
    )
