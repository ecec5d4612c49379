"""Schedules and learned variance against closed forms in float64."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate, stats

from wsinuc.errors import ConfigError
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.schedules import SCHEDULES, cosine_betas, named_betas, quadratic_betas, strided_timesteps
from wsinuc.models.diffusion.variance import (
    Objective,
    discretised_log_likelihood,
    gaussian_kl,
    variational_bound,
)

QUADRATIC = GaussianDiffusion(quadratic_betas(1000))


def doubles(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_quadratic_schedule_has_the_published_values() -> None:
    abar = QUADRATIC.alphas_bar
    assert [round(float(abar[t]), 3) for t in (50, 250, 500)] == [0.991, 0.820, 0.331]
    assert float(abar[999]) == pytest.approx(0.0007, abs=5e-5)


def test_cosine_schedule_is_its_definition_up_to_the_cap() -> None:
    abar = GaussianDiffusion(cosine_betas(1000)).alphas_bar
    wanted = lambda t: math.cos(((t + 1) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2  # noqa: E731
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    for t in (0, 10, 500, 900):
        assert float(abar[t]) == pytest.approx(wanted(t) / start, rel=1e-9)
    assert float(cosine_betas(1000).max()) == 0.999


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_only_loses_signal(name: str) -> None:
    abar = GaussianDiffusion(named_betas(name)).alphas_bar
    assert bool((abar.diff() < 0).all())
    assert float(abar[0]) > 0.99
    assert float(abar[-1]) < 1e-3


def test_unknown_schedules_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'sqrt'.*linear, quadratic, cosine"):
        named_betas("sqrt")


def test_p2_weights_with_k_and_gamma_1_are_the_noise_share() -> None:
    t = torch.arange(1000)
    torch.testing.assert_close(QUADRATIC.p2_weights(t), 1 - QUADRATIC.alphas_bar)
    assert float(QUADRATIC.p2_weights(torch.tensor([3]), k=2.0, gamma=0.0)) == 1.0


def test_posterior_fits_the_two_step_marginal() -> None:
    """E over x_t of the posterior is q(x_{t-1} | x_0): its mean and its variance, for every t."""
    t, x0 = torch.arange(1, 1000), 0.7
    abar, before = QUADRATIC.alphas_bar[1:], QUADRATIC.alphas_bar[:-1]
    at_mean = QUADRATIC.posterior_mean(torch.full((999, 1), x0, dtype=torch.float64), (abar.sqrt() * x0)[:, None], t)[
        :, 0
    ]
    torch.testing.assert_close(at_mean, before.sqrt() * x0, rtol=1e-9, atol=0)
    zero = torch.zeros(999, 1, dtype=torch.float64)
    slope = QUADRATIC.posterior_mean(zero, zero + 1, t)[:, 0]
    spread = QUADRATIC.posterior_variances[1:] + slope**2 * (1 - abar)
    torch.testing.assert_close(spread, 1 - before, rtol=1e-9, atol=0)


def test_learned_variance_lies_between_its_bounds() -> None:
    t = torch.tensor([1, 40, 999])
    low, high = (QUADRATIC.learned_log_variance(torch.full((3, 1), c).double(), t)[:, 0] for c in (-1.0, 1.0))
    torch.testing.assert_close(low, QUADRATIC.posterior_variances[t].log())
    torch.testing.assert_close(high, QUADRATIC.betas[t].log())
    middle = QUADRATIC.learned_log_variance(torch.zeros(3, 1).double(), t)[:, 0]
    torch.testing.assert_close(middle, (low + high) / 2)
    assert torch.isfinite(QUADRATIC.learned_log_variance(torch.zeros(1, 1).double(), torch.tensor([0]))).all()


def test_kl_is_the_integral() -> None:
    (m1, s1), (m2, s2) = (0.3, 0.5), (-0.2, 0.8)
    one, two = stats.norm(m1, s1), stats.norm(m2, s2)
    integral, _ = integrate.quad(lambda x: one.pdf(x) * (one.logpdf(x) - two.logpdf(x)), -6, 6)
    found = gaussian_kl(*(torch.tensor(v, dtype=torch.float64) for v in (m1, 2 * math.log(s1), m2, 2 * math.log(s2))))
    assert float(found) == pytest.approx(integral, rel=1e-8)


@pytest.mark.parametrize(("mean", "spread"), [(0.2, 0.3), (-0.9, 0.5), (0.0, 0.05)])
def test_the_256_levels_share_all_probability(mean: float, spread: float) -> None:
    x = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    logs = discretised_log_likelihood(x, torch.full_like(x, mean), torch.full_like(x, 2 * math.log(spread)))
    assert float(logs.exp().sum()) == pytest.approx(1.0, abs=1e-6)
    level = stats.norm(mean, spread)
    at = round((mean + 1) * 127.5)
    expected = level.cdf(float(x[at]) + 1 / 255) - level.cdf(float(x[at]) - 1 / 255)
    assert float(logs[at].exp()) == pytest.approx(expected, rel=1e-9)


def test_the_bound_is_the_closed_form_and_vanishes_for_the_truth() -> None:
    """Right noise and the posterior's own variance cost nothing; other variances what the KL of two Gaussians says."""
    x0, eps, t = doubles(3, 1, 4, 4), doubles(3, 1, 4, 4, seed=1), torch.tensor([1, 300, 999])
    xt = QUADRATIC.noise(x0, t, eps)
    right = torch.cat([eps, torch.full_like(eps, -1)], 1)
    assert float(variational_bound(QUADRATIC, right, x0, xt, t).abs().max()) < 1e-9
    widest = torch.cat([eps, torch.full_like(eps, 1)], 1)
    ratio = (QUADRATIC.posterior_variances / QUADRATIC.betas)[t]
    torch.testing.assert_close(
        variational_bound(QUADRATIC, widest, x0, xt, t), 0.5 * (ratio - 1 - ratio.log()) / math.log(2)
    )


def test_the_first_step_is_judged_by_the_decoder() -> None:
    x0, t = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.tensor([0])
    predicted = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    mean = float(x0) / math.sqrt(float(QUADRATIC.alphas_bar[0]))  # x_t = x_0 and no noise predicted
    spread = math.sqrt(math.sqrt(float(QUADRATIC.betas[0]) * float(QUADRATIC.posterior_variances[1])))
    level = stats.norm(mean, spread)
    nats = -math.log(level.cdf(0.5 + 1 / 255) - level.cdf(0.5 - 1 / 255))
    assert float(variational_bound(QUADRATIC, predicted, x0, x0, t)) == pytest.approx(nats / math.log(2), rel=1e-6)


def test_the_bound_teaches_the_variance_only() -> None:
    x0, eps, t = doubles(2, 3, 4, 4), doubles(2, 3, 4, 4, seed=1), torch.tensor([0, 500])
    predicted = doubles(2, 6, 4, 4, seed=2).requires_grad_()
    variational_bound(QUADRATIC, predicted, x0, QUADRATIC.noise(x0, t, eps), t).sum().backward()
    assert predicted.grad is not None
    assert not predicted.grad[:, :3].any()
    assert predicted.grad[1, 3:].abs().min() > 0


def test_the_objective_adds_up_its_parts() -> None:
    x0, eps, t = doubles(2, 3, 4, 4), doubles(2, 3, 4, 4, seed=1), torch.tensor([10, 800])
    noise, code = doubles(2, 3, 4, 4, seed=2), doubles(2, 3, 4, 4, seed=3).clamp(-1, 1)
    plain, both = (lambda xt, t: noise), (lambda xt, t: torch.cat([noise, code], 1))
    mse = (noise - eps).square().mean((1, 2, 3))
    torch.testing.assert_close(Objective()(QUADRATIC, plain, x0, t, eps), mse)
    weighted = Objective(p2=(1.0, 1.0))(QUADRATIC, plain, x0, t, eps)
    torch.testing.assert_close(weighted, mse * (1 - QUADRATIC.alphas_bar[t]))
    bound = variational_bound(QUADRATIC, both(x0, t), x0, QUADRATIC.noise(x0, t, eps), t)
    torch.testing.assert_close(Objective(learned_variance=True)(QUADRATIC, both, x0, t, eps), mse + bound)
    torch.testing.assert_close(QUADRATIC.loss(both, x0, t, eps).double(), mse, rtol=1e-5, atol=1e-5)
    short = GaussianDiffusion(quadratic_betas(500))
    rescaled, full = (Objective(learned_variance=True, rescale=r)(short, both, x0, t // 2, eps) for r in (True, False))
    torch.testing.assert_close(2 * (rescaled - mse), full - mse)
    with pytest.raises(ConfigError, match="3 channels but 6"):
        Objective(learned_variance=True)(QUADRATIC, plain, x0, t, eps)


def test_respaced_steps_are_as_noisy_as_the_ones_they_stand_for() -> None:
    kept = strided_timesteps(1000, 50)
    assert (kept[0], kept[-1], len(set(kept))) == (0, 999, 50)
    short = QUADRATIC.respaced(kept)
    torch.testing.assert_close(short.alphas_bar, QUADRATIC.alphas_bar[kept])
    assert short.named(torch.tensor([0, 49])).tolist() == [0, 999]
    again = short.respaced([0, 10, 49])
    assert again.named(torch.arange(3)).tolist() == [kept[0], kept[10], kept[49]]
    for bad in ([], [5, 5], [3, 1], [0, 1000]):
        with pytest.raises(ConfigError, match="must ascend"):
            QUADRATIC.respaced(bad)
    with pytest.raises(ConfigError, match="1 to 1000"):
        strided_timesteps(1000, 0)
