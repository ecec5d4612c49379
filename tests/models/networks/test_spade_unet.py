"""The network of method B's second stage, and its guidance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wsinuc.errors import ConfigError
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.guidance import guided
from wsinuc.models.diffusion.samplers import SamplerConfig, sample
from wsinuc.models.diffusion.schedules import linear_betas
from wsinuc.models.networks.norm import GroupNorm
from wsinuc.models.networks.spade_unet import Spade, SpadeUNet, SpadeUNetConfig
from wsinuc.models.networks.unet import Attention, ResBlock, UNet, UNetConfig

TINY = {"base": 32, "multipliers": (1, 2), "res_blocks": 1, "attention_factors": (), "middle_attention": False}
SHAPE = SpadeUNetConfig(**TINY, spade_width=8)


def awake(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with its zeroed layers filled, so that everything has an effect."""
    torch.manual_seed(seed)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return network.eval()


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return awake(SpadeUNet(SHAPE))


def inputs(n: int = 2, side: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return (
        torch.randn(n, 3, side, side, generator=g),
        torch.arange(n) * 100,
        torch.rand(n, 3, side, side, generator=g),
    )


@pytest.mark.parametrize(("base", "millions"), [(64, 59.6), (128, 188.0), (256, 652.1)])
def test_it_has_the_published_size(base: int, millions: float) -> None:
    with torch.device("meta"):
        network = SpadeUNet(SpadeUNetConfig(base=base, out_channels=6))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_middle_and_decoder_are_conditioned_and_the_encoder_is_not() -> None:
    with torch.device("meta"):
        network = SpadeUNet(SpadeUNetConfig())
    blocks = {name: m for name, m in network.named_modules() if isinstance(m, ResBlock)}
    spade = {name for name, m in blocks.items() if isinstance(m.norm_in, Spade) and isinstance(m.norm_out, Spade)}
    assert len(spade) == 25
    assert sum(isinstance(m, Spade) for m in network.modules()) == 50
    assert {name.split(".")[0] for name in spade} == {"middle", "decoder"}
    assert len(blocks) - len(spade) == 17
    assert any(isinstance(m, Attention) for m in network.encoder.modules())


def test_encoder_and_time_embedding_carry_the_names_of_the_plain_network() -> None:
    plain, conditioned = UNet(UNetConfig(**TINY)).state_dict(), SpadeUNet(SHAPE).state_dict()
    shared = {name for name, value in plain.items() if name in conditioned and conditioned[name].shape == value.shape}
    assert {name for name in plain if name.startswith(("encoder.", "time.", "stem."))} <= shared


def test_the_condition_steers_every_block_of_the_way_back(network: nn.Module) -> None:
    x, t, condition = inputs()
    condition.requires_grad_()
    network(x, t, condition).sum().backward()
    assert condition.grad is not None
    for name, module in network.named_modules():
        if isinstance(module, Spade):
            assert module.shared.weight.grad.any(), name
    assert not torch.equal(network(x, t, condition), network(x, t, torch.zeros_like(condition)))


def test_the_condition_acts_where_it_is() -> None:
    """A SPADE norm changes features near the changed pixels of the map only."""
    torch.manual_seed(0)
    norm, x = Spade(32, SHAPE), torch.randn(1, 32, 16, 16)
    condition = torch.zeros(1, 3, 16, 16)
    before = norm(x, {16: condition})
    condition[..., 3, 3] = 1
    changed = (norm(x, {16: condition}) != before).any(1)[0]
    assert changed[3, 3]
    assert not changed[6:].any()
    assert not changed[:, 6:].any()


def test_coarse_levels_see_the_nearest_pixels_of_the_map(network: nn.Module) -> None:
    condition = inputs()[2]
    maps = network._at_every_size(condition)
    assert sorted(maps) == [8, 16]
    assert torch.equal(maps[8], nn.functional.interpolate(condition, scale_factor=0.5, mode="nearest"))


def test_conditions_of_another_shape_are_refused(network: nn.Module) -> None:
    x, t, condition = inputs()
    for wrong in (condition[:1], condition[:, :2], condition[..., :8]):
        with pytest.raises(ConfigError, match="need a condition"):
            network(x, t, wrong)
    with pytest.raises(ConfigError, match="multiples of 2"):
        network(x[..., :15], t, condition[..., :15])


def test_a_norm_without_weights_has_the_gradient_of_torchs() -> None:
    x = torch.randn(2, 64, 4, 4, requires_grad=True)
    ours = GroupNorm(32, 64, affine=False).train()
    assert not list(ours.parameters())
    (gradient,) = torch.autograd.grad(ours(x).pow(3).sum(), x)
    (expected,) = torch.autograd.grad(nn.functional.group_norm(x, 32).pow(3).sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_guidance_of_zero_is_one_conditional_pass(network: nn.Module) -> None:
    x, t, condition = inputs()
    calls = []

    def counted(*arguments: Tensor) -> Tensor:
        calls.append(arguments)
        return network(*arguments)

    with torch.no_grad():
        assert torch.equal(guided(counted, condition, 0)(x, t), network(x, t, condition))
    assert [len(call[0]) for call in calls] == [2]


@pytest.mark.parametrize("w", [-1.0, 0.5, 2.0])
def test_guidance_is_the_papers_formula_and_the_codes_with_s_one_more(network: nn.Module, w: float) -> None:
    x, t, condition = inputs()
    with torch.no_grad():
        told, untold = network(x, t, condition), network(x, t, torch.zeros_like(condition))
        result = guided(network, condition, w)(x, t)
    torch.testing.assert_close(result, (1 + w) * told - w * untold)
    torch.testing.assert_close(result, untold + (w + 1) * (told - untold))
    if w == -1:
        torch.testing.assert_close(result, untold)


def test_guidance_is_computed_in_the_precision_of_the_images() -> None:
    """In half precision the guided noise would be rounded once more, twice as coarsely at w = 2."""
    x, condition = torch.randn(2, 3, 8, 8), torch.ones(2, 3, 8, 8)

    def network(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return (x * (1 + condition / 7)).bfloat16()

    expected = 3 * network(x, t := torch.zeros(2), condition).float() - 2 * network(x, t, 0 * condition).float()
    assert torch.equal(guided(network, condition, 2.0)(x, t), expected)


def test_both_passes_are_one_batch_and_nothing_is_all_zero() -> None:
    x, t, condition = inputs()
    seen = []
    guided(lambda *given: seen.append(given) or given[0], condition, 2.0)(x, t)
    ((images, steps, conditions),) = seen
    assert torch.equal(images, torch.cat([x, x]))
    assert torch.equal(steps, torch.cat([t, t]))
    assert torch.equal(conditions, torch.cat([condition, torch.zeros_like(condition)]))


def test_the_variance_is_the_conditional_predictions() -> None:
    x, t, condition = inputs()

    def network(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return torch.cat([x + condition, condition], dim=1)

    out = guided(network, condition, 2.0)(x, t)
    assert torch.equal(out[:, 3:], condition)
    torch.testing.assert_close(out[:, :3], x + 3 * condition)
    process = GaussianDiffusion(linear_betas(50))
    seeds, sampler = list(range(len(x))), SamplerConfig("ddpm", 50)
    shape = (x.shape[1], x.shape[2], x.shape[3])
    images = sample(process, guided(network, condition, 2.0), shape, seeds, sampler, device="cpu")
    assert images.shape == x.shape


@pytest.mark.parametrize("w", [-1.5, float("nan"), float("inf")])
def test_guidance_that_means_nothing_is_refused(w: float) -> None:
    with pytest.raises(ConfigError, match="guidance"):
        guided(lambda *given: given[0], torch.zeros(1, 3, 4, 4), w)
