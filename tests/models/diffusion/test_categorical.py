"""Categorical diffusion against enumeration and simulation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.diffusion.categorical import CategoricalDiffusion, sample_classes

K, T = 4, 20
PROCESS = CategoricalDiffusion(K, T)


def alphas_bar() -> list[float]:
    """abar_t of the published formula, computed by hand."""
    log_snr = [-math.log(math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** -2 - 1) for t in range(T)]
    return [1 / (1 + math.exp(-value)) for value in log_snr]


def transition(t: int, s: int) -> torch.Tensor:
    """q(x_t | x_s) as a matrix (from, to), step by step from the definition; s = -1 is clean."""
    abar, matrix = [*alphas_bar(), 1.0], torch.eye(K, dtype=torch.float64)
    for step in range(s + 1, t + 1):
        keep = abar[step] / abar[step - 1]
        matrix = matrix @ (keep * torch.eye(K, dtype=torch.float64) + (1 - keep) / K)
    return matrix


def test_the_schedule_is_the_published_one():
    expected = torch.tensor(alphas_bar(), dtype=torch.float64).log()
    torch.testing.assert_close(PROCESS.log_alpha_bar(torch.arange(T)), expected)
    assert PROCESS.log_alpha_bar(torch.tensor([-1])).item() == 0


@pytest.mark.parametrize(("t", "s"), [(1, 0), (7, 6), (19, 18), (19, 3), (10, 0), (5, 5)])
def test_the_posterior_is_that_of_bayes(t: int, s: int):
    """q(x_s | x_t, x_0) = q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0) for every pair of x_0 and x_t."""
    clean, noisy = torch.meshgrid(torch.arange(K), torch.arange(K), indexing="ij")
    log_x0 = PROCESS.log_one_hot(clean[None]).double()
    if t == s:  # nothing happens in no time
        got = PROCESS.posterior(log_x0, noisy[None], torch.tensor([t]), torch.tensor([s]))
        assert torch.equal(got.argmax(1)[0], noisy)
        return
    first, second = transition(s, -1), transition(t, s)
    expected = torch.stack([first[i] * second[:, j] / (first @ second)[i, j] for i in range(K) for j in range(K)])
    got = PROCESS.posterior(log_x0, noisy[None], torch.tensor([t]), torch.tensor([s]))
    torch.testing.assert_close(got.exp()[0].flatten(1).T, expected, atol=1e-10, rtol=1e-8)


def test_marginals_follow_from_steps_and_from_simulation():
    clean = torch.full((1, 200, 200), 2)
    log_p = PROCESS.log_one_hot(clean).double()
    stepped = PROCESS.marginal(log_p, torch.tensor([0]))
    for t in range(1, 9):
        before, after = PROCESS.log_alpha_bar(torch.tensor([t - 1, t])).exp()
        stepped = (after / before * stepped.exp() + (1 - after / before) / K).log()
    torch.testing.assert_close(stepped, PROCESS.marginal(log_p, torch.tensor([8])))
    uniform = torch.rand((1, K, 200, 200), generator=torch.Generator().manual_seed(0))
    seen = F.one_hot(PROCESS.noise(clean, torch.tensor([8]), uniform), K).double().mean((0, 1, 2))
    torch.testing.assert_close(seen, stepped.exp()[0, :, 0, 0], atol=0.01, rtol=0)


def test_many_small_reverse_steps_and_one_large_one_agree():
    """q(x_2 | x_9, x_0) is that of the steps between, one after another."""
    clean = torch.zeros((1, 1, 1), dtype=torch.long)
    log_x0 = PROCESS.log_one_hot(clean).double()
    walked = torch.eye(K, dtype=torch.float64)
    for t in range(9, 2, -1):
        rows = [PROCESS.posterior(log_x0, clean + j, torch.tensor([t]), torch.tensor([t - 1])) for j in range(K)]
        walked = walked @ torch.stack([row.exp()[0, :, 0, 0] for row in rows])
    leapt = [PROCESS.posterior(log_x0, clean + j, torch.tensor([9]), torch.tensor([2])) for j in range(K)]
    torch.testing.assert_close(walked, torch.stack([row.exp()[0, :, 0, 0] for row in leapt]))


def test_the_last_step_is_the_networks_own_word():
    logits = torch.randn(1, K, 3, 3)
    got = PROCESS.posterior(logits.log_softmax(1), torch.zeros(1, 3, 3, dtype=torch.long), *torch.tensor([[0], [-1]]))
    torch.testing.assert_close(got, logits.log_softmax(1))


def test_the_loss_in_closed_form():
    clean = torch.randint(0, K, (2, 3, 3), generator=torch.Generator().manual_seed(1))
    noised = (clean + 1) % K
    certain = PROCESS.log_one_hot(clean)
    scale = math.log(2) * K * 9
    prior = PROCESS.prior_divergence(certain)
    perfect = PROCESS.loss(certain, clean, noised, torch.tensor([0, 7]))
    torch.testing.assert_close(perfect, prior / scale, atol=1e-5, rtol=1e-5)
    ignorant = PROCESS.loss(torch.zeros(2, K, 3, 3), clean, noised, torch.tensor([0, 7]))
    assert ignorant[0].item() == pytest.approx((T * 9 * math.log(K) + prior[0].item()) / scale, rel=1e-5)
    true = PROCESS.posterior(certain.double(), noised, torch.tensor([7, 7]), torch.tensor([6, 6]))[1]
    flat = PROCESS.posterior(torch.zeros_like(certain).log_softmax(1), noised, *torch.tensor([[7, 7], [6, 6]]))[1]
    divergence = (true.exp() * (true - flat)).sum().item()
    assert ignorant[1].item() == pytest.approx((T * divergence + prior[1].item()) / scale, rel=1e-5)


def test_extreme_logits_stay_numbers():
    process, clean = CategoricalDiffusion(2), torch.zeros((1, 2, 2), dtype=torch.long)
    logits = torch.tensor([-1e4, 1e4]).view(1, 2, 1, 1).expand(1, 2, 2, 2).clone().requires_grad_()
    for t in (0, 1, 500, 999):
        loss = process.loss(logits, clean, clean, torch.tensor([t]))
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert loss.isfinite().all()
        assert gradient.isfinite().all()


def test_gumbel_draws_follow_the_probabilities_whatever_the_noise():
    probabilities = torch.tensor([0.7, 0.2, 0.1])
    log_p = probabilities.log().view(1, 3, 1, 1).expand(1, 3, 200, 200)
    drawn = sample_classes(log_p, torch.rand(1, 3, 200, 200, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(F.one_hot(drawn, 3).float().mean((0, 1, 2)), probabilities, atol=0.01, rtol=0)
    for extreme in (0.0, 1 - 2**-24):
        assert sample_classes(log_p[..., :1, :1], torch.full((1, 3, 1, 1), extreme)).item() == 0


def test_a_process_needs_two_classes():
    with pytest.raises(ConfigError, match="at least 2 classes"):
        CategoricalDiffusion(1)
