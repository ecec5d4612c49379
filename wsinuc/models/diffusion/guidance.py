"""Classifier-free guidance (Ho & Salimans 2022): the condition followed more closely than the training data does.

A network that was trained with and without its condition predicts both noises; where they differ is what the condition
has to say, and guidance says it louder::

    eps = (1 + w) eps_condition - w eps_nothing = eps_nothing + s (eps_condition - eps_nothing),   s = w + 1

Method B (Yu et al. 2023) writes w, and so does this module; its released code, and method C, write
s. So the paper's w = 2 is s = 3, and the released code, with s = 2, ran w = 1. w = 0 is the
condition alone, w = -1 none.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from wsinuc.errors import ConfigError
from wsinuc.models.diffusion.gaussian import Denoiser


def guided(network: Callable[[Tensor, Tensor, Tensor], Tensor], condition: Tensor, w: float) -> Denoiser:
    """The network with its condition put in, guided with method B's weight ``w``, as samplers take it.

    Both predictions come from one pass over a batch twice as large; with w = 0 it is one pass over
    the batch itself. Only the noise is guided: a learned variance is the conditional prediction's. The
    two are combined in the precision of the images, whatever the network computes in.

    Parameters
    ----------
    network
        ``(x, t, condition) -> prediction`` whose null condition is all zero.
    condition
        ``(n, c, h, w)``, one for each image of the batches that the denoiser will be given.
    w
        Finite, at least -1.

    Raises
    ------
    ConfigError
        ``w`` is out of range.
    """
    if not math.isfinite(w) or w < -1:
        raise ConfigError(f"guidance is a number from -1 (no condition) on, 0 is no guidance, got {w}")
    if w == 0:
        return lambda x, t: network(x, t, condition)
    both = torch.cat([condition, torch.zeros_like(condition)])

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        # Differences of half-precision numbers would be mostly rounding.
        conditional, free = network(torch.cat([x, x]), torch.cat([t, t]), both).to(x.dtype).chunk(2)
        channels = x.shape[1]
        eps = (1 + w) * conditional[:, :channels] - w * free[:, :channels]
        return torch.cat([eps, conditional[:, channels:]], dim=1)

    return denoise
