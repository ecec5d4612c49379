"""Learned variances, and the loss that a denoiser is trained with.

Nichol & Dhariwal (2021, section 3.1): beside the noise the network puts out a code v, about in [-1, 1], that places the
log variance of each reverse step between its two bounds, the posterior's and beta_t. The plain noise loss says
nothing about v, so the variational bound L_vb is added, with the mean detached: it teaches the variance alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.diffusion.gaussian import Denoiser, GaussianDiffusion

_HALF_LEVEL = 1 / 255
"""Half the distance of two grey levels in [-1, 1]."""
_SMALLEST_PROBABILITY = 1e-12
"""Floor of a level's probability, so that its logarithm is finite."""


def gaussian_kl(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(N(mean, var) || N(other)) in nats, element by element.

    Examples
    --------
    >>> one, zero = torch.ones(1), torch.zeros(1)
    >>> float(gaussian_kl(one, zero, zero, zero))
    0.5
    """
    ratio = (log_variance - other_log_variance).exp()
    distance = (mean - other_mean).square() * (-other_log_variance).exp()
    return 0.5 * (other_log_variance - log_variance - 1 + ratio + distance)


def discretised_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log probability in nats of the 8-bit level ``x`` in [-1, 1] under a Gaussian (Ho et al. 2020, equation 13).

    A level owns the interval of half a level to each side; black and white own everything beyond them.

    Parameters
    ----------
    x, mean, log_variance
        Of one shape, in units of [-1, 1].

    Examples
    --------
    >>> x = torch.zeros(1)
    >>> float(discretised_log_likelihood(x, x, torch.full((1,), -20.0)))  # a narrow Gaussian on the level itself
    0.0
    """
    inverse = (-0.5 * log_variance).exp()
    normal = torch.special.ndtr
    # 0.999 stands for 1, which rounding of pixels to floats may miss.
    above = torch.where(x > 0.999, torch.ones_like(x), normal((x - mean + _HALF_LEVEL) * inverse))
    below = torch.where(x < -0.999, torch.zeros_like(x), normal((x - mean - _HALF_LEVEL) * inverse))
    return (above - below).clamp_min(_SMALLEST_PROBABILITY).log()


def variational_bound(process: GaussianDiffusion, predicted: Tensor, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
    """The bound's term at each timestep in bits per dimension, ``(n,)``; gradients reach the variance code only.

    Parameters
    ----------
    predicted
        ``(n, 2c, h, w)``: noise and variance code of images ``(n, c, h, w)``.
    """
    eps, code = predicted.to(x0.dtype).chunk(2, dim=1)
    # The mean is detached: the bound teaches the variance alone, or its noise would drown the plain loss.
    mean = process.posterior_mean(process.predict_x0(xt, t, eps.detach()), xt, t)
    log_variance = process.learned_log_variance(code, t)
    posterior = process.posterior_variances.clone()
    # T = 0 is judged by the decoder below; any finite value does.
    posterior[0] = 1.0
    true_log_variance = process.at(posterior.log(), t, xt).expand_as(xt)
    kl = gaussian_kl(process.posterior_mean(x0, xt, t), true_log_variance, mean, log_variance)
    decoder = -discretised_log_likelihood(x0, mean, log_variance)
    first = (t == 0).reshape((-1,) + (1,) * (xt.ndim - 1))
    return torch.where(first, decoder, kl).flatten(1).mean(1) / math.log(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a denoiser is trained to do: predict the noise, weighted over timesteps, and perhaps its own variance."""

    p2: tuple[float, float] | None = None
    """(k, gamma) of the weights 1 / (k + SNR)^gamma; None weights all timesteps alike."""
    learned_variance: bool = False
    """Whether the network puts out a variance code, which the variational bound then teaches."""
    rescale: bool = False
    """Multiply the bound by T / 1000, as ``rescale_learned_sigmas`` of the published code does (off in its flags)."""

    def __call__(self, process: GaussianDiffusion, denoiser: Denoiser, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Loss of each image, ``(n,)``.

        Raises
        ------
        ConfigError
            The denoiser's channels do not fit the objective.
        """
        channels = x0.shape[1]
        xt = process.noise(x0, t, eps)
        predicted = denoiser(xt, t)
        expected = channels
        also = "alone"
        if self.learned_variance:
            expected = 2 * channels
            also = "and as many of variance code"
        if predicted.shape[1] != expected:
            raise ConfigError(
                f"the denoiser puts out {predicted.shape[1]} channels but {expected} are needed: "
                f"{channels} of noise {also}"
            )
        # Squares in bf16 lose digits.
        predicted = predicted.to(torch.promote_types(predicted.dtype, torch.float32))
        losses = F.mse_loss(predicted[:, :channels], eps, reduction="none").flatten(1).mean(1)
        if self.p2:
            losses = losses * process.p2_weights(t, *self.p2).to(losses)
        if self.learned_variance:
            bound = variational_bound(process, predicted, x0, xt, t)
            losses = losses + bound * (process.steps / 1000 if self.rescale else 1.0)
        return losses
