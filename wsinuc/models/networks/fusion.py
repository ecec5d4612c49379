"""Batch normalisation that is done by the convolution before it.

Once trained it is a scale and a shift per channel, which the convolution's own weights and bias can
do: the same result up to rounding, without writing and reading every activation once more.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wsinuc.models.devices import on_device

Network = TypeVar("Network", bound=nn.Module)


def fuse_norms(network: nn.Module) -> None:
    """Replace, in place, every convolution that a batch normalisation follows in a ``Sequential``;
    for trained networks."""
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for (name, layer), (after, norm) in pairwise(list(module.named_children())):
            # Only a norm behind its convolution can be fused: before it, padding would see the shift as well.
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer.eval(), norm.eval()))
                # Keeps the numbers, and so the names, of what follows.
                setattr(module, after, nn.Identity())


def for_inference(network: Network, *, device: torch.device, dtype: torch.dtype) -> Network:
    """A trained network, changed in place, as it predicts: its norms fused, frozen, on ``device``, in ``dtype``.

    Batch normalisation that no convolution takes over stays fp32.
    """
    # Before the type is changed: folding norms into convolutions is done in fp32.
    fuse_norms(network)
    on_device(network, device, dtype)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.float()  # a bf16 variance has three digits
    return network.eval().requires_grad_(False)
