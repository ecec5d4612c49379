"""Losses of networks that put out class logits and maps for every pixel.

All work on raw outputs in fp32 (or fp64, in which tests compare them with closed forms) and return a scalar. Class
targets are ``(n, h, w)`` int64; pixels of target `IGNORE` teach nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wsinuc.errors import ConfigError

IGNORE = -1
"""Class target of pixels whose class is not known."""

SIMILARITY_FORMS = ("pixel", "scalar")
"""Forms of `structural_similarity_loss`: as the loss is defined, and as method D's code has it."""


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean over pixels of ``-(1 - p_y)^gamma log p_y`` (Lin et al. 2017; method D has gamma 2).

    Parameters
    ----------
    logits
        ``(n, classes, h, w)``; log p comes from log-softmax, which stays finite where p itself rounds to 0.
    target
        int64 ``(n, h, w)``; pixels of `IGNORE` teach nothing.

    Examples
    --------
    >>> logits = torch.zeros(1, 2, 1, 1)
    >>> round(float(focal_loss(logits, torch.zeros(1, 1, 1, dtype=torch.long))), 4)  # (1 / 2)^2 log 2
    0.1733
    """
    known = target != IGNORE
    log_p = F.log_softmax(logits, 1).gather(1, target.clamp_min(0)[:, None])[:, 0]
    # exp of a log-probability may round to a little above 1, and a power of a negative number is NaN.
    return _mean((1 - log_p.exp()).clamp_min(0).pow(gamma) * -log_p, known)


def cross_entropy(logits: Tensor, target: Tensor, importance: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the pixels of known class; 0 where there is none.

    Parameters
    ----------
    logits
        ``(n, classes, h, w)``.
    target
        int64 ``(n, h, w)``; pixels of `IGNORE` teach nothing.
    importance
        ``(n, h, w)`` weights of the pixels; None weights them alike.

    Examples
    --------
    >>> target = torch.tensor([[[0, IGNORE]]])
    >>> round(float(cross_entropy(torch.zeros(1, 2, 1, 2), target)), 4)  # log 2
    0.6931
    """
    known = target != IGNORE
    where = known if importance is None else known * importance
    return _mean(F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none"), where)


def soft_cross_entropy(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Mean over pixels of ``-sum_c q_c log p_c``, q the probabilities that a teacher gives (Hinton
    et al. 2015 at temperature 1).

    Parameters
    ----------
    logits, probabilities
        ``(n, classes, h, w)``; probabilities sum to 1 over the classes.
    """
    return F.cross_entropy(logits, probabilities)


def structural_similarity_loss(
    logits: Tensor, target: Tensor, *, form: str = "pixel", beta: float = 0.1, constant: float = 0.01
) -> Tensor:
    """Cross-entropy weighted by how far prediction and annotation differ in structure (Zhao et al. 2019; method D).

    For each image and class, ``e = |(y - mean y + C) / (std y + C) - (p - mean p + C) / (std p + C)|`` with mean and
    standard deviation over the image; only pixels with ``e > beta * max e`` count: sum(e f CE) / sum(f).

    Parameters
    ----------
    form
        ``pixel`` weights each pixel's own cross-entropy, as the loss is defined; ``scalar`` its mean over the batch, as
        method D's code has it.
    beta, constant
        The threshold, and C of the equation.
    """
    if form not in SIMILARITY_FORMS:
        raise ConfigError(f"the structural-similarity loss has the forms {', '.join(SIMILARITY_FORMS)}, got {form!r}")
    known = (target != IGNORE)[:, None]
    truth = F.one_hot(target.clamp_min(0), logits.shape[1]).permute(0, 3, 1, 2).to(logits.dtype)
    error = (_standardised(truth, known, constant) - _standardised(logits.softmax(1), known, constant)).abs() * known
    differing = (error > beta * error.amax((2, 3), keepdim=True)).to(logits.dtype)
    if form == "scalar":
        entropy = cross_entropy(logits, target)
    else:
        entropy = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")[:, None]
    return (error * differing * entropy).sum() / differing.sum().clamp_min(1)


def _standardised(values: Tensor, known: Tensor, constant: float) -> Tensor:
    """(x - mean + C) / (std + C) of each image and channel, over the known pixels."""
    count = known.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (values * known).sum((2, 3), keepdim=True) / count
    variance = ((values - mean).square() * known).sum((2, 3), keepdim=True) / count
    # The root's slope at 0 is infinite: a constant map, as a fresh network puts out, would give NaN gradients.
    return (values - mean + constant) / (variance.clamp_min(1e-12).sqrt() + constant)


def soft_dice_loss(probabilities: Tensor, target: Tensor, smooth: float = 1e-3) -> Tensor:
    """``1 - (2 sum(p y) + smooth) / (sum p + sum y + smooth)`` over batch and pixels, mean over the channels.

    Parameters
    ----------
    probabilities
        ``(n, classes, h, w)``.
    """
    known = (target != IGNORE)[:, None]
    truth = F.one_hot(target.clamp_min(0), probabilities.shape[1]).permute(0, 3, 1, 2) * known
    p = probabilities * known
    both = (p * truth).sum((0, 2, 3))
    either = p.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return (1 - (2 * both + smooth) / (either + smooth)).mean()


def gradient_kernels(dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """``(2, 1, 5, 5)``: x / (x^2 + y^2), which responds to change along x (columns), and y / (x^2 +
    y^2), along y (rows).

    A ramp of slope 1 along the own axis gives 12, along the other 0. The code published with HoVer-Net has the two
    exchanged.
    """
    steps = torch.arange(-2, 3, dtype=dtype, device=device)
    # "ij": y varies along rows, which the published code mixes up.
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    # 1 in the middle, where the numerator is 0.
    square = (x.square() + y.square()).clamp_min(1)
    return torch.stack([x / square, y / square])[:, None]


def gradient_loss(maps: Tensor, truth: Tensor, nuclei: Tensor) -> Tensor:
    """Mean squared error of dH/dx and of dV/dy inside nuclei (HoVer-Net's MSGE).

    Parameters
    ----------
    maps, truth
        ``(n, 2, h, w)``: H, then V.
    nuclei
        bool ``(n, h, w)``.
    """
    slope = F.conv2d(maps - truth, gradient_kernels(maps.dtype, maps.device), padding=2, groups=2)
    return _mean(slope.square(), nuclei[:, None].expand_as(slope))


def map_loss(maps: Tensor, truth: Tensor, nuclei: Tensor, importance: Tensor | None = None) -> Tensor:
    """Mean squared error of maps ``(n, m, h, w)``, weighted by the importance of pixels ``(n, h, w)``.

    H and V (two maps) mean nothing outside nuclei and count inside only; a distance is 0 outside and counts everywhere.

    Parameters
    ----------
    maps, truth
        ``(n, 2, h, w)`` H and V, or ``(n, 1, h, w)`` the distance.
    nuclei
        bool ``(n, h, w)``.
    importance
        ``(n, h, w)`` weights of the pixels; None weights them alike.
    """
    error = (maps - truth).square()
    if maps.shape[1] == 2:
        weights = nuclei
    else:
        weights = torch.ones_like(nuclei)
    if importance is not None:
        weights = weights * importance
    return _mean(error, weights[:, None].expand_as(error))


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the values at chosen places; 0, still differentiable, where there is none."""
    return (values * where).sum() / where.sum().clamp_min(1)
