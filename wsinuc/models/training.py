"""One loop for every training: a loss per batch in, averaged weights out.

The loop owns what all trainings share (optimiser, warm-up and cosine decay, moving average, bf16, resume, metrics) and
knows nothing of what is trained: ``loss(step)`` draws its own batch from the step number, so that a resumed run
continues with the very batches an uninterrupted one would have seen.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsinuc.errors import CheckpointError, ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How long and how fast."""

    steps: int
    lr: float = 1e-4
    warmup: int = 0
    """Steps of linear warm-up."""
    cosine: bool = False
    """Let the rate fall to 2 % along a cosine instead of keeping it."""
    weight_decay: float = 0.0
    ema: float = 0.9999
    """Decay of the moving average of the weights; it starts lower, at (1 + step) / (10 + step)."""
    bf16: bool = True
    clip: float = 1.0
    """Largest gradient norm."""
    save_every: int = 500
    """Steps between saves of the training state."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0:
            raise ConfigError(f"a training needs steps and a learning rate, got {self.steps} and {self.lr}")

    def rate(self, step: int) -> float:
        """Learning rate at a step."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        fall = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.cosine else 1.0
        return self.lr * warm * fall


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the metrics log."""

    step: int
    loss: float
    lr: float
    seconds: float


def fit(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    config: FitConfig,
    *,
    state: Path,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Tensor]:
    """Train ``model`` in place and return the moving average of its weights.

    Parameters
    ----------
    loss
        Scalar loss of step k, computed with ``model``'s present weights.
    state
        File for the training state. When it exists the run continues from it (CheckpointError when it does not fit).
    should_stop
        Asked after each step; stops early but cleanly, with the state saved.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    first = _resume(state, model, optimiser, average)
    device = next(model.parameters()).device
    started, window = time.monotonic(), []
    for step in range(first, config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.rate(step)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.bf16):
            value = loss(step)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimiser.step()
        _average(average, model, min(config.ema, (1 + step) / (10 + step)))
        window.append(float(value.detach()))
        stop = should_stop()
        if (step + 1) % 50 == 0 or stop:
            progress = Progress(step + 1, sum(window) / len(window), config.rate(step), time.monotonic() - started)
            window = []
            _log(state.with_suffix(".jsonl"), progress)
            if on_progress:
                on_progress(progress)
        if (step + 1) % config.save_every == 0 or stop or step + 1 == config.steps:
            _save(state, step + 1, model, optimiser, average)
        if stop:
            break
    return average


def _average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value.detach(), 1 - decay)
        else:
            average[name].copy_(value)


def _save(
    path: Path, step: int, model: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]
) -> None:
    temporary = path.with_name(path.name + ".partial")
    torch.save(
        {"step": step, "model": model.state_dict(), "optimiser": optimiser.state_dict(), "average": average}, temporary
    )
    os.replace(temporary, path)


def _resume(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]) -> int:
    """Load a saved state if there is one; the step to go on with."""
    if not path.exists():
        return 0
    try:
        saved: dict[str, Any] = torch.load(path, weights_only=True, map_location=next(model.parameters()).device)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        for name, value in saved["average"].items():
            average[name].copy_(value)
        return int(saved["step"])
    except Exception as error:  # torch has many words for a file that does not fit
        raise CheckpointError(
            f"{path} is damaged or the state of another training ({str(error).splitlines()[0]}): "
            "delete it to start anew, or choose another output"
        ) from error


def _log(path: Path, progress: Progress) -> None:
    with path.open("a") as stream:
        stream.write(json.dumps(asdict(progress)) + "\n")
