"""Uniform diffusion of class labels: at each step a pixel keeps its class, or forgets it for any of the K classes.

After Hoogeboom et al. (2021), as method C (Min, Oh, Jeong 2024) uses it for its semantic label. With one-hot rows,

    q(x_t | x_{t-1}) = Cat((1 - beta_t) x_{t-1} + beta_t / K)
    q(x_t | x_0)     = Cat(abar_t x_0 + (1 - abar_t) / K)
    q(x_s | x_t, x_0) ~ [r x_t + (1 - r) / K] * [abar_s x_0 + (1 - abar_s) / K],   r = abar_t / abar_s

for any s <= t, so that few steps can stand for many; s = t - 1 is the published step. Everything is computed with
logarithms of probabilities, classes in dimension 1: near t = 0 and t = T the factors differ by more than single
precision can hold.

Labels at t = 0 are already slightly noised (abar_0 < 1); the clean ones are what the network says of them, which is the
step to "s = -1" below.

A network that is trained through the posterior, as here, learns p(x_0 | everything) / q(x_t | x_0)
of a pixel: what is known besides its own x_t, which the posterior then adds. That does not depend
on s, so longer steps need no other network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.diffusion.cosine import CosineSchedule

_LOG_ZERO = -70.0
"""Log-probability of no class: exp of it is 4e-31, and it is still a number that can be added to."""


@dataclass(frozen=True, eq=False)
class CategoricalDiffusion:
    """A process over K classes in T steps; it has no network.

    Parameters
    ----------
    classes
        K, background included; at least 2.
    steps
        T; timesteps run from 0 to T - 1.
    schedule
        abar_t is the sigmoid of its log-SNR at t / T.
    """

    classes: int
    steps: int = 1000
    schedule: CosineSchedule = field(default_factory=CosineSchedule)

    def __post_init__(self) -> None:
        if self.classes < 2 or self.steps < 1:
            raise ConfigError(f"labels need at least 2 classes and 1 step, got {self.classes} and {self.steps}")

    def log_alpha_bar(self, t: Tensor) -> Tensor:
        """log abar at integer timesteps ``t``, float64, shaped like ``t``; 0 at -1, where labels are clean."""
        log_snr = self.schedule.log_snr(t.double().clamp_min(0) / self.steps)
        return torch.where(t < 0, 0.0, F.logsigmoid(log_snr))

    def log_one_hot(self, labels: Tensor) -> Tensor:
        """Logarithm of one-hot rows ``(n, K, h, w)`` of class ids ``(n, h, w)``."""
        ones = F.one_hot(labels, self.classes).movedim(-1, 1).bool()
        return torch.where(ones, 0.0, _LOG_ZERO)

    def _mixed(self, log_p: Tensor, log_keep: Tensor) -> Tensor:
        """log(keep p + (1 - keep) / K), where ``log_keep`` ``(n,)`` is at most 0."""
        # expm1 keeps the digits of 1 - keep where keep is nearly 1; the clamp keeps its logarithm finite at 1.
        log_rest = torch.log(-torch.expm1(log_keep.clamp_max(-1e-12))) - math.log(self.classes)
        keep, rest = (v.to(log_p)[:, None, None, None] for v in (log_keep, log_rest))
        return torch.logaddexp(log_p + keep, rest.expand_as(log_p))

    def marginal(self, log_x0: Tensor, t: Tensor) -> Tensor:
        """log q(x_t | x_0), ``(n, K, h, w)``, at timesteps ``t`` ``(n,)``."""
        return self._mixed(log_x0, self.log_alpha_bar(t))

    def posterior(self, log_x0: Tensor, labels: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """log q(x_s | x_t, x_0), normalised, ``(n, K, h, w)``.

        Parameters
        ----------
        log_x0
            Log-probabilities of the clean classes: one-hot, or what a network makes of them (Hoogeboom et al.,
            equation 13 with the estimate in place of x_0).
        labels
            x_t, int64 ``(n, h, w)``.
        t, s
            ``(n,)`` with s <= t; s = -1 gives x_0 itself.
        """
        back = self._mixed(self.log_one_hot(labels).to(log_x0), self.log_alpha_bar(t) - self.log_alpha_bar(s))
        joint = back + self._mixed(log_x0, self.log_alpha_bar(s))
        clean = (s < 0).to(joint.device)[:, None, None, None]
        return torch.where(clean, log_x0, joint).log_softmax(1)

    def noise(self, labels: Tensor, t: Tensor, uniform: Tensor) -> Tensor:
        """x_t ``(n, h, w)`` of clean labels, with uniform noise ``(n, K, h, w)``."""
        return sample_classes(self.marginal(self.log_one_hot(labels), t), uniform)

    def loss(self, logits: Tensor, clean: Tensor, noised: Tensor, t: Tensor) -> Tensor:
        """Bound on the likelihood in bits per dimension, ``(n,)``, each from one timestep ``t``.

        ``T KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))`` for t > 0, ``-T log p(x_0)`` at t = 0, and the constant
        ``KL(q(x_T) || uniform)``, over ``ln 2`` and the ``K h w`` dimensions (Hoogeboom et al., equation 15).

        Parameters
        ----------
        logits
            The network's, ``(n, K, h, w)``.
        clean, noised
            x_0 and x_t, int64 ``(n, h, w)``.
        """
        log_clean = self.log_one_hot(clean)
        # In fp32: bf16 has too few digits for a difference of logarithms.
        log_estimate = logits.float().log_softmax(1)
        true = self.posterior(log_clean, noised, t, t - 1)
        model = self.posterior(log_estimate, noised, t, t - 1)
        divergence = (true.exp() * (true - model)).flatten(1).sum(1)
        likelihood = log_estimate.gather(1, clean[:, None]).flatten(1).sum(1)
        # One timestep stands for the sum over all T: its term counts T times.
        term = torch.where((t == 0).to(logits.device), -likelihood, divergence)
        return (self.steps * term + self.prior_divergence(log_clean)) / (math.log(2) * log_clean[0].numel())

    def prior_divergence(self, log_x0: Tensor) -> Tensor:
        """KL(q(x_{T-1} | x_0) || uniform) per sample in nats, ``(n,)``."""
        last = self.marginal(log_x0, torch.full((len(log_x0),), self.steps - 1))
        return (last.exp() * (last + math.log(self.classes))).flatten(1).sum(1)


def sample_classes(log_p: Tensor, uniform: Tensor) -> Tensor:
    """Class ids ``(n, h, w)`` drawn from log-probabilities ``(n, K, h, w)`` by the Gumbel-max rule.

    ``uniform`` in [0, 1) is all the randomness there is, so that whoever draws it decides what depends on what.

    Examples
    --------
    >>> certain = torch.tensor([0.0, -70.0]).reshape(1, 2, 1, 1)
    >>> sample_classes(certain, torch.full((1, 2, 1, 1), 0.5))
    tensor([[[0]]])
    """
    # Both ends are cut off: -log(-log(u)) is infinite at 0 and at 1, which fp32 rounds to.
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 6e-8)))
    return (log_p + gumbel.to(log_p)).argmax(1)
