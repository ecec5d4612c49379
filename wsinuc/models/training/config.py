"""How long and how fast a training runs, which of that a continued one must share, and how a step is shared out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from wsinuc.errors import ConfigError
from wsinuc.models.training.processes import Processes

Preset = TypeVar("Preset")


def named_preset(presets: Mapping[str, Preset], name: str) -> Preset:
    """One of several settings by its name.

    Raises
    ------
    ConfigError
        There is none of that name.

    Examples
    --------
    >>> named_preset({"cpu": 1, "paper": 2}, "gpu")
    Traceback (most recent call last):
    wsinuc.errors.ConfigError: expected one of cpu, paper, got 'gpu'
    """
    if not isinstance(name, str) or name not in presets:
        raise ConfigError(f"expected one of {', '.join(presets)}, got {name!r:.60}")
    return presets[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How long and how fast."""

    steps: int
    """Steps of the optimiser."""
    lr: float = 1e-4
    """Learning rate, before warm-up and decay."""
    warmup: int = 0
    """Steps of linear warm-up."""
    cosine: bool = False
    """Let the rate fall to 2 % along a cosine instead of keeping it."""
    later: tuple[int, float] | None = None
    """(step, factor): from this step on the rate is multiplied by this; a second phase of the training."""
    weight_decay: float = 0.0
    """Weight decay of AdamW, which is decoupled from the gradient."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's two moments."""
    ema: float = 0.9999
    """Decay of the moving average of the weights; it starts lower, at (1 + step) / (10 + step)."""
    bf16: bool | None = None
    """Whether forward passes run in bfloat16; weights and gradients stay fp32. None: where the device is faster so."""
    clip: float = 1.0
    """Largest gradient norm."""
    accumulate: int = 1
    """Passes in which a step's batch is computed: less memory, the same result up to rounding."""
    save_every: int = 500
    """Steps between saves of the training state."""
    log_every: int = 50
    """Steps between lines of the log."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0:
            raise ConfigError(f"a training needs steps and a learning rate, got {self.steps} and {self.lr}")
        if min(self.accumulate, self.save_every, self.log_every) < 1:
            raise ConfigError("accumulate, save_every and log_every must be at least 1")

    def rate(self, step: int) -> float:
        """Learning rate at a step.

        Examples
        --------
        >>> config = FitConfig(steps=100, lr=1.0, warmup=4, later=(50, 0.1))
        >>> [config.rate(step) for step in (0, 4, 50)]
        [0.25, 1.0, 0.1]
        """
        warm = fall = phase = 1.0
        if self.warmup:
            warm = min(1.0, (step + 1) / self.warmup)
        if self.cosine:
            fall = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        if self.later and step >= self.later[0]:
            phase = self.later[1]
        return self.lr * warm * fall * phase


def training_identity(settings: Any, apart: Collection[str] = ()) -> dict[str, Any]:
    """What a continued training must share with its beginning: all but its length, its rate, and how it is computed.

    Parameters
    ----------
    settings
        A dataclass with a `FitConfig` as ``fit``; groups within it become ``group.name``.
    apart
        Fields that change nothing of what is learned.
    """
    fields = asdict(settings)
    free = ("steps", "lr", "bf16", "accumulate", "save_every", "log_every")
    fields["fit"] = {name: value for name, value in fields["fit"].items() if name not in free}
    return {
        f"{name}.{inner}" if inner else name: value
        for name, group in fields.items()
        for inner, value in (group.items() if isinstance(group, dict) else [("", group)])
        if name not in apart
    }


def check_one_pass(config: FitConfig) -> None:
    """Raise ConfigError where a step is to be computed in several passes, which not every training can do."""
    if config.accumulate > 1:
        raise ConfigError(
            f"this training computes each step in one pass, got accumulate {config.accumulate}: make the batch smaller"
        )


def part_size(batch: int, config: FitConfig, processes: Processes) -> int:
    """Patches in one part of a step; raises ConfigError when the batch cannot be shared out evenly.

    Examples
    --------
    >>> part_size(8, FitConfig(steps=1, accumulate=2), Processes(count=2))
    2
    """
    parts = config.accumulate * processes.count
    if batch % parts:
        raise ConfigError(
            f"a batch of {batch} patches cannot be shared out evenly to {processes.count} processes of "
            f"{config.accumulate} passes: make it a multiple of {parts}"
        )
    return batch // parts
