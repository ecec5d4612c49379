"""What networks that segment in one pass have in common, and the fine-tuned denoiser among them (method D).

Such a network is a `DenseNetwork`: a module from images ``(n, 3, h, w)`` in [-1, 1] to a `DenseOutput`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wsinuc.models.networks.norm import GroupNorm


def without_rim(x: Tensor, rim: int) -> Tensor:
    """``(..., h, w)`` without so many pixels on every side."""
    return x[..., rim : x.shape[-2] - rim, rim : x.shape[-1] - rim]


class DenseOutput(NamedTuple):
    """Raw outputs for every pixel that is left, ``h' = h - 2 * lost``."""

    classes: Tensor
    """``(n, 1 + classes, h', w')`` logits of background and classes."""
    maps: Tensor
    """``(n, maps, h', w')``: the distance to the border, or H and V."""
    nuclei: Tensor | None = None
    """``(n, 2, h', w')`` logits of background and nucleus, of networks that tell them apart from the classes."""

    def without(self, rim: int) -> DenseOutput:
        """The same without so many pixels on every side."""
        nuclei = None
        if self.nuclei is not None:
            nuclei = without_rim(self.nuclei, rim)
        return DenseOutput(without_rim(self.classes, rim), without_rim(self.maps, rim), nuclei)

    def float(self) -> DenseOutput:
        """The same in fp32."""
        classes = self.classes.float()
        maps = self.maps.float()
        if self.nuclei is None:
            return DenseOutput(classes, maps)
        # HoVer-Net of one class has the same logits twice: they stay one tensor.
        if self.nuclei is self.classes:
            nuclei = classes
        else:
            nuclei = self.nuclei.float()
        return DenseOutput(classes, maps, nuclei)


class DenseNetwork(nn.Module):
    """Images ``(n, 3, h, w)`` in [-1, 1] to a `DenseOutput`; abstract."""

    lost: int = 0
    """Pixels that unpadded convolutions cost on each side."""

    def forward(self, x: Tensor) -> DenseOutput:
        raise NotImplementedError

    def inner(self, x: Tensor, drop: int) -> DenseOutput:
        """What ``forward`` says of the pixels that lie ``drop``, at least ``lost``, or more from every edge.

        A network may leave out what only the others need; the last bits may differ then.
        """
        whole: DenseOutput = self(x)
        return whole.without(drop - self.lost)


class FinetunedDenoiser(DenseNetwork):
    """A denoiser as a segmenter: its body at t = 0, and a new head in place of the one that predicts noise.

    Method D's second stage (Purma et al. 2025): all weights but the head come from pre-training,
    all are trained. Unlike the code published with it, input lies in [-1, 1] in both stages. The
    maps beside the classes are ours: method D knows no instances.

    Parameters
    ----------
    denoiser
        The network to take over, ``(images, timesteps) -> noise``; its ``head`` is replaced.
    classes
        Outputs for classes, with background.
    maps
        Outputs for separation.
    """

    def __init__(self, denoiser: nn.Module, classes: int, maps: int) -> None:
        super().__init__()
        self.classes = classes
        # The last convolution's inputs are the body's outputs, whatever stands around it in the head.
        noise_head = denoiser.get_submodule("head")
        width = [part for part in noise_head.modules() if isinstance(part, nn.Conv2d)][-1].in_channels
        denoiser.head = nn.Sequential()  # hands on what it gets
        self.denoiser = denoiser
        self.head = nn.Sequential(
            GroupNorm(math.gcd(32, width), width), nn.SiLU(), nn.Conv2d(width, classes + maps, 3, padding=1)
        )

    def forward(self, x: Tensor) -> DenseOutput:
        # Method D fine-tunes with t fixed to 0.
        t = torch.zeros(len(x), dtype=torch.long, device=x.device)
        raw = self.head(self.denoiser(x, t))
        return DenseOutput(raw[:, : self.classes], raw[:, self.classes :])
