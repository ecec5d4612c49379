"""CoSyn's network: its size as published, what it reads, what it ignores."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from helpers.training.cosyn import TINY
from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.checkpoints.cosyn import KIND, build_cosyn, network_config, read_cosyn
from wsinuc.models.conditioning.text import TextTokens
from wsinuc.models.diffusion.joint import JointPrediction, JointUnit
from wsinuc.models.networks.attention import PerceiverResampler
from wsinuc.models.networks.cosyn_blocks import Unfold, WideConv2d
from wsinuc.models.networks.cosyn_unet import CoSynConfig, CoSynUNet


@pytest.fixture(scope="module")
def network() -> CoSynUNet:
    torch.manual_seed(0)
    made = CoSynUNet(TINY)
    for parameter in made.parameters():  # heads and attention begin with zeros, which would hide everything
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return made.eval()


def unit(n: int = 2, side: int = 16) -> JointUnit:
    g = torch.Generator().manual_seed(3)
    label = torch.randint(0, 3, (n, side, side), generator=g)
    return JointUnit(torch.randn(n, 3, side, side, generator=g), torch.randn(n, 1, side, side, generator=g), label)


def points(n: int = 2, side: int = 16) -> torch.Tensor:
    empty = torch.zeros(n, side, side, dtype=torch.long)
    empty[:, 5, 5] = 2
    return empty


def text(*lengths: int, seed: int = 1) -> TextTokens:
    tokens = torch.randn(len(lengths), 6, 8, generator=torch.Generator().manual_seed(seed))
    return TextTokens(tokens, torch.arange(6)[None] < torch.tensor(lengths)[:, None])


@torch.no_grad()
def said(network: CoSynUNet, u: JointUnit, p: torch.Tensor, t: TextTokens | None, level: float = 0.0) -> torch.Tensor:
    out = network(u, torch.full((len(p),), level), p, t)
    return torch.cat([out.image, out.distance, out.logits], dim=1)


def test_the_paper_preset_has_the_published_size():
    with torch.device("meta"):
        count = sum(p.numel() for p in CoSynUNet(CoSynConfig(classes=7)).parameters())
    assert count == 705_377_419


def test_it_begins_with_nothing_to_say():
    made = CoSynUNet(TINY)
    out = made(unit(), torch.zeros(2), points(), text(6, 3))
    assert isinstance(out, JointPrediction)
    assert [tuple(part.shape) for part in (out.image, out.distance, out.logits)] == [
        (2, 3, 16, 16),
        (2, 1, 16, 16),
        (2, 3, 16, 16),
    ]
    assert not any(part.any() for part in (out.image, out.distance, out.logits))


def test_every_input_matters_and_every_weight_learns(network: CoSynUNet):
    base = said(network, unit(), points(), text(6, 3))
    moved, u = points(), unit()
    moved[:, 5, 5] = 1
    others = [
        said(network, u, moved, text(6, 3)),
        said(network, u, points(), text(6, 3, seed=2)),
        said(network, u, points(), text(6, 3), level=2.0),
        said(network, replace(u, distance=-u.distance), points(), text(6, 3)),
        said(network, replace(u, label=2 - u.label), points(), text(6, 3)),
        said(network, replace(u, image=-u.image), points(), text(6, 3)),
    ]
    assert all(not torch.allclose(base, other, atol=1e-4) for other in others)
    network.zero_grad()
    out = network(u, torch.tensor([-2.0, 2.0]), points(), text(6, 0))
    sum(part.square().sum() for part in (out.image, out.distance, out.logits)).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_no_text_is_a_text_without_tokens(network: CoSynUNet):
    torch.testing.assert_close(said(network, unit(), points(), None), said(network, unit(), points(), text(0, 0)))
    mixed = said(network, unit(), points(), text(0, 4))
    torch.testing.assert_close(mixed[:1], said(network, unit(), points(), None)[:1], atol=1e-5, rtol=1e-4)


def test_padding_of_a_text_has_no_influence(network: CoSynUNet):
    short = text(2, 2)
    cut = TextTokens(short.tokens[:, :2], short.mask[:, :2])
    torch.testing.assert_close(said(network, unit(), points(), short), said(network, unit(), points(), cut))
    resampler, tokens = PerceiverResampler(16, 4, 2, 1), torch.randn(1, 5, 16)
    mask = torch.tensor([[True, False, True, True, False]])
    torch.testing.assert_close(resampler(tokens, mask), resampler(tokens[:, mask[0]], mask[:, mask[0]]))


def test_wide_kernels_give_what_a_convolution_gives():
    conv, x = WideConv2d(3, 4, 15, padding=7), torch.randn(2, 3, 20, 17)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=7), atol=1e-5, rtol=1e-4)


def test_unfolding_begins_without_a_chequerboard():
    out = Unfold(8, 4)(torch.randn(1, 8, 3, 3))
    torch.testing.assert_close(out, F.interpolate(out[..., ::2, ::2], scale_factor=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": 40}, "multiple of 32"),
        ({"classes": 1}, "classes at least 2"),
        ({"blocks": (1,)}, "the same levels"),
    ],
)
def test_impossible_shapes_are_refused(change: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **change)


def test_inputs_that_do_not_fit_are_refused(network: CoSynUNet):
    with pytest.raises(ConfigError, match="multiples of 4"):
        network(unit(side=18), torch.zeros(2), points(side=18), None)
    with pytest.raises(ConfigError, match="8 wide, got 5"):
        network(unit(), torch.zeros(2), points(), TextTokens(torch.zeros(2, 1, 5), torch.ones(2, 1, dtype=torch.bool)))


def test_a_checkpoint_brings_the_network_back(network: CoSynUNet, tmp_path):
    path = tmp_path / "c.safetensors"
    known = {
        "steps": 1000,
        "mpp": 0.5,
        "size": 32,
        "classes": [{"name": "a", "color": [1, 2, 3]}],
        "text": {},
        "layouts": {},
    }
    config = known | {"network": network_config(TINY), "drop_rate": 0.1}
    save_checkpoint(Checkpoint(kind=KIND, config=config, provenance={}, tensors=network.state_dict()), path)
    _, again = read_cosyn(path)
    assert again.config == TINY
    torch.testing.assert_close(said(again, unit(), points(), None), said(network, unit(), points(), None))
    other = network_config(replace(TINY, classes=4))
    config |= {"network": other}
    save_checkpoint(Checkpoint(kind=KIND, config=config, provenance={}, tensors=network.state_dict()), path)
    with pytest.raises(CheckpointError, match="damaged"):
        read_cosyn(path)
    with pytest.raises(CheckpointError, match="upgrade wsinuc"):
        build_cosyn(network_config(TINY) | {"novelty": 1})


@torch.no_grad()
def test_a_network_without_a_branch_does_not_look_at_its_input():
    torch.manual_seed(1)
    blind = CoSynUNet(replace(TINY, points=None, text_width=0))
    for parameter in blind.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    assert not [name for name in blind.state_dict() if name.startswith(("points.", "text."))]
    given = said(blind, unit(), points(), text(6, 3))
    torch.testing.assert_close(given, said(blind, unit(), 0 * points(), None))
    assert not torch.allclose(given, said(blind, unit(), points(), None, level=2.0), atol=1e-4)
    again = build_cosyn(network_config(blind.config))
    assert again.config == blind.config
