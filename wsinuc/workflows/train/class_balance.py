"""How much pixels of each class of nuclei count, so that a rare class is learned and named, too.

A classifier that sees a class seldom learns above all that it is seldom, and names it nowhere. So what tells classes of
nuclei apart is learned as if rare classes were more frequent, while what tells nuclei from background is learned from
the frequencies that there are: the cross-entropy of a pixel is that of nucleus against background, plus that of its
class among nuclei, and only the second part is weighted.
"""

from __future__ import annotations

import torch
from torch import Tensor

HEAVIEST = 20.0
"""Largest weight beside that of the most frequent class: one nucleus among a thousand is an accident, not a class."""


def class_weights(wanted: Tensor, classes: int, balance: float) -> Tensor | None:
    """Weights of the classes ``(classes,)``, index 0 (background) 1; None where all weigh the same.

    Parameters
    ----------
    wanted
        Class of each row, 0 is background, negative is unknown.
    classes
        Background and the classes of nuclei.
    balance
        0 lets every pixel of a nucleus weigh the same, 1 every class that occurs; in between the weights are these to
        the power of it. The mean over the pixels of nuclei is 1.

    Examples
    --------
    >>> class_weights(torch.tensor([0, 1, 1, 1, 2]), 3, 1.0)
    tensor([1.0000, 0.6667, 2.0000])
    """
    counts = torch.bincount(wanted[wanted > 0], minlength=classes).double()
    occurring = counts > 0
    if balance == 0 or int(occurring.sum()) < 2 or bool((counts[occurring] == counts.max()).all()):
        return None
    relative = torch.where(occurring, counts.max() / counts.clamp_min(1), 1.0).pow(balance).clamp_max(HEAVIEST)
    weights = relative * counts.sum() / (relative * counts).sum()
    # Nobody weighs background: how many pixels are nucleus is not a matter of classes.
    weights[0] = 1.0
    return weights.float()


def class_surplus(logits: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """What the weights add to the cross-entropy of each row: its class's among nuclei, times weight less 1.

    Parameters
    ----------
    logits
        ``(..., classes)``, background first.
    wanted
        ``(...)`` class of each row; rows of background and of unknown class get 0.
    weights
        ``(classes,)`` of `class_weights`.
    """
    nuclei = wanted > 0
    named = (wanted - 1).clamp_min(0)
    among = logits[..., 1:].log_softmax(-1).gather(-1, named[..., None])[..., 0]
    return torch.where(nuclei, (1 - weights[named + 1]) * among, 0.0)
