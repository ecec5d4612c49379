"""The joint process: three schedules at once, ways back from noise, guidance, one seed per sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wsinuc.errors import ConfigError, SynthesisError
from wsinuc.models.conditioning.text import TextTokens
from wsinuc.models.diffusion.cosine import (
    CLEAN,
    CosineSchedule,
    _quantile,
    ancestral_step,
    ddim_step,
    estimate_clean,
    multistep,
    scales,
)
from wsinuc.models.diffusion.joint import (
    JointDiffusion,
    JointNoise,
    JointPrediction,
    JointUnit,
    JointWeights,
)
from wsinuc.models.diffusion.joint_sampling import JointRequest, sample_joint
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.diffusion.samplers import SAMPLERS, SamplerConfig
from wsinuc.models.diffusion.schedules import quadratic_timesteps, restart_timesteps

K, SIDE = 3, 24
PROCESS = JointDiffusion.of(K, 1000)
MEAN, VARIANCE = 0.2, 0.01
SHARES = torch.tensor([0.6, 0.3, 0.1])


def perfect(unit: JointUnit, log_snr: Tensor, points: Tensor, text: TextTokens | None) -> JointPrediction:
    """The best denoiser of independent pixels: Gaussian with MEAN and VARIANCE, classes with SHARES.

    What training by the posterior asks of the logits is what is known besides x_t itself: here the shares. At t = 0 the
    clean label is drawn from them alone, so they must say x_t.
    """
    signal, noise = log_snr.double().sigmoid(), (-log_snr.double()).sigmoid()
    alpha, sigma = (v.sqrt().float()[:, None, None, None] for v in (signal, noise))

    def eps(x: Tensor) -> Tensor:
        gain = VARIANCE * alpha / (alpha**2 * VARIANCE + sigma**2)
        return (x - alpha * (MEAN + gain * (x - alpha * MEAN))) / sigma

    keep = signal.float()[:, None, None, None]  # of the label as well: the schedules have one formula
    seen = torch.nn.functional.one_hot(unit.label, K).movedim(-1, 1)
    logits = SHARES.log()[None, :, None, None].expand(len(keep), K, SIDE, SIDE)
    if float(log_snr[0]) > 8.7:  # t = 0
        logits = logits + (keep * seen + (1 - keep) / K).log()
    return JointPrediction(eps(unit.image), eps(unit.distance), logits)


def no_points(n: int) -> Tensor:
    return torch.zeros((n, SIDE, SIDE), dtype=torch.long)


def clean_unit(n: int = 2) -> JointUnit:
    g = torch.Generator().manual_seed(5)
    return JointUnit(
        torch.rand((n, 3, SIDE, SIDE), generator=g) * 2 - 1,
        torch.rand((n, 1, SIDE, SIDE), generator=g) * 2 - 1,
        torch.randint(0, K, (n, SIDE, SIDE), generator=g),
    )


def noise_for(n: int, seed: int = 0) -> JointNoise:
    return JointNoise.stack(
        [JointNoise.draw(K, (SIDE, SIDE), torch.Generator().manual_seed(seed + i)) for i in range(n)], "cpu"
    )


def test_log_snr_is_the_cosine_of_the_paper():
    for t in (0.0, 0.3, 0.999):
        by_hand = -math.log(math.cos((t + 0.008) / 1.008 * math.pi / 2) ** -2 - 1)
        assert CosineSchedule().log_snr(torch.tensor(t, dtype=torch.float64)).item() == pytest.approx(by_hand)
    assert (PROCESS.image.log_snr(torch.linspace(0, 0.999, 50)).diff() < 0).all()


@pytest.mark.parametrize(("t", "s"), [(900, 899), (600, 100), (40, 0)])
def test_a_joint_step_keeps_all_three_schedules(t: int, s: int):
    """x_s drawn from q(x_s | x_t, x_0) is distributed like x_0 noised to s."""
    clean = JointUnit(
        torch.full((1, 3, 150, 150), 0.4), torch.full((1, 1, 150, 150), -0.6), torch.ones(1, 150, 150).long()
    )
    first, second = (JointNoise.draw(K, (150, 150), torch.Generator().manual_seed(i)) for i in (1, 2))
    noisy = PROCESS.noise(clean, torch.tensor([t / 1000], dtype=torch.float64), first)
    log_snr = [PROCESS.image.log_snr(torch.tensor(i / 1000, dtype=torch.float64)).item() for i in (t, s)]
    alpha, sigma = scales(log_snr[1])
    for part, name in ((clean.image, "image"), (clean.distance, "distance")):
        stepped = ancestral_step(getattr(noisy, name), part, *log_snr, getattr(second, name))
        assert stepped.mean().item() == pytest.approx(alpha * part.mean().item(), abs=4 * sigma / 150 + 1e-4)
        assert stepped.std().item() == pytest.approx(sigma, rel=0.03, abs=1e-4)
    label = PROCESS.label_step(noisy.label, PROCESS.label.log_one_hot(clean.label), t, s, second.label)
    kept = PROCESS.label.log_alpha_bar(torch.tensor(s)).exp().item()
    assert (label == 1).float().mean().item() == pytest.approx(kept + (1 - kept) / K, abs=0.015)


def test_a_perfect_guess_of_the_noise_takes_every_step_to_the_clean_image():
    clean, noise, t = clean_unit(), noise_for(2), torch.tensor([0.5, 0.5], dtype=torch.float64)
    noisy = PROCESS.noise(clean, t, noise)
    now = PROCESS.image.log_snr(t[0]).item()
    x0 = estimate_clean(noisy.image, noise.image, now)
    torch.testing.assert_close(x0, clean.image, atol=1e-5, rtol=1e-5)
    for step in (ddim_step, multistep):
        later = PROCESS.image.log_snr(torch.tensor(0.2)).item()
        expected = PROCESS.image.noise(clean.image, torch.tensor([0.2, 0.2]), noise.image)
        torch.testing.assert_close(step(noisy.image, x0, now, later), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(step(noisy.image, x0, now, CLEAN), x0, atol=1e-6, rtol=1e-6)


def test_thresholding_is_each_samples_own():
    x = torch.stack([torch.linspace(-0.5, 0.5, 100), torch.linspace(-8, 8, 100)]).view(2, 1, 10, 10)
    got = estimate_clean(x, torch.zeros_like(x), CLEAN, 0.95)
    torch.testing.assert_close(got[0], x[0])
    assert got[1].abs().max() == 1
    assert 0 < (got[1].abs() == 1).float().mean() <= 0.06


def test_large_images_are_thresholded_as_well():
    """PyTorch's own quantile refuses rows of more than 2^24 values: an RGB image of 2365 px."""
    x = torch.zeros(1, 3, 2400, 2400, dtype=torch.bfloat16)
    x[0, 0] = 4
    assert estimate_clean(x, torch.zeros_like(x), CLEAN, 0.5).max() == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95, 1.0])
def test_the_threshold_is_the_usual_quantile(share: float):
    rows = torch.randn(2, 501, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_quantile(rows, share), torch.quantile(rows, share, dim=1))


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 100), ("ddim", 100), ("dpm++", 20)])
def test_samplers_reach_the_data(sampler: str, steps: int):
    unit = sample_joint(PROCESS, perfect, ask(3, [1, 2, 3]), SamplerConfig(sampler, steps))
    for part in (unit.image, unit.distance):
        assert part.mean().item() == pytest.approx(MEAN, abs=0.015)
        assert part.std().item() == pytest.approx(VARIANCE**0.5, rel=0.1)
    shares = torch.bincount(unit.label.flatten(), minlength=K) / unit.label.numel()
    torch.testing.assert_close(shares, SHARES, atol=0.05, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_restart_asks_below_its_timestep_and_reaches_the_data_again(sampler: str):
    asked = []

    def network(unit: JointUnit, log_snr: Tensor, points: Tensor, text: TextTokens | None) -> JointPrediction:
        asked.append(float(log_snr[0]))
        return perfect(unit, log_snr, points, text)

    walk = quadratic_timesteps(1000, 20)[::-1]
    unit = sample_joint(PROCESS, network, ask(2, [1, 2]), SamplerConfig(sampler, 20, 300))
    assert restart_timesteps(walk, 300) == [300, *(t for t in walk if t < 300)]
    assert len(asked) == 20 + len(restart_timesteps(walk, 300))
    assert asked[20:] == sorted(asked[20:]), "noise only falls on the way back"
    assert unit.image.mean().item() == pytest.approx(MEAN, abs=0.02)
    shares = torch.bincount(unit.label.flatten(), minlength=K) / unit.label.numel()
    torch.testing.assert_close(shares, SHARES, atol=0.06, rtol=0)
    assert restart_timesteps(walk, 0) == []


@pytest.mark.parametrize("count", [1, 2, 25, 500, 999, 1000])
def test_few_timesteps_are_distinct_and_reach_both_ends(count: int):
    kept = quadratic_timesteps(1000, count)
    assert kept == sorted(set(kept))
    assert len(kept) == count
    assert kept[-1] == 999
    assert count == 1 or kept[0] == 0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_is_the_same_in_any_batch(sampler: str):
    way = SamplerConfig(sampler, 6, 200)
    together = sample_joint(PROCESS, perfect, ask(3, [4, 5, 6]), way)
    alone = sample_joint(PROCESS, perfect, ask(1, [5]), way)
    torch.testing.assert_close(together.image[1:2], alone.image)
    torch.testing.assert_close(together.distance[1:2], alone.distance)
    assert torch.equal(together.label[1:2], alone.label)
    assert not torch.equal(together.label[0], together.label[1])


def ask(n: int, seeds: Sequence[int], **more: object) -> JointRequest:
    """A request for n samples of empty layouts."""
    return JointRequest(points=no_points(n), seeds=seeds, **more)


def text_of(n: int) -> TextTokens:
    return TextTokens(torch.zeros(n, 1, 4), torch.ones(n, 1, dtype=torch.bool))


def test_guidance_moves_all_three_parts_away_from_no_text():
    asked = []

    def network(unit: JointUnit, log_snr: Tensor, points: Tensor, text: TextTokens | None) -> JointPrediction:
        asked.append(text is not None)
        return perfect(unit, log_snr, points, text)

    sample_joint(PROCESS, network, ask(1, [0], text=text_of(1)), SamplerConfig("ddpm", 2))
    assert asked == [True, True], "without guidance one pass is enough"
    sample_joint(PROCESS, network, ask(1, [0], text=text_of(1), guidance=1.0), SamplerConfig("ddpm", 1))
    assert asked[2:] == [True, False]
    told, free = (JointPrediction(*(torch.full((1, c, 1, 1), v) for c in (3, 1, K))) for v in (3.0, 1.0))
    for weight, expected in ((0.0, 3.0), (-1.0, 1.0), (1.0, 5.0)):  # s = w + 1 = 1, 0, 2
        out = told.extrapolated(free, weight)
        assert {float(v) for part in (out.image, out.distance, out.logits) for v in part.unique()} == {expected}


def test_the_loss_weighs_its_parts():
    clean, noise, t = clean_unit(), noise_for(2), torch.tensor([0.1, 0.8], dtype=torch.float64)

    def zero(unit: JointUnit, log_snr: Tensor) -> JointPrediction:
        return JointPrediction(unit.image * 0, unit.distance * 0, torch.zeros(2, K, SIDE, SIDE))

    loss = PROCESS.loss(zero, clean, t, noise, JointWeights(p2=None))
    torch.testing.assert_close(loss.total, 9 * loss.image + 3 * loss.label + loss.distance)
    torch.testing.assert_close(loss.image, noise.image.square().flatten(1).mean(1))
    weighed = PROCESS.loss(zero, clean, t, noise, JointWeights())
    snr = PROCESS.image.log_snr(t).exp()
    torch.testing.assert_close(weighed.total, loss.total * (1 + snr).rsqrt().float())


TWO_STEPS = SamplerConfig("ddpm", 2)


@pytest.mark.parametrize(
    ("changes", "way", "message"),
    [
        ({"guidance": 1.0}, TWO_STEPS, "there is none"),
        ({"seeds": [1, 2]}, TWO_STEPS, "one seed each"),
        ({}, SamplerConfig("ddpm", 1001), "1 to 1000 steps"),
        ({}, SamplerConfig("ddpm", 2, 1000), "timesteps 1 to 999, got 1000"),
        ({"points": torch.full((1, SIDE, SIDE), K)}, TWO_STEPS, "class 3, but the network knows classes 1 to 2"),
        ({"text": text_of(2)}, TWO_STEPS, "as many texts"),
    ],
)
def test_what_cannot_be_sampled_is_refused(changes: dict, way: SamplerConfig, message: str):
    request = replace(ask(1, [0]), **changes)
    with pytest.raises(ConfigError, match=message):
        sample_joint(PROCESS, perfect, request, way)


def test_what_is_no_number_is_named():
    def broken(unit: JointUnit, log_snr: Tensor, points: Tensor, text: TextTokens | None) -> JointPrediction:
        said = perfect(unit, log_snr, points, text)
        if float(log_snr[0]) > 0:
            said.distance[1] = math.nan
        return replace(said)

    with pytest.raises(SynthesisError, match=r"sample 1 \(seed 9\) .* step 2 of 4"):
        sample_joint(PROCESS, broken, ask(2, [8, 9]), SamplerConfig("ddpm", 4))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_images_keep_the_levels_of_the_training_where_the_network_drifts(sampler: str):
    """A network that takes the mean of the noisy image for that of the clean one; labels and
    distances are left alone."""

    def drifting(unit: JointUnit, log_snr: Tensor, points: Tensor, text: TextTokens | None) -> JointPrediction:
        alpha, sigma = scales(float(log_snr[0]))
        x0 = (unit.image.mean((2, 3), keepdim=True) / alpha).clamp(-1, 1)
        good = perfect(unit, log_snr, points, text)
        return JointPrediction((unit.image - alpha * x0) / sigma, good.distance, good.logits)

    levels = MeanLevels((0.3, -0.2, 0.5), ((0.04, 0.01, 0.0), (0.01, 0.03, 0.0), (0.0, 0.0, 0.0)))
    target, deviation = torch.tensor(levels.mean), torch.tensor(levels.covariance).diagonal().sqrt()

    def drawn(held: MeanLevels | None) -> JointUnit:
        return sample_joint(PROCESS, drifting, ask(40, range(40)), SamplerConfig(sampler, 20), levels=held)

    free, kept = drawn(None), drawn(levels)
    off = (free.image.mean((2, 3)) - target).abs().mean()
    means = kept.image.mean((2, 3))
    assert off > 0.3
    assert (means - target).abs().max() < 4 * deviation.max()
    assert torch.allclose(means.std(0), deviation, rtol=0.35, atol=0.02), "samples differ as the training images do"
    torch.testing.assert_close(kept.distance, free.distance)
    assert torch.equal(kept.label, free.label)


def test_weights_are_no_nonsense():
    with pytest.raises(ConfigError, match="not negative"):
        JointWeights(image=-1)
