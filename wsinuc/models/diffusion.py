"""The Gaussian diffusion process: what is noise, how much of it at which step, and how to walk back.

A process knows nothing of networks: losses and samplers take the denoiser as a function ``(x_t, t) -> prediction``.
Notation follows Ho et al. (2020): ``x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps``. Images live in [-1, 1]. Every
draw of noise takes its generator as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wsinuc.errors import ConfigError

Denoiser = Callable[[Tensor, Tensor], Tensor]


def linear_betas(steps: int) -> Tensor:
    """Ho et al.'s linear schedule, rescaled so that any number of steps ends equally noisy; float64 ``(steps,)``."""
    return torch.linspace(1e-4 * 1000 / steps, 0.02 * 1000 / steps, steps, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class GaussianDiffusion:
    """A schedule and its closed forms.

    Parameters
    ----------
    betas
        Noise added at each step, float64 ``(steps,)`` in (0, 1).
    """

    betas: Tensor = field(default_factory=lambda: linear_betas(1000))

    def __post_init__(self) -> None:
        if self.betas.ndim != 1 or not bool(((self.betas > 0) & (self.betas < 1)).all()):
            raise ConfigError("betas must be one row of numbers between 0 and 1")

    @property
    def steps(self) -> int:
        """Number of timesteps T; t runs from 0 to T - 1."""
        return len(self.betas)

    @property
    def alphas_bar(self) -> Tensor:
        """Share of the image's variance left at each step, float64 ``(steps,)``."""
        return torch.cumprod(1 - self.betas, dim=0)

    def scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """``sqrt(abar_t)`` and ``sqrt(1 - abar_t)`` shaped to multiply images ``like``."""
        abar = self.alphas_bar[t.cpu()].to(device=like.device)
        shape = (-1,) + (1,) * (like.ndim - 1)
        return abar.sqrt().to(like.dtype).reshape(shape), (1 - abar).sqrt().to(like.dtype).reshape(shape)

    def noise(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t of images ``x0`` at timesteps ``t`` ``(n,)`` with the given noise (Ho et al., equation 4)."""
        signal, sigma = self.scales(t, x0)
        return signal * x0 + sigma * eps

    def predict_x0(self, xt: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The clean image that ``eps`` implies, unclamped."""
        signal, sigma = self.scales(t, xt)
        return (xt - sigma * eps) / signal

    def loss(self, denoiser: Denoiser, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Mean squared error of the predicted noise per image, ``(n,)`` (Ho et al., equation 14)."""
        predicted = denoiser(self.noise(x0, t, eps), t)
        return (predicted.float() - eps).square().flatten(1).mean(1)

    def posterior(self, x0: Tensor, xt: Tensor, t: int) -> tuple[Tensor, float]:
        """Mean and variance of q(x_{t-1} | x_t, x_0) (Ho et al., equations 6 and 7)."""
        abar = self.alphas_bar
        before = float(abar[t - 1]) if t else 1.0
        beta, now = float(self.betas[t]), float(abar[t])
        mean = (before**0.5 * beta * x0 + (1 - beta) ** 0.5 * (1 - before) * xt) / (1 - now)
        return mean, beta * (1 - before) / (1 - now)


def sample_timesteps(process: GaussianDiffusion, n: int, power: float, generator: torch.Generator) -> Tensor:
    """``n`` timesteps ``floor(T u^power)``: power 1 is uniform, 2 puts half of them into the first quarter.

    Features are read at small t, so a short training is better spent there; every t is still seen.
    """
    u = torch.rand(n, generator=generator, dtype=torch.float64)
    return (process.steps * u**power).long().clamp_(max=process.steps - 1)


@torch.no_grad()
def sample_ancestral(
    process: GaussianDiffusion, denoiser: Denoiser, x: Tensor, generator: torch.Generator, *, clamp: bool = True
) -> Tensor:
    """Ho et al.'s Algorithm 2: from pure noise ``x`` to images, one step per timestep."""
    for t in reversed(range(process.steps)):
        steps = torch.full((len(x),), t, device=x.device)
        x0 = process.predict_x0(x, steps, denoiser(x, steps))
        mean, variance = process.posterior(x0.clamp(-1, 1) if clamp else x0, x, t)
        eps = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        x = mean + variance**0.5 * eps
    return x


@torch.no_grad()
def sample_ddim(
    process: GaussianDiffusion, denoiser: Denoiser, x: Tensor, timesteps: Sequence[int], *, clamp: bool = True
) -> Tensor:
    """Song et al.'s deterministic sampler (2021, equation 12 with sigma 0) along descending ``timesteps``."""
    abar = process.alphas_bar
    for now, later in zip(timesteps, [*timesteps[1:], -1], strict=True):
        t = torch.full((len(x),), now, device=x.device)
        x0 = process.predict_x0(x, t, denoiser(x, t))
        x0 = x0.clamp(-1, 1) if clamp else x0
        signal, sigma = process.scales(t, x)
        eps = (x - signal * x0) / sigma
        target = float(abar[later]) if later >= 0 else 1.0
        x = target**0.5 * x0 + (1 - target) ** 0.5 * eps
    return x
