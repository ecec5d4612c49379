"""The skeleton of a training of a diffusion model: denoisers and generators are trained by it.

A method brings its network, the loss of one step, the pages it draws and the checkpoint that it
becomes (`Training`). What is the same for all lies here: resuming, measuring, saving, drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import wsinuc
from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.training.loop import Inspection, fit
from wsinuc.models.training.state import DATA
from wsinuc.workflows.training.files import draw_training
from wsinuc.workflows.training.held_out import held_out_loss
from wsinuc.workflows.training.session import UNATTENDED, Session, TrainingSettings
from wsinuc.workflows.training.step_loss import StepLoss

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["UNATTENDED", "Session", "Training", "TrainingSettings", "origin_of", "run_training", "take_weights"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    """What one method brings to its training."""

    network: nn.Module
    """On its device, with its first weights."""
    loss: StepLoss[Any]
    checkpoint: Callable[[dict[str, Tensor]], Checkpoint]
    """From averaged weights, when the training has ended or measured its best loss."""
    held_out: StepLoss[Any] | None = None
    """The loss of what is not learned from, to be measured as the training goes; None measures none."""
    inspections: Sequence[Inspection] = ()
    data: str = ""
    """Names what is learned from; a training that is continued must have the same."""
    start_sha256: str = ""
    """Of the file that the first weights come from; a training that is continued must have the same."""
    on_best: Callable[[dict[str, Tensor], float], None] | None = None
    """Given the averaged weights and their held-out loss whenever that is the lowest so far."""
    curve: str = "loss of the predicted noise"
    """What the curves beside the checkpoint show."""


def run_training(training: Training, out: Path, config: TrainingSettings, session: Session) -> None:
    """Train to the end, from where the state beside ``out`` stopped, and write the averaged weights to ``out``.

    Parameters
    ----------
    out
        The checkpoint. Beside it lie the state (``.state``), the log (``.jsonl``) and its curves (``.png``).

    Raises
    ------
    CheckpointError
        The state is damaged or of another training.
    DeviceMemoryError
        The device's memory is too small; it says which batch size fits.
    TrainingError
        The loss is no number any more.
    """
    data = {DATA: training.data} if training.data else {}
    with ExitStack() as stack:
        stack.enter_context(training.loss)
        inspections = list(training.inspections)
        if training.held_out is not None:
            inspections.append(held_out_loss(stack.enter_context(training.held_out), config))
        average = fit(
            training.network,
            training.loss,
            config.fit,
            state=out.with_suffix(".state"),
            on_progress=session.on_progress,
            should_stop=session.should_stop,
            images=config.batch,
            settings=config.identity() | {"init": training.start_sha256, **data},
            inspections=inspections,
            on_best=training.on_best,
            processes=session.processes,
            trial=training.loss.trial,
        )
    # All processes have the same average; one of them writes it.
    if session.processes.main:
        save_checkpoint(training.checkpoint(average), out)
        draw_training(out.with_suffix(".jsonl"), out.with_suffix(".png"), loss=training.curve)


def take_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, kind: str, remedy: str) -> None:
    """Load the weights of a checkpoint into a network of the same shape.

    Parameters
    ----------
    kind
        What the checkpoint holds, for the message.
    remedy
        What to do when the shapes differ.

    Raises
    ------
    CheckpointError
        They are of another shape.
    """
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        # the last line names one tensor; PyTorch lists all of them, which may be hundreds
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{path} is a {kind} of another shape ({reason}): {remedy}") from error


def origin_of(config: DataclassInstance, **more: Any) -> dict[str, Any]:
    """The provenance of a trained checkpoint: versions, all settings, and what else is known."""
    return {"wsinuc": wsinuc.__version__, "torch": torch.__version__, "training": asdict(config), **more}
