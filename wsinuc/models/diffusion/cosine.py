"""Gaussian diffusion in continuous time with the cosine log-SNR, and the ways back from noise along it.

Time runs from 0 (clean) to 1 (noise); ``x_t = alpha x_0 + sigma eps`` with ``alpha^2 =
sigmoid(l)``, ``sigma^2 = sigmoid(-l)`` and the log of the signal-to-noise ratio ``l(t) =
-log(cos(((t + s) / (1 + s)) pi / 2)^-2 - 1)``, as method C (Min, Oh, Jeong 2024) has it for its
image and its distance map. A network is told l, not t.

A way back is a function of numbers alone: it takes the noisy values, the clean ones as estimated, and the log-SNR
now and next. Infinite log-SNR is the clean image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wsinuc.errors import ConfigError

CLEAN = math.inf
"""log-SNR of what has no noise."""


@dataclass(frozen=True, slots=True)
class CosineSchedule:
    """Nichol & Dhariwal's cosine schedule as log-SNR."""

    offset: float = 0.008
    """Keeps the first steps from being too clean to learn from (Nichol & Dhariwal 2021, section 3.2)."""

    def __post_init__(self) -> None:
        if self.offset <= 0:
            raise ConfigError(f"the cosine schedule needs an offset above 0, got {self.offset}")

    def log_snr(self, t: Tensor) -> Tensor:
        """log-SNR, float64, of times in [0, 1]; at most 11.5, where the published code clips it."""
        angle = (t.double() + self.offset) / (1 + self.offset) * math.pi / 2
        return -torch.log((angle.cos() ** -2 - 1).clamp_min(1e-5))

    def noise(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t of ``x0`` ``(n, c, h, w)`` at times ``t`` ``(n,)``."""
        log_snr = self.log_snr(t.cpu())
        alpha, sigma = (v.to(x0)[:, None, None, None] for v in (_alpha(log_snr), _alpha(-log_snr)))
        return alpha * x0 + sigma * eps


def _alpha(log_snr: Tensor) -> Tensor:
    return log_snr.sigmoid().sqrt()


def scales(log_snr: float) -> tuple[float, float]:
    """Signal alpha and noise sigma at a log-SNR.

    Examples
    --------
    >>> scales(CLEAN)
    (1.0, 0.0)
    """
    # Fp32 would make sigma 0 before the signal is clean.
    value = torch.tensor(log_snr, dtype=torch.float64)
    return float(_alpha(value)), float(_alpha(-value))


def estimate_clean(x: Tensor, eps: Tensor, log_snr: float, percentile: float = 0.95) -> Tensor:
    """Clean values that the predicted noise implies, dynamically thresholded (Saharia et al. 2022, section 2.3).

    Each sample is clipped to [-s, s] and divided by s, the larger of 1 and the ``percentile`` of its magnitudes.

    Parameters
    ----------
    x, eps
        Noisy values and the noise predicted in them, ``(n, c, h, w)``.
    percentile
        As a share, 0 to 1.
    """
    alpha, sigma = scales(log_snr)
    x0 = (x - sigma * eps) / alpha
    limit = _quantile(x0.flatten(1).abs(), percentile).clamp_min(1)[:, None, None, None]
    return x0.clamp(-limit, limit) / limit


def _quantile(rows: Tensor, share: float) -> Tensor:
    """The quantile of each row ``(n, m)``, linear between two values: ``torch.quantile``, which refuses m above 2^24
    and sorts all of a row."""
    last = rows.shape[1] - 1
    below = math.floor(share * last)
    low, high = (rows.kthvalue(1 + at, dim=1).values for at in (below, min(below + 1, last)))
    return torch.lerp(low, high, share * last - below)


def ancestral_step(x: Tensor, x0: Tensor, now: float, later: float, eps: Tensor) -> Tensor:
    """One draw from q(x_later | x_now, x_0): Ho et al.'s step between any two log-SNR.

    Parameters
    ----------
    x, x0
        Noisy values and the estimate of the clean ones, ``(n, c, h, w)``.
    now, later
        log-SNR of ``x`` and of the result, ``now`` < ``later``; `CLEAN` gives ``x0``.
    eps
        Standard normal noise shaped like ``x``.
    """
    if later == CLEAN:
        return x0
    # 1 - exp(now - later), with all digits where the two are near.
    share = -math.expm1(now - later)
    alpha, _ = scales(now)
    alpha_later, sigma_later = scales(later)
    mean = alpha_later * (x * ((1 - share) / alpha) + share * x0)
    return mean + sigma_later * math.sqrt(share) * eps


def ddim_step(x: Tensor, x0: Tensor, now: float, later: float) -> Tensor:
    """Song et al.'s deterministic step (2021, equation 12 with sigma 0).

    Parameters are those of `ancestral_step`; there is no noise.

    Examples
    --------
    >>> noisy, clean = torch.full((1, 1, 1, 1), 3.0), torch.ones(1, 1, 1, 1)
    >>> ddim_step(noisy, clean, now=0.0, later=CLEAN).item()
    1.0
    """
    alpha, sigma = scales(now)
    alpha_later, sigma_later = scales(later)
    return alpha_later * x0 + sigma_later / sigma * (x - alpha * x0)


def multistep(
    x: Tensor, x0: Tensor, now: float, later: float, before: float | None = None, x0_before: Tensor | None = None
) -> Tensor:
    """DPM-Solver++(2M): second order in half the log-SNR (Lu et al. 2022, algorithm 2).

    Parameters
    ----------
    x, x0, now, later
        As in `ancestral_step`.
    before, x0_before
        log-SNR and estimate of the step before; None makes a first-order step, which is DDIM's.

    Examples
    --------
    >>> x, x0 = torch.full((1, 1, 1, 1), 3.0), torch.ones(1, 1, 1, 1)
    >>> bool(torch.allclose(multistep(x, x0, 0.0, 2.0), ddim_step(x, x0, 0.0, 2.0)))
    True
    """
    if later == CLEAN:
        return x0
    h = (later - now) / 2
    direction = x0
    # The slope of x_0 over the last step, carried on to the middle of this one.
    if before is not None and x0_before is not None:
        ratio = (now - before) / 2 / h
        direction = x0 + (x0 - x0_before) / (2 * ratio)
    _, sigma = scales(now)
    alpha_later, sigma_later = scales(later)
    return sigma_later / sigma * x - alpha_later * math.expm1(-h) * direction
