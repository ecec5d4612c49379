"""One loop for every training: a loss per batch in, averaged weights out.

The loop owns what all trainings share (optimiser, warm-up and cosine decay, moving average, bf16,
accumulation, several processes, held-out scores, resume, metrics) and knows nothing of what is
trained: ``loss(k)`` draws its own batch from its number, so that a resumed run continues with the
very batches an uninterrupted one would have seen.

A step may be computed in several passes (accumulation) and by several processes. It then consists of ``accumulate x
processes`` parts of equal size, numbered on and on, and ``loss`` is asked for part k; otherwise k is the step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsinuc.errors import TrainingError
from wsinuc.models.device_memory import out_of_memory
from wsinuc.models.devices import forward_pass
from wsinuc.models.freed_memory import keep_freed_memory
from wsinuc.models.training.config import FitConfig, part_size, training_identity
from wsinuc.models.training.processes import ALONE, Processes
from wsinuc.models.training.state import TrainingState, append_log, trim_log
from wsinuc.progress_line import ProgressLine

__all__ = ["FitConfig", "Inspection", "Progress", "fit", "part_size", "training_identity", "weights_in_place"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the metrics log."""

    step: int
    """Steps done."""
    loss: float
    """Mean since the line before."""
    lr: float
    """Learning rate of the last step."""
    seconds: float
    """Since this run began."""
    images: int = 0
    """Images seen, those of an interrupted run included."""
    images_per_s: float = 0.0
    """Since the line before."""
    validation: float | None = None
    """Held-out loss of the averaged weights, where it was measured."""

    def line(self, stage: str, steps: int) -> ProgressLine:
        """The report as a line of text, with its numbers; ``steps`` is the length of the training."""
        text = f"{stage}: step {self.step}  loss {self.loss:.4f}  {self.seconds:.0f} s"
        return ProgressLine(text, stage=stage, unit="steps", done=self.step, total=steps, loss=self.loss)


@dataclass(frozen=True, slots=True)
class Inspection:
    """Something done every so often with the averaged weights in place of the trained ones, in evaluation mode."""

    every: int
    """Steps."""
    run: Callable[[int], float | None]
    """Given the number of steps done; returns the held-out loss, or None when it measures nothing."""


def fit(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    config: FitConfig,
    *,
    state: Path,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    images: int = 1,
    settings: Mapping[str, Any] | None = None,
    inspections: Sequence[Inspection] = (),
    on_best: Callable[[dict[str, Tensor], float], None] | None = None,
    processes: Processes = ALONE,
    trial: Callable[[int], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Train ``model`` in place and return the moving average of its weights.

    Parameters
    ----------
    loss
        Scalar mean loss of part k, computed with ``model``'s present weights; see the module.
    state
        File for the training state; the log lies beside it (``.jsonl``). When it exists the run continues from it.
    should_stop
        Asked after each step; stops early but cleanly, with the state saved.
    images
        Images of one step, over all passes and processes; for the count of images seen.
    settings
        What a resumed run must have in common with the one that it continues, JSON types.
    on_best
        Given the averaged weights and their held-out loss whenever that is the lowest so far.
    trial
        Loss of any n images, to find out what fits when memory runs out.

    Raises
    ------
    CheckpointError
        ``state`` is damaged or of another training.
    DeviceMemoryError
        The device's memory is too small; it says which batch size fits.
    TrainingError
        Loss or gradients are no numbers; the state stays as it was last saved.
    """
    if next(model.parameters()).device.type == "cpu":
        # Here, so that it holds however a training is started: by a command, by torchrun, or from Python.
        keep_freed_memory()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
    )
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    progress = TrainingState(model, optimiser, average, settings or {})
    progress.load(state)
    training = _Training(
        state=progress,
        loss=loss,
        config=config,
        path=state,
        processes=processes,
        images=images,
        trial=trial,
        inspections=inspections,
        on_progress=on_progress,
        on_best=on_best,
        should_stop=should_stop,
    )
    training.run()
    return average


@contextmanager
def weights_in_place(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """``model`` with other weights, in evaluation mode, for the length of a block."""
    # Copies: load_state_dict writes into the very tensors that state_dict shows.
    own = {name: value.clone() for name, value in model.state_dict().items()}
    training = model.training
    model.load_state_dict(dict(weights))
    model.eval()
    try:
        yield
    finally:
        model.load_state_dict(own)
        model.train(training)


class _Meter:
    """Mean loss and speed since the line before."""

    def __init__(self, images: int, step: int) -> None:
        self._images = images
        self._losses: list[float] = []
        # Wall clocks jump; this one counts on.
        self._started = self._before = time.monotonic()
        self._step = step

    def add(self, loss: float) -> None:
        self._losses.append(loss)

    def line(self, step: int, rate: float, validation: float | None) -> Progress:
        now = time.monotonic()
        speed = (step - self._step) * self._images / max(now - self._before, 1e-9)
        loss = sum(self._losses) / len(self._losses)
        self._losses = []
        self._before = now
        self._step = step
        return Progress(
            step=step,
            loss=loss,
            lr=rate,
            seconds=now - self._started,
            images=step * self._images,
            images_per_s=speed,
            validation=validation,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Training:
    """A training under way: what `fit` was given, and the state that its steps move."""

    state: TrainingState
    loss: Callable[[int], Tensor]
    config: FitConfig
    path: Path
    """Where the state is saved."""
    processes: Processes
    images: int
    trial: Callable[[int], Tensor] | None
    inspections: Sequence[Inspection]
    on_progress: Callable[[Progress], None] | None
    on_best: Callable[[dict[str, Tensor], float], None] | None
    should_stop: Callable[[], bool]

    @property
    def device(self) -> torch.device:
        return next(self.state.model.parameters()).device

    def run(self) -> None:
        """All steps that are left."""
        log = self.path.with_suffix(".jsonl")
        if self.processes.main:
            trim_log(log, self.state.step)
        meter = _Meter(self.images, self.state.step)
        for step in range(self.state.step, self.config.steps):
            meter.add(self._step(step))
            # One process alone would leave the others waiting for its gradients.
            stop = self._agree(self.should_stop())
            # Whoever stops early also gets a state, a log line and an inspection of what was reached.
            last = stop or self.state.step == self.config.steps
            score, due = self._inspect(last)
            if (self.state.step % self.config.log_every == 0 or due or last) and self.processes.main:
                line = meter.line(self.state.step, self.config.rate(step), score)
                append_log(log, asdict(line))
                if self.on_progress:
                    self.on_progress(line)
            if (self.state.step % self.config.save_every == 0 or last) and self.processes.main:
                self.state.save(self.path)
            if stop:
                break
        self.processes.wait()

    def _step(self, step: int) -> float:
        """One step of the optimiser and of the moving average; the step's mean loss."""
        model = self.state.model
        for group in self.state.optimiser.param_groups:
            group["lr"] = self.config.rate(step)
        value = self._gradients(step)
        # The norm before clipping, which is not finite where any gradient is not.
        norm = nn.utils.clip_grad_norm_(model.parameters(), self.config.clip)
        self._check(value, float(norm), step)
        self.state.optimiser.step()
        # The average begins with a short memory, or the random first weights would stay in it for long.
        _average(self.state.average, model, min(self.config.ema, (1 + step) / (10 + step)))
        self.state.step = step + 1
        return value

    def _gradients(self, step: int) -> float:
        """Leave the step's mean gradients in the parameters; its mean loss over all passes and processes."""
        passes = self.config.accumulate
        model = self.state.model
        total = torch.zeros((), device=self.device)
        try:
            # Freed rather than zeroed: the first pass then needs no addition, and memory is lower meanwhile.
            model.zero_grad(set_to_none=True)
            for i in range(passes):
                # Parts are numbered over passes and processes, so their number decides what is
                # learnt, not who computes it.
                part = (step * passes + i) * self.processes.count + self.processes.rank
                with forward_pass(self.device, self.config.bf16):
                    value = self.loss(part)
                torch.autograd.backward(value / passes if passes > 1 else value)
                total += value.detach().float() / passes
            self.processes.average_gradients(model.parameters())
            return float(self.processes.mean(total))
        except torch.OutOfMemoryError:
            # What follows runs after the block, when the failed pass's tensors are gone.
            exhausted = True
        assert exhausted
        at_once = None
        if self.images > 1:
            at_once = self.images // (passes * self.processes.count)
        with forward_pass(self.device, self.config.bf16):
            raise out_of_memory(model, at_once, self.trial)

    def _check(self, loss: float, norm: float, step: int) -> None:
        """Raise TrainingError when a step would spoil the weights."""
        if math.isfinite(loss) and math.isfinite(norm):
            return
        if math.isfinite(loss):
            what = f"the gradient's norm is {norm}"
        else:
            what = f"the loss is {loss}"
        hint = "nothing was saved yet: run again with a lower learning rate or a longer warm-up"
        if self.path.exists():
            hint = (
                f"the last good state is kept in {self.path}: run again with a lower learning rate to go on from there"
            )
        raise TrainingError(
            f"{what} at step {step + 1}, so the training was stopped; most likely the learning rate "
            f"({self.config.rate(step):g} there) is too high, or an input is no image; {hint}"
        )

    def _agree(self, stop: bool) -> bool:
        """Whether any process wants to stop."""
        if self.processes.count == 1:
            return stop
        return float(self.processes.mean(torch.tensor(float(stop), device=self.device))) > 0

    def _inspect(self, last: bool) -> tuple[float | None, bool]:
        """Run what is due, in the main process; the held-out loss, if one was measured, and whether anything ran."""
        state = self.state
        due = [item for item in self.inspections if state.step % item.every == 0 or last]
        if not due or not self.processes.main:
            return None, bool(due)
        with weights_in_place(state.model, state.average):
            scores = [item.run(state.step) for item in due]
        score = next((value for value in scores if value is not None), None)
        if score is not None and score < state.best:
            state.best = score
            if self.on_best:
                self.on_best(state.average, score)
        return score, True


def _average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's; counters, which are no weights, are taken over."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value.detach(), 1 - decay)
        else:
            average[name].copy_(value)
