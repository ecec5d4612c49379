"""The Gaussian diffusion process: what is noise, how much of it at which step, and how to walk back.

A process knows nothing of networks: losses, and the samplers of `wsinuc.models.diffusion.samplers`,
take the denoiser as a function ``(x_t, t) -> prediction``. Notation follows Ho et al. (2020): ``x_t
= sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps``. Images live in [-1, 1]. Every draw of noise takes its
generator as an argument.

A prediction is the noise, or, when the variance is learned too, the noise and as many channels of variance code
(`wsinuc.models.diffusion.variance`): samplers tell them apart by the number of channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wsinuc.errors import ConfigError
from wsinuc.models.diffusion.schedules import linear_betas

Denoiser = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class GaussianDiffusion:
    """A schedule and its closed forms.

    Parameters
    ----------
    betas
        Noise added at each step, float64 ``(steps,)`` in (0, 1).
    original
        Of a respaced process: what the denoiser calls each of its steps, int64 ``(steps,)``. None: 0 to steps - 1.
    """

    betas: Tensor = field(default_factory=lambda: linear_betas(1000))
    original: Tensor | None = None

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

    @property
    def posterior_variances(self) -> Tensor:
        """Variance of q(x_{t-1} | x_t, x_0), float64 ``(steps,)``; 0 at t = 0 (Ho et al., equation 7)."""
        abar = self.alphas_bar
        return self.betas * (1 - _shifted(abar)) / (1 - abar)

    def at(self, row: Tensor, t: Tensor, like: Tensor) -> Tensor:
        """The entries ``t`` ``(n,)`` of a row ``(steps,)``, shaped, typed and placed to multiply images ``like``."""
        # Rows stay float64 until here: 1 - abar of the first steps has few digits in fp32.
        return row[t.cpu()].to(device=like.device, dtype=like.dtype).reshape((-1,) + (1,) * (like.ndim - 1))

    def scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """``sqrt(abar_t)`` and ``sqrt(1 - abar_t)`` shaped to multiply images ``like``."""
        abar = self.alphas_bar
        return self.at(abar.sqrt(), t, like), self.at((1 - abar).sqrt(), t, like)

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
        predicted = denoiser(self.noise(x0, t, eps), t)[:, : x0.shape[1]]
        return (predicted.float() - eps).square().flatten(1).mean(1)

    def p2_weights(self, t: Tensor, k: float = 1.0, gamma: float = 1.0) -> Tensor:
        """Weights ``1 / (k + SNR_t)^gamma`` of the loss, float64 ``(n,)`` (Choi et al. 2022, equation 8).

        With k = gamma = 1, as method D has it, this is ``1 - abar_t``: steps that are nearly clean count little.

        Examples
        --------
        >>> process = GaussianDiffusion()
        >>> t = torch.tensor([0, 999])
        >>> bool(torch.allclose(process.p2_weights(t), 1 - process.alphas_bar[t]))
        True
        """
        abar = self.alphas_bar[t.cpu()]
        return (k + abar / (1 - abar)) ** -gamma

    def posterior(self, x0: Tensor, xt: Tensor, t: int) -> tuple[Tensor, float]:
        """Mean and variance of q(x_{t-1} | x_t, x_0) (Ho et al., equations 6 and 7)."""
        return self.posterior_mean(x0, xt, torch.full((1,), t)), float(self.posterior_variances[t])

    def posterior_mean(self, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0) at timesteps ``t`` ``(n,)``."""
        abar = self.alphas_bar
        before = _shifted(abar)
        clean = before.sqrt() * self.betas / (1 - abar)
        noisy = (1 - self.betas).sqrt() * (1 - before) / (1 - abar)
        return self.at(clean, t, xt) * x0 + self.at(noisy, t, xt) * xt

    def learned_log_variance(self, code: Tensor, t: Tensor) -> Tensor:
        """``f log(beta_t) + (1 - f) log(posterior variance)`` with ``f = (code + 1) / 2``, shaped like the code.

        Nichol & Dhariwal 2021, equation 15. The posterior's variance is 0 at t = 0; that of t = 1 stands in for it.
        """
        # Computed anew by the property, so that it may be written to.
        low = self.posterior_variances
        low[0] = low[1] if self.steps > 1 else self.betas[0]
        share = (code + 1) / 2
        return share * self.at(self.betas.log(), t, code) + (1 - share) * self.at(low.log(), t, code)

    def named(self, t: Tensor) -> Tensor:
        """What the denoiser calls the timesteps ``t``."""
        if self.original is None:
            return t
        return self.original.to(t.device)[t]

    def respaced(self, timesteps: Sequence[int]) -> GaussianDiffusion:
        """The same process seen at a few of its timesteps only, for quicker sampling (Nichol &
        Dhariwal 2021, section 4).

        Its betas are such that each of them is as noisy as in the whole process.

        Parameters
        ----------
        timesteps
            Ascending, distinct, 0 to ``steps`` - 1.

        Examples
        --------
        >>> process = GaussianDiffusion()
        >>> bool(torch.allclose(process.respaced([50, 250]).alphas_bar, process.alphas_bar[[50, 250]]))
        True

        Raises
        ------
        ConfigError
            The timesteps are not ascending, distinct and in range.
        """
        chosen = torch.tensor(list(timesteps))
        if not len(chosen) or chosen[0] < 0 or chosen[-1] >= self.steps or bool((chosen.diff() <= 0).any()):
            raise ConfigError(
                f"timesteps must ascend from at least 0 to at most {self.steps - 1}, got {chosen.tolist()}"
            )
        abar = self.alphas_bar[chosen]
        return GaussianDiffusion(1 - abar / _shifted(abar), self.named(chosen))


def _shifted(abar: Tensor) -> Tensor:
    """abar_{t-1} for every t; 1 before the first step."""
    return torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])


def sample_timesteps(process: GaussianDiffusion, n: int, power: float, generator: torch.Generator) -> Tensor:
    """``n`` timesteps ``floor(T u^power)``: power 1 is uniform, 2 puts half of them into the first quarter.

    Features are read at small t, so a short training is better spent there; every t is still seen.

    Examples
    --------
    >>> t = sample_timesteps(GaussianDiffusion(), 4000, 2.0, torch.Generator().manual_seed(0))
    >>> round(float((t < 250).float().mean()), 1)
    0.5
    """
    u = torch.rand(n, generator=generator, dtype=torch.float64)
    return (process.steps * u**power).long().clamp_(max=process.steps - 1)
