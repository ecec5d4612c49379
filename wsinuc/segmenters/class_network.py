"""A small network that says at every place what kind of nucleus lies there, beside any segmenter.

It decides nothing about outlines. Where a nucleus is, the mean of its map over the nucleus' pixels is
one more thing that is known of it (`wsinuc.nuclei.describe`), and the one that knows its surroundings:
whether a pale nucleus lies in a gland or in a fibre is seen in what is around it.

It sees the slide at half the resolution of the segmenter: what tells kinds of nuclei apart is not lost
by that, and a quarter of the pixels costs a quarter of the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wsinuc.grid import ceil_div
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.checkpoints.weights import load_weights
from wsinuc.models.networks.fusion import for_inference
from wsinuc.models.networks.supervised_unet import SupervisedUNet, SupervisedUNetConfig
from wsinuc.models.pixels import to_network

ClassWeights = tuple[dict[str, Any], dict[str, Tensor]]
"""Shape of a network of classes, as a header has it, and its weights."""
HALF = 2
"""Pixels of the segmenter that are one of the network's."""


class ClassNetwork:
    """Pixels to maps of the classes.

    Parameters
    ----------
    network
        One output for each class and none else.
    device, dtype
        Where it runs, and the type of its weights.
    """

    def __init__(self, network: SupervisedUNet, *, device: torch.device, dtype: torch.dtype) -> None:
        self.network = for_inference(network, device=device, dtype=dtype)
        self.device = device
        self.dtype = dtype

    @classmethod
    def from_tensors(
        cls, shape: dict[str, Any], tensors: dict[str, Tensor], *, device: torch.device, dtype: torch.dtype
    ) -> ClassNetwork:
        """The network of a checkpoint's header with the checkpoint's weights; raises CheckpointError."""
        network = load_weights(lambda: build_class_network(shape), tensors)
        return cls(network, device=device, dtype=dtype)

    @property
    def classes(self) -> int:
        """Number of its maps."""
        return self.network.config.classes

    @torch.inference_mode()
    def maps(self, pixels: NDArray[np.uint8], margin: int) -> NDArray[np.uint8]:
        """Probabilities of the classes on the inner pixels of tiles.

        Parameters
        ----------
        pixels
            RGB uint8 ``(n, h, w, 3)``, in the colours that the network was trained in.
        margin
            Pixels on every side that are looked at and not answered for.

        Returns
        -------
        uint8 ``(n, classes, h - 2 * margin, w - 2 * margin)``, 255 = certain.
        """
        height, width = pixels.shape[1:3]
        step = HALF * self.network.config.stride
        missing = [(0, ceil_div(side, step) * step - side) for side in (height, width)]
        if missing != [(0, 0), (0, 0)]:
            pixels = np.pad(pixels, [(0, 0), *missing, (0, 0)], mode="symmetric")
        seen = halved(to_network(pixels, self.device)).to(self.dtype)
        # In fp32 from here on, so that levels of 1 / 255 are decided alike on every device.
        probabilities = class_probabilities(self.network, seen, margin // HALF)
        levels = probabilities.mul_(255).round_().to(torch.uint8).cpu().numpy()
        whole = levels.repeat(HALF, axis=2).repeat(HALF, axis=3)
        # A margin may be odd, and then begins in the middle of one of the network's pixels.
        first = margin % HALF
        rows = slice(first, first + height - 2 * margin)
        columns = slice(first, first + width - 2 * margin)
        return np.ascontiguousarray(whole[:, :, rows, columns])


def halved(images: Tensor) -> Tensor:
    """Images ``(n, c, h, w)`` at half their resolution: the mean of every 2 x 2 pixels."""
    return F.avg_pool2d(images, HALF)


def class_probabilities(network: SupervisedUNet, images: Tensor, drop: int) -> Tensor:
    """Probabilities of the classes ``(n, classes, h, w)``, fp32, of the pixels that lie ``drop`` or more inside."""
    return network.inner(images, drop).classes.float().softmax(1)


def class_network_shape(classes: int, *, base: int, levels: int) -> dict[str, Any]:
    """What a checkpoint's header says of a new network for so many classes."""
    return {"classes": classes, "maps": 0, "base": base, "levels": levels, "smooth": True, "fold": 2, "blur": 1}


def class_network_config(shape: dict[str, Any]) -> SupervisedUNetConfig:
    """The shape that a header describes; raises CheckpointError."""
    return from_header(SupervisedUNetConfig, shape)


def build_class_network(shape: dict[str, Any]) -> SupervisedUNet:
    """The network that a header describes, with random weights; raises CheckpointError."""
    return SupervisedUNet(class_network_config(shape))
