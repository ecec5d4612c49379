"""From noise to images: the ways to walk a diffusion process backwards, and whose noise is whose.

All walk over the steps of a process that keeps a few timesteps of the trained one
(`wsinuc.models.diffusion.gaussian.GaussianDiffusion.respaced`), and ask the denoiser once per step.

``ddpm``
    Ancestral sampling (Ho et al. 2020, algorithm 2; with few steps Nichol & Dhariwal 2021, section 4): fresh noise at
    each step, of the variance that the denoiser learned or else of the posterior's.
``ddim``
    The deterministic walk of Song et al. (2021, equation 12 with sigma 0): an image is a function of its first noise.
``dpm++``
    DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): the same walk to second order in the half log-SNR, by the last two
    predictions of the clean image. Its steps are even in log-SNR, and the first and the last are of first order.

Sample k depends on its own seed alone: each has a generator, and its noise is drawn in float32 on the CPU, so that
neither the batch it is computed in nor the device changes what is drawn for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from wsinuc.errors import ConfigError, SynthesisError
from wsinuc.models.diffusion.gaussian import Denoiser, GaussianDiffusion
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.diffusion.schedules import restart_timesteps, strided_timesteps

LARGEST_NOISE = -5.1
"""Half log-SNR where dpm++ begins: x_t is noise there but for 1 part in 27,000 of its variance (Lu et al. 2022)."""

Noise = Callable[[], Tensor]
"""Gives the next standard normal noise ``(n, ...)`` of a batch."""


@dataclass(frozen=True, slots=True)
class SamplerConfig:
    """A way back from noise.

    Raises
    ------
    ConfigError
        There is no such sampler, or the number of steps is not positive.
    """

    name: str = "dpm++"
    """One of `SAMPLERS`."""
    steps: int = 20
    """Evaluations of the denoiser, at most the timesteps it was trained on."""
    restart: int = 0
    """Timestep from which finished images are walked back once more (`Walk.restarted`); 0 is none."""

    @classmethod
    def usual(cls, name: str) -> SamplerConfig:
        """A sampler with the steps that are usually enough for it; raises ConfigError for unknown ones."""
        return cls(name, USUAL_STEPS.get(name, 1))

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise ConfigError(f"no sampler is called {self.name!r}; there are: {', '.join(SAMPLERS)}")
        if self.steps < 1:
            raise ConfigError(f"a sampler needs at least 1 step, got {self.steps}")
        if self.restart < 0:
            raise ConfigError(f"the timestep to restart from must not be negative, got {self.restart}")


def sample(
    process: GaussianDiffusion,
    denoiser: Denoiser,
    shape: Sequence[int],
    seeds: Sequence[int],
    sampler: SamplerConfig,
    *,
    device: torch.device | str,
    clamp: bool = True,
    levels: MeanLevels | None = None,
) -> Tensor:
    """One image ``(c, h, w)`` per seed, float32 ``(n, c, h, w)`` on ``device``.

    Parameters
    ----------
    shape
        ``(c, h, w)`` of an image.
    seeds
        Image i depends on ``seeds[i]`` alone.
    clamp
        Keep every prediction of the clean image in [-1, 1].
    levels
        Mean levels of the training images, which correct those of every prediction; None trusts the network.

    Raises
    ------
    ConfigError
        The process has fewer timesteps than the sampler wants.
    SynthesisError
        A prediction is no number; it names the step and the sample.
    """
    noise = seeded_noise(shape, seeds, device)
    way_back = Walk(process, denoiser, sampler, noise, clamp=clamp, levels=levels)
    x = way_back.from_noise(noise())
    if sampler.restart:
        return way_back.restarted(x)
    return x


def seeded_noise(shape: Sequence[int], seeds: Sequence[int], device: torch.device | str) -> Noise:
    """Noise float32 ``(n, *shape)`` in which each sample draws from a CPU generator of its own."""
    # On the CPU, where a seed gives the same noise on every machine and in a batch of any size.
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return lambda: torch.stack([torch.randn(*shape, generator=generator) for generator in generators]).to(device)


@torch.no_grad()
def walk(
    process: GaussianDiffusion,
    denoiser: Denoiser,
    x: Tensor,
    sampler: SamplerConfig,
    *,
    clamp: bool = True,
    levels: MeanLevels | None = None,
) -> Tensor:
    """From pure noise ``x`` ``(n, c, ...)`` to images by a deterministic sampler, shaped and typed alike.

    Other parameters, and what is raised, are those of `sample`.
    """
    return Walk(process, denoiser, sampler, clamp=clamp, levels=levels).from_noise(x)


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """A process walked backwards with one denoiser and one sampler; see `sample` for the fields."""

    process: GaussianDiffusion
    denoiser: Denoiser
    sampler: SamplerConfig
    noise: Noise | None = None
    """Gives fresh noise shaped like the images; deterministic samplers do without."""
    clamp: bool = True
    """Keep every prediction of the clean image in [-1, 1]."""
    levels: MeanLevels | None = None
    """Mean levels of the training images, which correct those of every prediction."""

    @torch.no_grad()
    def from_noise(self, x: Tensor) -> Tensor:
        """Images of pure noise ``(n, c, ...)``, shaped and typed alike; raises what `sample` raises."""
        respaced = self.process.respaced(sampler_timesteps(self.process, self.sampler))
        return self._down(respaced, x)

    @torch.no_grad()
    def restarted(self, x: Tensor) -> Tensor:
        """Finished images noised to timestep ``sampler.restart`` and walked back from there.

        A walk adds up the errors of its steps, and a network that was trained on exact noise takes what
        they leave for texture: grain (exposure bias). Fresh noise hides it, and the way back is short.
        It takes the sampler's own timesteps below that one (Xu et al. 2023, algorithm 1, K = 1).

        Raises
        ------
        ConfigError
            The process has no such timestep, or there is no noise.
        SynthesisError
            A prediction is no number.
        """
        first = self.sampler.restart
        if not 0 < first < self.process.steps:
            raise ConfigError(f"images can be restarted from timesteps 1 to {self.process.steps - 1}, got {first}")
        if self.noise is None:
            raise ConfigError("a restart needs noise")
        timesteps = restart_timesteps(sampler_timesteps(self.process, self.sampler), first)
        respaced = self.process.respaced(timesteps[::-1])
        # The last timestep of the respaced process is the one to restart from.
        t = torch.full((len(x),), respaced.steps - 1, device=x.device)
        return self._down(respaced, respaced.noise(x, t, self.noise()))

    def _down(self, process: GaussianDiffusion, x: Tensor) -> Tensor:
        """From the last timestep of a respaced process to clean images."""
        step = SAMPLERS[self.sampler.name](process, self.noise)
        for done, t in enumerate(reversed(range(process.steps)), start=1):
            at = torch.full((len(x),), t, device=x.device)
            predicted = self.denoiser(x, process.named(at)).to(x.dtype)
            _check(predicted, done, process.steps, int(process.named(at)[0]))
            x0 = self._clamped(process.predict_x0(x, at, predicted[:, : x.shape[1]]))
            if self.levels is not None:
                # Levels that move a prediction may move it out of [-1, 1].
                x0 = self._clamped(self.levels.corrected(x0, x, float(process.alphas_bar[t])))
            x = step(x, x0, predicted, t)
        return x

    def _clamped(self, x0: Tensor) -> Tensor:
        if self.clamp:
            return x0.clamp(-1, 1)
        return x0


def restart_steps(process: GaussianDiffusion, sampler: SamplerConfig) -> int:
    """Evaluations of the denoiser that a restart adds."""
    return len(restart_timesteps(sampler_timesteps(process, sampler), sampler.restart))


def sampler_timesteps(process: GaussianDiffusion, sampler: SamplerConfig) -> list[int]:
    """The timesteps that a sampler visits, ascending, the first of the process among them.

    Those of ddpm and ddim are even in t and end with the last. Those of dpm++ are even in log-SNR, as the order of a
    multistep method wants it, as far as a discrete schedule has them; they begin in noise of `LARGEST_NOISE`, because
    cosine schedules go on for many log-SNR without a change that can be seen.

    Raises
    ------
    ConfigError
        The process has fewer timesteps.
    """
    even = strided_timesteps(process.steps, sampler.steps)
    if sampler.name != "dpm++" or sampler.steps == 1:
        return even
    log_snr = half_log_snr(process)
    # Never fewer timesteps than steps, even where a schedule reaches that noise early.
    last = max(int((log_snr >= LARGEST_NOISE).sum()), sampler.steps) - 1
    wanted = torch.linspace(float(log_snr[0]), float(log_snr[last]), sampler.steps, dtype=torch.float64)
    timesteps: list[int] = (log_snr[None] - wanted[:, None]).abs().argmin(1).tolist()
    # Where even steps fall on one timestep, the next free ones.
    for i in range(1, len(timesteps)):
        timesteps[i] = max(timesteps[i], timesteps[i - 1] + 1)
    # Then back again, where that went beyond the last timestep.
    for i in range(len(timesteps)):
        timesteps[i] = min(timesteps[i], last - (len(timesteps) - 1 - i))
    return timesteps


def half_log_snr(process: GaussianDiffusion) -> Tensor:
    """``lambda_t = log(sqrt(abar_t) / sqrt(1 - abar_t))``, float64 ``(steps,)``, falling with t (Lu et al. 2022)."""
    return 0.5 * torch.logit(process.alphas_bar)


Step = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""From ``x_t``, the predicted ``x_0``, all that was predicted and ``t`` to ``x_{t-1}``."""


def _ancestral(process: GaussianDiffusion, noise: Noise | None) -> Step:
    if noise is None:
        raise ConfigError("ancestral sampling (ddpm) needs noise at every step")

    def step(x: Tensor, x0: Tensor, predicted: Tensor, t: int) -> Tensor:
        channels = x.shape[1]
        at = torch.full((len(x),), t, device=x.device)
        mean = process.posterior_mean(x0, x, at)
        if t == 0:
            return mean
        # A network that also predicts variance puts out twice the channels; its code comes second.
        if predicted.shape[1] == 2 * channels:
            spread = (0.5 * process.learned_log_variance(predicted[:, channels:], at)).exp()
        else:
            spread = process.at(process.posterior_variances.sqrt(), at, x)
        return mean + spread * noise()

    return step


def _ddim(process: GaussianDiffusion, noise: Noise | None) -> Step:
    signals, sigmas = _signals_and_sigmas(process)

    def step(x: Tensor, x0: Tensor, predicted: Tensor, t: int) -> Tensor:
        if t == 0:
            return x0
        eps = (x - signals[t] * x0) / sigmas[t]
        return signals[t - 1] * x0 + sigmas[t - 1] * eps

    return step


def _dpm_multistep(process: GaussianDiffusion, noise: Noise | None) -> Step:
    signals, sigmas = _signals_and_sigmas(process)
    log_snr = half_log_snr(process).tolist()
    # H of the step from t + 1 to t, at position t.
    widths = [low - high for low, high in pairwise(log_snr)]
    # x_0 as the last step predicted it; empty before the first step.
    before: list[Tensor] = []

    def step(x: Tensor, x0: Tensor, predicted: Tensor, t: int) -> Tensor:
        if t == 0:
            # Lambda of a clean image is infinite: the step of first order gives x_0 itself.
            return x0
        width = widths[t - 1]
        direction = x0
        if before:
            # Second order: the last prediction tells how x_0 changes along log-SNR.
            ratio = widths[t] / width
            direction = x0 + (x0 - before.pop()) / (2 * ratio)
        before.append(x0)
        # expm1 keeps the digits of narrow steps, where exp(-h) - 1 would cancel.
        return sigmas[t - 1] / sigmas[t] * x - signals[t - 1] * math.expm1(-width) * direction

    return step


USUAL_STEPS = {"dpm++": 20, "ddim": 250, "ddpm": 1000}
"""Name -> steps that are usually enough: ``ddpm`` takes all that it was trained on."""
SAMPLERS: dict[str, Callable[[GaussianDiffusion, Noise | None], Step]] = {
    "ddpm": _ancestral,
    "ddim": _ddim,
    "dpm++": _dpm_multistep,
}
"""Name -> what makes the step of one walk."""


def _signals_and_sigmas(process: GaussianDiffusion) -> tuple[list[float], list[float]]:
    abar = process.alphas_bar
    return abar.sqrt().tolist(), (1 - abar).sqrt().tolist()


def _check(predicted: Tensor, step: int, steps: int, t: int) -> None:
    """Refuse predictions that are no numbers: clamping would turn infinite ones into grey levels."""
    sound = torch.isfinite(predicted).flatten(1).all(1)
    if not bool(sound.all()):
        bad = int((~sound).nonzero()[0, 0])
        raise SynthesisError(
            f"step {step} of {steps} (timestep {t}): the network's output for sample {bad} of the batch is no number; "
            "the checkpoint is damaged or of a training that diverged, or the guidance is far too strong"
        )
