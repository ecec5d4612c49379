"""The U-Net, the diffusion process, features and ensemble: counts, closed forms, and two ways to the same number."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.diffusion.gaussian import (
    GaussianDiffusion,
    linear_betas,
    sample_timesteps,
)
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.models.features.extractor import NOISE_PERIOD, FeatureConfig, FeatureExtractor, sample_features
from wsinuc.models.networks.norm import GroupNorm, fix_statistics
from wsinuc.models.networks.unet import UNet, UNetConfig

TINY = UNetConfig(base=32, multipliers=(1, 2, 2), res_blocks=1, attention_factors=(4,))


def random_unet(config: UNetConfig = TINY, seed: int = 0) -> UNet:
    """A U-Net without the zeros that hide what its blocks do."""
    torch.manual_seed(seed)
    unet = UNet(config)
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return unet.eval()


@pytest.mark.parametrize(("base", "millions"), [(32, 8.7), (64, 34.6), (128, 138.3), (256, 552.8)])
def test_the_256_px_configuration_has_the_published_number_of_parameters(base: int, millions: float) -> None:
    with torch.device("meta"):
        unet = UNet(UNetConfig(base=base, out_channels=6))
    assert sum(p.numel() for p in unet.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_blocks_6_8_10_12_of_base_128_give_2688_features() -> None:
    with torch.device("meta"):
        unet = UNet(UNetConfig(base=128))
    extractor = FeatureExtractor(unet, GaussianDiffusion(), FeatureConfig())
    assert [unet.config.decoder_channels[b] for b in (6, 8, 10, 12)] == [256, 256, 256, 128]
    assert [256 // unet.config.decoder_factors[b] for b in (6, 8, 10, 12)] == [32, 64, 64, 128]
    assert sum(extractor.channels.values()) == 2688


def test_activations_are_what_the_full_pass_computes() -> None:
    unet, x, t = random_unet(), torch.randn(2, 3, 32, 48), torch.tensor([5, 700])
    seen = []
    for stage in unet.decoder:
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output))
    unet(x, t)
    full = list(seen)
    found = unet.activations(x, t, [4, 1])
    assert torch.equal(found[0], full[4])
    assert torch.equal(found[1], full[1])
    assert len(seen) == len(full) + 5, "the pass must stop after the last block asked for"
    for block, activation in enumerate(full):
        assert activation.shape[1] == unet.config.decoder_channels[block]
        assert activation.shape[2] == 32 // unet.config.decoder_factors[block]


def test_unet_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="multiple of 32"):
        UNetConfig(base=48)
    with pytest.raises(ConfigError, match="multiples of 4"):
        random_unet()(torch.zeros(1, 3, 30, 32), torch.tensor([0]))
    with pytest.raises(ConfigError, match="numbered 0 to 5"):
        random_unet().activations(torch.zeros(1, 3, 32, 32), torch.tensor([0]), [6])


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=["planes", "channels last"])
def test_group_norm_has_torchs_gradients(order: torch.memory_format) -> None:
    own, reference = GroupNorm(32, 64), torch.nn.GroupNorm(32, 64)
    torch.nn.init.normal_(own.weight)
    reference.load_state_dict(own.state_dict())
    x, grad = torch.randn(3, 64, 7, 5), torch.randn(3, 64, 7, 5)
    inputs = [x.clone().to(memory_format=order).requires_grad_() for _ in range(2)]
    for module, value in zip((own, reference), inputs, strict=True):
        module(value).backward(grad.to(memory_format=order))
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own.weight.grad, reference.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(own.bias.grad, reference.bias.grad, rtol=1e-4, atol=1e-4)


def test_group_norm_adds_up_many_pixels_of_bf16() -> None:
    own = GroupNorm(8, 16)
    x = torch.randn(1, 16, 128, 256).bfloat16().to(memory_format=torch.channels_last).requires_grad_()
    # Both gradients are sums of 32,768 terms that do not cancel: added up in bf16 they would stop at a few hundred.
    grad = (0.3 * x + 1).detach()
    own(x).backward(grad)
    exact = copy.deepcopy(own).double()
    exact.zero_grad()
    torch.nn.functional.group_norm(x.detach().double(), 8, exact.weight, exact.bias).backward(grad.double())
    for found, wanted in ((own.weight.grad, exact.weight.grad), (own.bias.grad, exact.bias.grad)):
        assert found is not None
        assert wanted is not None
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 4e-3


def test_schedule_has_the_published_values() -> None:
    abar = GaussianDiffusion().alphas_bar
    assert [round(float(abar[t]), 3) for t in (50, 150, 250)] == [0.970, 0.786, 0.521]
    assert float(linear_betas(100)[-1]) == pytest.approx(0.2)


def test_posterior_is_bayes_on_gaussians() -> None:
    """q(x_{t-1} | x_t, x_0) from the product of two Gaussians, in float64."""
    process, t, x0, xt = GaussianDiffusion(), 137, 0.3, -0.8
    beta, before = float(process.betas[t]), float(process.alphas_bar[t - 1])
    precision = 1 / (1 - before) + (1 - beta) / beta
    mean = (math.sqrt(before) * x0 / (1 - before) + math.sqrt(1 - beta) * xt / beta) / precision
    found, variance = process.posterior(torch.tensor(x0, dtype=torch.float64), torch.tensor(xt, dtype=torch.float64), t)
    assert float(found) == pytest.approx(mean, rel=1e-9)
    assert variance == pytest.approx(1 / precision, rel=1e-9)


def test_noise_and_its_inverse() -> None:
    process, x0 = GaussianDiffusion(), torch.randn(4, 3, 8, 8, dtype=torch.float64)
    t, eps = torch.tensor([0, 10, 500, 999]), torch.randn(4, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(process.predict_x0(process.noise(x0, t, eps), t, eps), x0)
    assert float(process.loss(lambda xt, t: eps, x0, t, eps).max()) < 1e-12


def test_timesteps_prefer_low_noise_by_the_power() -> None:
    process, generator = GaussianDiffusion(), torch.Generator().manual_seed(0)
    uniform = sample_timesteps(process, 20_000, 1.0, generator)
    low = sample_timesteps(process, 20_000, 2.0, generator)
    assert (uniform < 250).float().mean() == pytest.approx(0.25, abs=0.02)
    assert (low < 250).float().mean() == pytest.approx(0.5, abs=0.02)
    assert low.min() == 0
    assert low.max() >= 990


def extractor(image: bool = True, blocks: tuple[int, ...] = (1, 2, 4)) -> FeatureExtractor:
    config = FeatureConfig(timesteps=(20, 300), blocks=blocks, image=image)
    return FeatureExtractor(random_unet(), GaussianDiffusion(), config)


def ensemble_for(features: FeatureExtractor, seed: int = 1, factor: int = 1) -> PixelClassifierEnsemble:
    torch.manual_seed(seed)
    channels = tuple(features.channels.items())
    ensemble = PixelClassifierEnsemble(
        EnsembleConfig(channels=channels, classes=3, maps=2, members=3, hidden=16, inner=8, factor=factor)
    )
    ensemble.mean.normal_()
    ensemble.std.uniform_(0.5, 2)
    return ensemble.eval()


def test_projected_features_equal_the_naive_tensor() -> None:
    """The first layer before interpolation against all features interpolated to every pixel."""
    features, x = extractor(), torch.rand(2, 3, 64, 64) * 2 - 1
    ensemble, maps = ensemble_for(features), features(x)
    wide = torch.cat(
        [F.interpolate(m, size=(64, 64), mode="bilinear", align_corners=False) for m in maps.values()], dim=1
    )
    rows = wide.permute(0, 2, 3, 1).reshape(1, -1, wide.shape[1])
    raw = ensemble(rows).reshape(3, 2, 64, 64, 5).permute(0, 1, 4, 2, 3)
    p = raw[:, :, :3].softmax(2)
    votes = ensemble.vote(maps)
    torch.testing.assert_close(votes.probabilities, p.mean(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(votes.maps, raw[:, :, 3:].mean(0), rtol=1e-4, atol=1e-4)
    entropy = lambda q, axis: -(q * q.log()).sum(axis)  # noqa: E731
    expected = (entropy(p.mean(0), 1) - entropy(p, 2).mean(0)) / math.log(2)
    torch.testing.assert_close(votes.disagreement, expected.clamp(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2])
def test_cropping_the_margin_first_changes_nothing(factor: int) -> None:
    features, x = extractor() if factor == 1 else extractor(False, (0, 2)), torch.rand(1, 3, 64, 64) * 2 - 1
    ensemble, maps = ensemble_for(features, factor=factor), features(x)
    whole, cropped = ensemble.vote(maps), ensemble.vote(maps, margin=8)
    torch.testing.assert_close(cropped.probabilities, whole.probabilities[:, :, 8:-8, 8:-8], rtol=0, atol=1e-6)
    torch.testing.assert_close(cropped.maps, whole.maps[:, :, 8:-8, 8:-8], rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match=f"multiple of {2 * factor},"):
        ensemble.vote(maps, margin=7)


def test_coarse_classifiers_say_at_their_pixels_what_fine_ones_say_there() -> None:
    """Features that are flat in each native pixel's neighbourhood read the same at both resolutions."""
    features = extractor(False, (0, 2))
    fine, coarse = ensemble_for(features), ensemble_for(features, factor=2)
    flat = {
        factor: torch.randn(1, n, 1, 1).expand(1, n, 32 // factor, 32 // factor)
        for factor, n in features.channels.items()
    }
    torch.testing.assert_close(coarse.vote(flat).probabilities, fine.vote(flat).probabilities, rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match="multiple of 3"):
        ensemble_for(features, factor=3)


def test_members_that_agree_do_not_disagree() -> None:
    features, x = extractor(), torch.rand(1, 3, 32, 32) * 2 - 1
    ensemble = ensemble_for(features)
    for name in ("first", "first_bias", "second", "second_bias", "third", "third_bias"):
        parameter = getattr(ensemble, name)
        parameter.data = parameter.data[:1].expand_as(parameter).clone()
    assert float(ensemble.vote(features(x)).disagreement.max()) < 1e-5


def test_ensemble_refuses_foreign_features() -> None:
    ensemble = ensemble_for(extractor(image=True))
    with pytest.raises(ConfigError, match="was trained on features"):
        ensemble.vote(extractor(image=False)(torch.zeros(1, 3, 32, 32)))


def test_sampled_features_are_the_interpolated_ones() -> None:
    features, x = extractor(), torch.rand(1, 3, 32, 48) * 2 - 1
    maps = features(x)
    wide = torch.cat(
        [F.interpolate(m, size=(32, 48), mode="bilinear", align_corners=False) for m in maps.values()], dim=1
    )
    points = torch.tensor([[0, 0], [31, 47], [7, 13], [16, 0], [30, 1]])
    torch.testing.assert_close(sample_features(maps, 0, points), wide[0, :, points[:, 0], points[:, 1]].T)


def test_same_image_same_features_and_noise_follows_the_slide() -> None:
    """A pixel's noise depends on its place only: tiles that start at multiples of 64 see it alike."""
    features, x = extractor(image=False), torch.rand(1, 3, 2 * NOISE_PERIOD, NOISE_PERIOD) * 2 - 1
    again = FeatureExtractor(random_unet(), GaussianDiffusion(), features.config)
    assert all(torch.equal(a, b) for a, b in zip(features(x).values(), again(x).values(), strict=True))
    x[:, :, NOISE_PERIOD:] = x[:, :, :NOISE_PERIOD]
    top, bottom = features(x[:, :, :NOISE_PERIOD]), features(x[:, :, NOISE_PERIOD:])
    assert all(torch.equal(top[f], bottom[f]) for f in top)
    other = FeatureExtractor(
        random_unet(), GaussianDiffusion(), FeatureConfig(timesteps=(20, 300), blocks=(1, 2, 4), seed=1)
    )
    assert not torch.equal(other(x)[1], features(x)[1])


def test_batch_mates_do_not_matter_and_slots_hardly() -> None:
    """With one batch shape a tile's features are the same bits beside any other tiles, as the block task relies on.

    Another slot may change the last bit: threads share a batch out by slots. That is why a CPU gets batches of one.
    """
    torch.manual_seed(3)
    features, x = extractor(image=False), torch.rand(3, 3, 64, 64) * 2 - 1
    first = features(x)
    mates = features(torch.stack([x[0], torch.zeros(3, 64, 64), x[1]]))
    turned = features(torch.stack([x[2], x[1], x[0]]))
    for factor, stack in first.items():
        assert torch.equal(stack[0], mates[factor][0])
        torch.testing.assert_close(stack[0], turned[factor][2], rtol=0, atol=1e-4)
        torch.testing.assert_close(stack[2], turned[factor][0], rtol=0, atol=1e-4)


def test_with_fixed_statistics_a_feature_depends_on_its_surroundings_only() -> None:
    """Far from what changes, nothing changes; with each input's own statistics everything does."""
    config = replace(TINY, attention_factors=(), middle_attention=False)
    unet, x, t = random_unet(config), torch.rand(1, 3, 128, 128), torch.tensor([30])
    other = x.clone()
    other[..., 96:] = 0
    near = lambda image: unet.activations(image, t, [5])[0][..., :16]  # noqa: E731
    assert not torch.allclose(near(x), near(other), atol=1e-3)
    before = near(x)
    fix_statistics(unet, lambda: unet.activations(x, t, [5]))
    torch.testing.assert_close(near(x), near(other), rtol=0, atol=1e-5)
    torch.testing.assert_close(near(x), before, rtol=1e-3, atol=1e-3)


def test_samples_look_in_the_fixed_network_as_they_did_when_it_was_fixed() -> None:
    """Deep layers must see what they will see; statistics that each sample has for itself differ
    the more, the deeper."""
    config = replace(TINY, attention_factors=(), middle_attention=False)
    unet, seen = random_unet(config), []
    x = torch.rand(4, 3, 64, 64) * torch.tensor([0.2, 0.5, 1.0, 2.0])[:, None, None, None]
    look = lambda: unet.activations(x, torch.full((4,), 30), [1, 5])  # noqa: E731
    fix_statistics(unet, lambda: seen.extend(look()))
    for before, after in zip(seen, look(), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    alone = unet.activations(x[2:3], torch.tensor([30]), [1, 5])
    for together, single in zip(seen, alone, strict=True):
        torch.testing.assert_close(single, together[2:3], rtol=0, atol=1e-5)


def test_features_refuse_what_is_not_there() -> None:
    for bad in ({"timesteps": (1000,)}, {"blocks": (6,)}):
        with pytest.raises(ConfigError):
            FeatureExtractor(
                random_unet(), GaussianDiffusion(), FeatureConfig(**{"timesteps": (1,), "blocks": (1,), **bad})
            )
    with pytest.raises(ConfigError, match="ascending"):
        FeatureConfig(blocks=(8, 6))


def test_rows_of_numpy_points_are_accepted_as_is() -> None:
    """Points come from NumPy's generator as int64, borders included."""
    maps = extractor()(torch.zeros(1, 3, 32, 32))
    points = torch.from_numpy(np.array([[0, 0], [31, 31]]))
    assert sample_features(maps, 0, points).shape == (2, sum(m.shape[1] for m in maps.values()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fixed_statistics_are_one_scale_and_one_shift_a_channel(dtype: torch.dtype) -> None:
    norm = GroupNorm(2, 8).to(dtype)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    x = torch.randn(3, 8, 9, 7).to(dtype).to(memory_format=torch.channels_last)
    norm.fix(x)
    assert norm.fixed is not None
    scale, shift = norm.fixed
    found = norm(3 * x)
    torch.testing.assert_close(found, torch.addcmul(shift, 3 * x, scale), atol=1e-6, rtol=1e-5)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
