"""The Attention U-Net: gates by the paper's equations and count, an open gate is none, and how far a pixel matters."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from wsinuc.models.networks.attention_gate import AttentionGate
from wsinuc.models.networks.by_name import build_network, default_tiling
from wsinuc.models.networks.supervised_unet import SupervisedUNet, SupervisedUNetConfig, gated_reach


def parameters(module: torch.nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def test_a_gate_is_what_the_equations_say() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(3, 5, 4)
    x, gating = torch.randn(1, 3, 4, 6), torch.randn(1, 5, 2, 3)
    w_x, w_g = gate.of_features.weight[:, :, 0, 0], gate.of_gating.weight[:, :, 0, 0]
    q = torch.einsum("ic,nchw->nihw", w_x, x[..., ::2, ::2]) + torch.einsum("ic,nchw->nihw", w_g, gating)
    q = torch.relu(q + gate.of_gating.bias[:, None, None])
    alpha = torch.sigmoid(torch.einsum("i,nihw->nhw", gate.weight.weight[0, :, 0, 0], q) + gate.weight.bias)
    alpha = torch.nn.functional.interpolate(alpha[:, None], size=(4, 6), mode="bilinear")
    torch.testing.assert_close(gate(x, gating), x * alpha)


@pytest.mark.parametrize(("base", "levels"), [(4, 3), (32, 4), (64, 5)])
def test_parameters_are_those_of_the_unet_and_of_the_papers_gates(base: int, levels: int) -> None:
    config = SupervisedUNetConfig(classes=6, maps=1, base=base, levels=levels)
    with torch.device("meta"):
        plain, gated = SupervisedUNet(config), SupervisedUNet(config, gated=True)
    # F_l = F_int at each level but the finest, which is not gated, and the coarsest, which has no skip; F_g = 2 F_l.
    widths = [base * 2**level for level in range(1, levels - 1)]
    assert len(gated.gates) == levels - 2
    # W_x, W_g with b_g, and psi with b_psi.
    by_the_paper = sum(3 * w * w + 2 * w + 1 for w in widths)
    assert parameters(gated.gates) == parameters(gated) - parameters(plain) == by_the_paper


def test_open_gates_are_the_plain_unet_and_shut_ones_leave_the_finest_skip() -> None:
    shape = {"classes": 3, "maps": 1, "base": 4, "levels": 4}
    torch.manual_seed(0)
    plain, gated = (build_network(name, shape).eval() for name in ("unet", "attention-unet"))
    gated.load_state_dict(plain.state_dict(), strict=False)
    x = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        for gate in gated.gates:
            gate.weight.bias.fill_(100.0)
        torch.testing.assert_close(gated(x).classes, plain(x).classes)
        for gate in gated.gates:
            gate.weight.bias.fill_(-100.0)
        assert (gated(x).classes - plain(x).classes).abs().max() > 1e-4


@pytest.mark.parametrize("drop", [0, 7, 24])
def test_the_inner_part_is_that_of_the_whole(drop: int) -> None:
    torch.manual_seed(0)
    network = build_network("attention-unet", {"classes": 3, "maps": 1, "base": 4, "levels": 4}).eval()
    x = torch.rand(1, 3, 96, 144) * 2 - 1
    found, expected = network.inner(x, drop), network(x)
    kept = expected.classes[..., drop : 96 - drop, drop : 144 - drop]
    torch.testing.assert_close(found.classes, kept, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fold", [2])
def test_tiles_have_the_margin_that_the_reach_asks_for(fold: int) -> None:
    config = SupervisedUNetConfig(classes=2, maps=1, base=2, levels=3, fold=fold)
    network = SupervisedUNet(config, gated=True).double().eval()
    network.pool = torch.nn.AvgPool2d(2)  # passes on every pixel, not the largest alone
    for name, parameter in network.named_parameters():
        torch.nn.init.constant_(parameter, 1.0 if name.endswith("1.weight") and parameter.ndim == 1 else 0.01)
    farthest = 0
    for middle in range(64, 64 + config.stride):
        x = torch.rand(1, 3, 160, 160, dtype=torch.double, requires_grad=True)
        network(x).classes[0, 0, middle, middle].backward()
        seen = x.grad.abs().sum((0, 1)).nonzero()
        farthest = max(farthest, int((seen - middle).abs().max()))
    assert config.reach < farthest <= gated_reach(config)
    tile, margin = default_tiling("attention-unet", asdict(config))
    assert margin >= gated_reach(config)
    assert margin % config.stride == tile % config.stride == (tile - 2 * margin) % 64 == 0
