"""The attention U-Net of method D and the denoisers that checkpoints hold."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.checkpoints.denoisers import build_denoiser, denoiser_config, load_denoiser
from wsinuc.models.diffusion.schedules import quadratic_betas
from wsinuc.models.networks.attention_unet import AttentionUNet, AttentionUNetConfig, FullAttention, LinearAttention
from wsinuc.models.networks.unet import UNet, UNetConfig

TINY = AttentionUNetConfig(dim=16, multipliers=(1, 2, 4), heads=2, head_width=8)
TINY_UNET = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=())


def test_the_published_network_has_its_size_and_cost() -> None:
    with torch.device("meta"):
        network = AttentionUNet(AttentionUNetConfig())
        with FlopCounterMode(display=False) as counter:
            out = network(torch.zeros(1, 3, 256, 256), torch.zeros(1, dtype=torch.long))
    assert out.shape == (1, 3, 256, 256)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(31.27, abs=0.005)
    assert counter.get_total_flops() / 1e9 == pytest.approx(152, abs=0.5)
    assert network.stem.out_channels == 42


def test_linear_attention_is_its_formula() -> None:
    """Position by position: softmax over the width of queries, over the positions of keys."""
    torch.manual_seed(0)
    module, x = LinearAttention(8, heads=2, width=4).double(), torch.randn(1, 8, 2, 3, dtype=torch.float64)
    q, k, v = module.qkv(module.norm(x)).reshape(3, 2, 4, 6).unbind(0)
    mixed = torch.zeros(2, 4, 6, dtype=torch.float64)
    for head in range(2):
        weights = k[head].softmax(1)
        for i in range(6):
            query = q[head, :, i].softmax(0) / 2
            for j in range(6):
                mixed[head, :, i] += (query @ weights[:, j]) * v[head, :, j]
    expected = x + module.norm_out(module.out(mixed.reshape(1, 8, 2, 3)))
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("kind", [FullAttention, LinearAttention])
def test_attention_learns_as_its_convolutions_would(kind: type[FullAttention]) -> None:
    """Written with the 1x1 convolutions that its weights are of, every gradient is the same."""
    torch.manual_seed(0)
    module = kind(8, heads=2, width=4).double()
    x = torch.randn(2, 8, 4, 6, dtype=torch.float64, requires_grad=True)
    q, k, v = module.qkv(module.norm(x)).reshape(2, 3, 2, 4, 24).unbind(1)
    if kind is LinearAttention:
        mixed = v @ k.softmax(-1).transpose(-1, -2) @ q.softmax(-2) / 2
        said = module.norm_out(module.out(mixed.reshape(2, 8, 4, 6)))
    else:
        mixed = v @ (k.transpose(-1, -2) @ q / 2).softmax(-2)
        said = module.out(mixed.reshape(2, 8, 4, 6))
    learned = [x, *module.parameters()]
    expected = torch.autograd.grad((x + said).pow(3).sum(), learned)
    torch.testing.assert_close(torch.autograd.grad(module(x).pow(3).sum(), learned), expected)


@pytest.mark.parametrize("network", [AttentionUNet(TINY), UNet(TINY_UNET)], ids=["attention_unet", "unet"])
def test_features_are_what_the_head_reads(network: AttentionUNet | UNet) -> None:
    x, t = torch.randn(2, 3, 16, 24), torch.tensor([0, 500])
    features = network.features(x, t)
    assert features.shape == (2, network.head_channels, 16, 24)
    torch.testing.assert_close(network.head(features), network(x, t))
    network.head = nn.Conv2d(network.head_channels, 7, 1)  # what fine-tuning does
    assert network(x, t).shape == (2, 7, 16, 24)


def test_the_timestep_and_the_deepest_level_matter() -> None:
    torch.manual_seed(0)
    network, x = AttentionUNet(dataclasses.replace(TINY, conv_std=None)), torch.randn(1, 3, 16, 16)
    early, late = network(x, torch.tensor([0])), network(x, torch.tensor([900]))
    assert not torch.allclose(early, late, atol=1e-3)
    nn.init.zeros_(network.middle_second.second.norm.weight)
    assert not torch.allclose(network(x, torch.tensor([0])), early, atol=1e-4)


def test_first_weights_are_drawn_as_asked() -> None:
    torch.manual_seed(0)
    usual, released = AttentionUNet(TINY), AttentionUNet(dataclasses.replace(TINY, norm_std=0.01))
    assert float(usual.encoder[2].second.first.conv.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert bool((usual.last.first.norm.weight == 1).all())
    gains = torch.cat([m.weight for m in released.modules() if isinstance(m, nn.GroupNorm)])
    assert float(gains.detach().std()) == pytest.approx(0.01, rel=0.15)
    assert AttentionUNet(dataclasses.replace(TINY, conv_std=None)).head.weight.std() > 0.03


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 8"):
        AttentionUNetConfig(dim=20)
    with pytest.raises(ConfigError, match="two levels"):
        AttentionUNetConfig(multipliers=(1,))
    with pytest.raises(ConfigError, match=r"multiples of 4.*\(18, 16\)"):
        AttentionUNet(TINY)(torch.zeros(1, 3, 18, 16), torch.tensor([0]))


@pytest.mark.parametrize("network", [AttentionUNet(TINY), UNet(TINY_UNET)], ids=["attention_unet", "unet"])
def test_denoisers_survive_their_checkpoint(network: nn.Module) -> None:
    config = denoiser_config(network) | {"betas": "quadratic", "mpp": 0.25, "learned_variance": False}
    stored = Checkpoint(kind="denoiser", config=config, provenance={}, tensors=network.state_dict())
    loaded, process = load_denoiser(stored)
    assert type(loaded) is type(network)
    assert loaded.config == network.config
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())
    torch.testing.assert_close(process.betas, quadratic_betas(1000))
    assert not loaded.training


def test_denoisers_of_another_making_are_refused() -> None:
    network = UNet(TINY_UNET)
    config = denoiser_config(network)
    assert isinstance(build_denoiser({"unet": config["unet"]}), UNet)  # checkpoints older than the choice
    with pytest.raises(CheckpointError, match=r"network 'vit'.*unet, attention_unet"):
        build_denoiser(config | {"network": "vit"})
    with pytest.raises(CheckpointError, match=r"does not fit this version.*heads"):
        build_denoiser(config | {"network": "attention_unet"})
    with pytest.raises(CheckpointError, match="is no denoiser"):
        denoiser_config(nn.Linear(2, 2))
    short = dict(list(network.state_dict().items())[1:])
    with pytest.raises(CheckpointError, match="do not fit their own header"):
        load_denoiser(Checkpoint(kind="denoiser", config=config, provenance={}, tensors=short))
    with pytest.raises(CheckpointError, match=r"noise is unknown.*'sqrt'"):
        load_denoiser(
            Checkpoint(kind="denoiser", config=config | {"betas": "sqrt"}, provenance={}, tensors=network.state_dict())
        )
