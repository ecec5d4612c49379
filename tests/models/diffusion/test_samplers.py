"""Samplers against data whose best denoiser is known in closed form, and whose noise is whose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsinuc.errors import ConfigError, SynthesisError
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.samplers import (
    SAMPLERS,
    SamplerConfig,
    Walk,
    restart_steps,
    sample,
    sampler_timesteps,
    walk,
)
from wsinuc.models.diffusion.schedules import linear_betas, named_betas, quadratic_betas
from wsinuc.models.networks.unet import UNet, UNetConfig

QUADRATIC = GaussianDiffusion(quadratic_betas(1000))
MEAN = torch.tensor([0.4, -0.2], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.09, 0.04], [0.04, 0.05]], dtype=torch.float64)
SHAPE = (2, 90, 90)  # every pixel of an image is one draw of the two-dimensional data


def gaussian_denoiser(process: GaussianDiffusion, code: float | None = None):
    """The best denoiser of Gaussian data, E[eps | x_t], for every pixel by itself; perhaps with a variance code."""

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        abar = float(process.alphas_bar[t[0]])
        inverse = torch.linalg.inv(abar * COVARIANCE + (1 - abar) * torch.eye(2, dtype=torch.float64)).to(x)
        centred = x - (abar**0.5 * MEAN).to(x)[:, None, None]
        eps = sum((1 - abar) ** 0.5 * inverse[:, c, None, None] * centred[:, c, None] for c in range(2))
        return eps if code is None else torch.cat([eps, torch.full_like(eps, code)], 1)

    return denoise


def pointwise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A denoiser that is no Gaussian's and treats every number alone."""
    return torch.tanh(x) * (1 + t[:, None, None, None] / 2000)


@pytest.mark.parametrize(
    ("sampler", "code", "atol"),
    [
        (SamplerConfig("ddpm", 1000), None, 0.004),
        (SamplerConfig("ddpm", 200), 1.0, 0.006),
        (SamplerConfig("ddim", 250), 0.0, 0.004),
        (SamplerConfig("dpm++", 20), None, 0.004),
    ],
)
def test_samples_have_mean_and_covariance_of_the_data(sampler: SamplerConfig, code: float | None, atol: float) -> None:
    denoiser = gaussian_denoiser(QUADRATIC, code)
    found = sample(QUADRATIC, denoiser, SHAPE, [0], sampler, device="cpu", clamp=False)[0].flatten(1).numpy()
    np.testing.assert_allclose(found.mean(1), MEAN, atol=0.015)
    np.testing.assert_allclose(np.cov(found), COVARIANCE, atol=atol)


def exact(process: GaussianDiffusion, x: torch.Tensor) -> torch.Tensor:
    """Where the probability flow of the Gaussian data ends: each principal axis keeps its quantile."""
    variances, axes = torch.linalg.eigh(COVARIANCE)
    first, last = float(process.alphas_bar[0]), float(process.alphas_bar[-1])
    z = (x - last**0.5 * MEAN[:, None, None]).movedim(1, -1) @ axes / (last * variances + 1 - last).sqrt()
    at_first = z * (first * variances + 1 - first).sqrt()
    clean = at_first * first**0.5 * variances / (first * variances + 1 - first)  # the last step gives E[x_0 | x_t]
    return (clean @ axes.T).movedim(-1, 1) + MEAN[:, None, None]


def error(process: GaussianDiffusion, sampler: SamplerConfig) -> float:
    x = torch.randn(1, 2, 30, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = walk(process, gaussian_denoiser(process), x, sampler, clamp=False)
    kept = process.respaced(sampler_timesteps(process, sampler))
    return float((found - exact(kept, x)).abs().mean())


def test_dpm_is_of_second_order_and_ddim_of_first() -> None:
    """Half the step, a quarter of the error; in a process so fine that rounding to its timesteps does not matter."""
    process = GaussianDiffusion(linear_betas(50_000))
    errors = {
        name: [error(process, SamplerConfig(name, steps)) for steps in (20, 40, 80)] for name in ("ddim", "dpm++")
    }
    for coarse, fine in zip(errors["dpm++"], errors["dpm++"][1:], strict=False):
        assert 3.0 < coarse / fine < 5.5, errors
    assert 1.6 < errors["ddim"][1] / errors["ddim"][2] < 2.4, errors


@pytest.mark.parametrize("schedule", ["linear", "cosine", "quadratic"])
def test_twenty_steps_of_dpm_are_as_good_as_a_hundred_of_ddim(schedule: str) -> None:
    process = GaussianDiffusion(named_betas(schedule))
    assert error(process, SamplerConfig("dpm++", 20)) < error(process, SamplerConfig("ddim", 100))


@given(
    st.sampled_from(sorted(SAMPLERS)),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5, unique=True),
    st.data(),
)
@settings(max_examples=25, deadline=None)
def test_a_sample_is_its_own_in_any_batch(name: str, seeds: list[int], data: st.DataObject) -> None:
    sampler = SamplerConfig(name, 5)
    together = sample(QUADRATIC, pointwise, (1, 4, 5), seeds, sampler, device="cpu")
    order = data.draw(st.permutations(range(len(seeds))))
    chosen = order[: data.draw(st.integers(1, len(seeds)))]
    apart = sample(QUADRATIC, pointwise, (1, 4, 5), [seeds[i] for i in chosen], sampler, device="cpu")
    assert torch.equal(together[chosen], apart)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_network_gives_the_same_sample_in_batches_of_other_sizes(name: str) -> None:
    torch.manual_seed(0)
    unet = UNet(UNetConfig(base=32, multipliers=(1,), res_blocks=1, attention_factors=(), middle_attention=False))
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    batches = [[3, 4, 5], [5], [9, 5]]
    found = [sample(QUADRATIC, unet, (3, 16, 16), seeds, SamplerConfig(name, 4), device="cpu") for seeds in batches]
    torch.testing.assert_close(found[0][2], found[1][0], atol=1e-4, rtol=0)
    torch.testing.assert_close(found[0][2], found[2][1], atol=1e-4, rtol=0)
    assert not torch.allclose(found[0][0], found[0][1], atol=0.05)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_timestep_is_asked_once_by_its_own_name(name: str) -> None:
    asked = []

    def recording(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        assert len(set(t.tolist())) == 1
        asked.append(int(t[0]))
        return pointwise(x, t)

    sampler = SamplerConfig(name, 12)
    sample(QUADRATIC, recording, (1, 2, 2), [1, 2], sampler, device="cpu")
    assert asked == sampler_timesteps(QUADRATIC, sampler)[::-1]
    assert (asked[0], asked[-1]) == (999, 0)


@given(st.sampled_from(["linear", "cosine", "quadratic"]), st.integers(2, 60), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_timesteps_ascend_whatever_their_number(schedule: str, total: int, steps: int) -> None:
    process = GaussianDiffusion(named_betas(schedule, total).clamp(max=0.9))
    sampler = SamplerConfig("dpm++", steps)
    if steps > total:
        with pytest.raises(ConfigError, match=f"1 to {total} steps"):
            sampler_timesteps(process, sampler)
        return
    kept = sampler_timesteps(process, sampler)
    assert len(kept) == steps
    assert kept == sorted(set(kept))
    assert kept[0] == (0 if steps > 1 else total - 1)
    assert kept[-1] == total - 1 or float(process.alphas_bar[kept[-1]]) < 1e-3


def test_dpm_leaves_out_noise_that_nobody_could_tell_apart() -> None:
    cosine = GaussianDiffusion(named_betas("cosine"))
    last = sampler_timesteps(cosine, SamplerConfig("dpm++", 20))[-1]
    assert 900 < last < 999
    assert float(cosine.alphas_bar[last]) < 1e-4
    assert sampler_timesteps(cosine, SamplerConfig("ddim", 20))[-1] == 999
    assert sampler_timesteps(cosine, SamplerConfig("dpm++", 1000)) == list(range(1000))


def test_clamping_keeps_samples_among_the_grey_levels() -> None:
    far = lambda x, t: -5 * torch.ones_like(x)  # noqa: E731
    for name in ("ddim", "dpm++"):
        found = sample(QUADRATIC, far, (1, 3, 3), [0], SamplerConfig(name, 5), device="cpu")
        assert float(found.abs().max()) <= 1
    assert float(sample(QUADRATIC, far, (1, 3, 3), [0], SamplerConfig("ddim", 5), device="cpu", clamp=False).max()) > 2


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_names_step_and_sample(name: str, value: float) -> None:
    def broken(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        eps = pointwise(x, t)
        if int(t[0]) < 900:
            eps[1, 0, 0, 0] = value
        return eps

    with pytest.raises(SynthesisError, match=r"step 2 of 3 \(timestep .*sample 1 of the batch"):
        sample(QUADRATIC, broken, (1, 3, 3), [5, 6, 7], SamplerConfig(name, 3), device="cpu")


def test_a_restart_takes_out_the_grain_of_flat_images_and_keeps_their_levels() -> None:
    def knows_flat_images(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (x - x.mean((2, 3), keepdim=True)) / float(1 - QUADRATIC.alphas_bar[t[0]]) ** 0.5

    flat = torch.tensor([0.5, -0.25])[None, :, None, None].expand(1, *SHAPE)
    grain, noise = (torch.randn(flat.shape, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    sampler = SamplerConfig("ddim", 20, restart=100)
    found = Walk(QUADRATIC, knows_flat_images, sampler, lambda: noise).restarted(flat + 0.1 * grain)
    assert float(found.std((2, 3)).max()) < 0.01
    torch.testing.assert_close(found.mean((2, 3)), flat.mean((2, 3)), atol=0.01, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_restarted_sample_is_its_own_in_any_batch(name: str) -> None:
    sampler = SamplerConfig(name, 5, restart=60)
    together = sample(QUADRATIC, pointwise, (1, 2, 2), [3, 4], sampler, device="cpu")
    alone = [sample(QUADRATIC, pointwise, (1, 2, 2), [seed], sampler, device="cpu") for seed in (3, 4)]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(
        together, sample(QUADRATIC, pointwise, (1, 2, 2), [3, 4], SamplerConfig(name, 5), device="cpu")
    )


@pytest.mark.parametrize(("name", "first"), [("dpm++", 150), ("ddim", 999), ("ddpm", 1)])
def test_a_restart_asks_the_network_as_often_as_it_says(name: str, first: int) -> None:
    sampler, asked = SamplerConfig(name, 8, restart=first), []

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        asked.append(int(t[0]))
        return pointwise(x, t)

    sample(QUADRATIC, denoise, (1, 2, 2), [0], sampler, device="cpu")
    assert len(asked) == 8 + restart_steps(QUADRATIC, sampler)
    assert asked[8] == first
    assert asked[8:] == sorted(asked[8:], reverse=True)


def test_images_are_restarted_from_timesteps_that_there_are() -> None:
    with pytest.raises(ConfigError, match="1 to 999, got 1000"):
        sample(QUADRATIC, pointwise, (1, 2, 2), [0], SamplerConfig("ddim", 2, restart=1000), device="cpu")
    with pytest.raises(ConfigError, match="not be negative"):
        SamplerConfig(restart=-1)


def test_samplers_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'plms'.*ddpm, ddim, dpm\+\+"):
        SamplerConfig("plms", 5)
    with pytest.raises(ConfigError, match="at least 1"):
        SamplerConfig("ddim", 0)
    with pytest.raises(ConfigError, match="noise at every step"):
        walk(QUADRATIC, pointwise, torch.zeros(1, 1, 2, 2), SamplerConfig("ddpm", 2))
