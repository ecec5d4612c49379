"""How much noise each step of a diffusion adds: the schedules that the methods were published with.

All are float64 rows of ``steps`` numbers in (0, 1). A checkpoint names its schedule, so that whoever reads it noises
images exactly as the network saw them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from wsinuc.errors import ConfigError

_LARGEST_BETA = 0.999
"""Largest beta of the cosine schedule, which would end with 1: that leaves nothing to go back from."""


def linear_betas(steps: int) -> Tensor:
    """Ho et al.'s linear schedule, rescaled so that any number of steps ends equally noisy; float64 ``(steps,)``.

    Examples
    --------
    >>> [round(float(beta), 4) for beta in linear_betas(1000)[[0, -1]]]
    [0.0001, 0.02]
    """
    return torch.linspace(1e-4 * 1000 / steps, 0.02 * 1000 / steps, steps, dtype=torch.float64)


def quadratic_betas(steps: int) -> Tensor:
    """Squares of a line from sqrt(1e-4) to sqrt(0.02), as method D uses it; float64 ``(steps,)``."""
    return torch.linspace(1e-4**0.5, 0.02**0.5, steps, dtype=torch.float64).square()


def cosine_betas(steps: int, offset: float = 0.008) -> Tensor:
    """Nichol & Dhariwal's cosine schedule (2021, equation 17), each beta at most 0.999; float64 ``(steps,)``."""
    u = torch.arange(steps + 1, dtype=torch.float64) / steps
    abar = torch.cos((u + offset) / (1 + offset) * math.pi / 2).square()
    return (1 - abar[1:] / abar[:-1]).clamp(max=_LARGEST_BETA)


SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "linear": linear_betas,
    "quadratic": quadratic_betas,
    "cosine": cosine_betas,
}
"""Name in a checkpoint's ``betas`` -> the schedule."""


def named_betas(name: str, steps: int = 1000) -> Tensor:
    """The schedule called ``name``, float64 ``(steps,)``; raises ConfigError for names that are not in `SCHEDULES`."""
    if name not in SCHEDULES:
        raise ConfigError(f"no noise schedule is called {name!r}; there are: {', '.join(SCHEDULES)}")
    return SCHEDULES[name](steps)


def strided_timesteps(steps: int, count: int) -> list[int]:
    """``count`` of ``steps`` timesteps at even distances, ascending, the first and the last among them.

    Examples
    --------
    >>> strided_timesteps(1000, 5)
    [0, 250, 500, 749, 999]

    Raises
    ------
    ConfigError
        ``count`` is not between 1 and ``steps``.
    """
    if not 1 <= count <= steps:
        raise ConfigError(f"a process of {steps} steps can be sampled in 1 to {steps} steps, not in {count}")
    if count == 1:
        return [steps - 1]
    return [round(i * (steps - 1) / (count - 1)) for i in range(count)]


def quadratic_timesteps(steps: int, count: int) -> list[int]:
    """``count`` of ``steps`` timesteps, ascending, the first and the last among them, denser towards the clean end.

    Distances grow with the timestep (Song et al. 2021, appendix D.2). With the cosine schedule the
    log-SNR changes fastest at the clean end, and few even steps would leap over the finest detail.

    Examples
    --------
    >>> quadratic_timesteps(1000, 5)
    [0, 63, 250, 562, 999]

    Raises
    ------
    ConfigError
        ``count`` is not between 1 and ``steps``.
    """
    timesteps: list[int] = []
    following = 0
    for i in strided_timesteps(steps, count):
        # Squares fall on one timestep near 0; the next free one is taken there.
        timesteps.append(max(round(i * i / max(1, steps - 1)), following))
        following = timesteps[-1] + 1
    return timesteps


def restart_timesteps(timesteps: Sequence[int], restart: int) -> list[int]:
    """Where a restart from timestep ``restart`` asks the network, descending: there, and where the walk did below it.

    ``restart`` 0 is no restart and asks nowhere.

    Examples
    --------
    >>> restart_timesteps([0, 62, 250, 562, 999], 100)
    [100, 62, 0]
    """
    if not restart:
        return []
    below = [t for t in timesteps if t < restart]
    return [restart, *sorted(below, reverse=True)]
