"""The mean of a noisy image tells that of the clean one, and samples of a network that errs there
have it nevertheless."""

from __future__ import annotations

import pytest
import torch

from wsinuc.errors import CheckpointError, DataError
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.joint_sampling import JointRequest, _Walk
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.diffusion.samplers import SamplerConfig, sample

LEVELS = MeanLevels((0.3, -0.2, 0.5), ((0.04, 0.01, 0.0), (0.01, 0.03, 0.0), (0.0, 0.0, 0.0)))


def flat_images(count: int) -> torch.Tensor:
    """Images of one level per channel, drawn as LEVELS has them."""
    root = torch.linalg.cholesky(torch.tensor(LEVELS.covariance)[:2, :2])
    z = torch.randn(count, 2, generator=torch.Generator().manual_seed(0)) @ root.T
    means = torch.tensor(LEVELS.mean) + torch.cat([z, torch.zeros(count, 1)], 1)
    return means[:, :, None, None].expand(-1, -1, 8, 8)


def test_measured_levels_are_those_of_the_images() -> None:
    found = MeanLevels.of(flat_images(20_000))
    assert found.mean == pytest.approx(LEVELS.mean, abs=0.01)
    assert torch.allclose(torch.tensor(found.covariance), torch.tensor(LEVELS.covariance), atol=0.002)
    assert MeanLevels.from_header(found.header()) == found


@pytest.mark.parametrize("alpha_bar", [0.999, 0.5, 0.02, 4e-5])
def test_expected_mean_is_the_best_linear_guess(alpha_bar: float) -> None:
    """Bayes' error, found by simulation: no guess that is off by a factor or an offset comes nearer."""
    clean = flat_images(4000)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    x = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * noise
    guess = LEVELS.corrected(torch.zeros_like(clean), x, alpha_bar).mean((2, 3))
    true, centre = clean.mean((2, 3)), torch.tensor(LEVELS.mean)
    error = (guess - true).square().mean()
    for other in (centre + 1.1 * (guess - centre), centre + 0.9 * (guess - centre), guess + 0.02, guess - 0.02):
        assert error <= (other - true).square().mean() * 1.001
    assert error <= (centre - true).square().mean() * 1.001


def test_only_means_are_moved() -> None:
    x0, x = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    moved = LEVELS.corrected(x0, x, 0.1) - x0
    assert torch.allclose(moved, moved.mean((2, 3), keepdim=True).expand_as(moved), atol=1e-6)


def test_no_image_is_turned_to_float64_which_some_devices_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    double = torch.Tensor.double
    shapes = []
    monkeypatch.setattr(torch.Tensor, "double", lambda tensor: shapes.append(tensor.shape) or double(tensor))
    LEVELS.corrected(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), 0.5)
    assert set(shapes) == {(1, 3)}


def test_a_restart_of_method_c_asks_no_device_for_float64_times() -> None:
    given = []

    class Process:
        steps = 1000

        def noise(self, unit: None, t: torch.Tensor, noise: None) -> None:
            given.append(t)

    request = JointRequest(points=torch.zeros(1, 8, 8, dtype=torch.long), seeds=[0])
    way_back = _Walk(Process(), None, request, "dpm++", "meta", LEVELS)  # type: ignore[arg-type]
    way_back.draw = lambda: None  # type: ignore[method-assign, assignment, return-value]
    way_back.noised(None, 150)  # type: ignore[arg-type]
    assert [(t.device.type, t.tolist()) for t in given] == [("cpu", [0.15])]


def test_samples_keep_the_levels_of_the_training_where_the_network_drifts() -> None:
    process = GaussianDiffusion()

    def drifting(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Takes the mean of the noisy image for that of the clean one: right at low noise, anything at high noise."""
        abar = process.alphas_bar[t][:, None, None, None]
        x0 = (x.mean((2, 3), keepdim=True) / abar.sqrt()).clamp(-1, 1)
        return ((x - abar.sqrt() * x0) / (1 - abar).sqrt()).float()

    shape, seeds, sampler = (3, 16, 16), list(range(40)), SamplerConfig("dpm++", 20)
    free = sample(process, drifting, shape, seeds, sampler, device="cpu").mean((2, 3))
    held = sample(process, drifting, shape, seeds, sampler, levels=LEVELS, device="cpu").mean((2, 3))
    target, deviation = torch.tensor(LEVELS.mean), torch.tensor(LEVELS.covariance).diagonal().sqrt()
    assert (free - target).abs().mean() > 0.5
    assert (held - target).abs().max() < 4 * deviation.max()
    assert torch.allclose(held.std(0), deviation, rtol=0.3, atol=0.01), "samples differ as the training images do"


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2"):
        MeanLevels.of(torch.zeros(1, 3, 4, 4))
    for header in ({}, {"mean": [0.1], "covariance": [[1.0, 2.0]]}, {"mean": ["a"], "covariance": [[1.0]]}):
        with pytest.raises(CheckpointError, match="mean levels"):
            MeanLevels.from_header(header)
