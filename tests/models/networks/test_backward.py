"""Forms of PyTorch's operations that learn faster on a CPU: they say the same, and gradients reach the slow kernels in
no form that these are slow with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from wsinuc.models.networks.attention_unet import AttentionUNet, AttentionUNetConfig
from wsinuc.models.networks.backward import TransposedConv, joined
from wsinuc.models.networks.spade_unet import SpadeUNet, SpadeUNetConfig
from wsinuc.models.networks.supervised_unet import SupervisedUNet, SupervisedUNetConfig
from wsinuc.models.networks.unet import UNet, UNetConfig

TINY = {"base": 32, "multipliers": (1, 2), "res_blocks": 1, "attention_factors": (), "middle_attention": False}
SPADE = SpadeUNetConfig(**TINY, spade_width=8)
CONDITION = torch.ones(2, SPADE.condition_channels, 16, 16)
T = torch.zeros(2, dtype=torch.long)
DENSE = {"classes": 2, "maps": 1, "base": 8, "levels": 3}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, Tensor], Tensor]]] = {
    "unet": (lambda: SupervisedUNet(SupervisedUNetConfig(**DENSE)), lambda network, x: network(x).classes),
    "smooth": (
        lambda: SupervisedUNet(SupervisedUNetConfig(**DENSE, smooth=True)),
        lambda network, x: network(x).classes,
    ),
    "denoiser": (lambda: UNet(UNetConfig(**TINY)), lambda network, x: network.features(x, T)),
    "attention": (
        lambda: AttentionUNet(AttentionUNetConfig(dim=16, multipliers=(1, 2, 4), heads=2, head_width=8)),
        lambda network, x: network.features(x, T),
    ),
    "spade": (lambda: SpadeUNet(SPADE), lambda network, x: network(x, T, CONDITION)),
}
"""How each is built, and what it says of images."""


class SlowForms(TorchDispatchMode):
    """Names of operations that were given what they are slow with."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if "convolution_backward" in name and args[7] and args[10][2]:
            self.seen.append("bias of a transposed convolution")
        if "_backward" in name and args[0].ndim == 4 and has_gaps(args[0]):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def has_gaps(x: Tensor) -> bool:
    """Whether other numbers lie between those of a tensor that is no mere repetition."""
    spans = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return spans + 1 > x.numel()


@pytest.mark.parametrize("name", NETWORKS)
def test_no_gradient_reaches_a_slow_kernel(name: str) -> None:
    build, outputs = NETWORKS[name]
    torch.manual_seed(0)
    network = build().to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last)
    loss = outputs(network, x).square().sum()
    with SlowForms() as mode:
        loss.backward()
    assert not mode.seen


@pytest.mark.parametrize(("kernel", "padding"), [(2, 0), (4, 1)])
def test_a_transposed_convolution_is_that_of_pytorch(kernel: int, padding: int) -> None:
    torch.manual_seed(0)
    plain = nn.ConvTranspose2d(6, 4, kernel, stride=2, padding=padding)
    ours = TransposedConv(6, 4, kernel, stride=2, padding=padding)
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, 5, 7, requires_grad=True)
    torch.testing.assert_close(ours(x), plain(x))
    found, expected = (torch.autograd.grad(form(x).square().sum(), [x, *form.parameters()]) for form in (ours, plain))
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        assert torch.equal(ours(x), plain(x))


def test_what_is_joined_is_what_cat_says() -> None:
    parts = [torch.randn(2, c, 3, 4).to(memory_format=torch.channels_last).requires_grad_() for c in (2, 5)]
    assert torch.equal(joined(*parts), torch.cat(parts, 1))
    found, expected = (
        torch.autograd.grad(form.square().sum(), parts) for form in (joined(*parts), torch.cat(parts, 1))
    )
    assert all(map(torch.equal, found, expected))


def test_parts_of_two_precisions_are_joined_and_learned() -> None:
    one = torch.randn(1, 2, 3, 3, requires_grad=True)
    other = torch.randn(1, 2, 3, 3).bfloat16().requires_grad_()
    grads = torch.autograd.grad(joined(one, other).sum(), [one, other])
    assert [each.dtype for each in grads] == [torch.float32, torch.bfloat16]
