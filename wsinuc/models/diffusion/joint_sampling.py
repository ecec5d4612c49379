"""The way back of method C: images, distance maps and labels together, from noise, for layouts and texts.

The Gaussian parts go back by the sampler that is asked for; the label always takes its posterior
between the steps that are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wsinuc.errors import ConfigError, SynthesisError
from wsinuc.models.conditioning.text import TextTokens
from wsinuc.models.diffusion.categorical import sample_classes
from wsinuc.models.diffusion.cosine import CLEAN, CosineSchedule, ancestral_step, ddim_step, multistep, scales
from wsinuc.models.diffusion.joint import JointDiffusion, JointNoise, JointPrediction, JointUnit
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.diffusion.samplers import SamplerConfig
from wsinuc.models.diffusion.schedules import quadratic_timesteps, restart_timesteps

JointNetwork = Callable[[JointUnit, Tensor, Tensor, TextTokens | None], JointPrediction]
"""`wsinuc.models.networks.cosyn_unet.CoSynUNet`, or whatever is called like it: unit, log-SNR, points, text."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointRequest:
    """What a batch of samples is to show."""

    points: Tensor
    """Layouts, int64 ``(n, h, w)``: the class at the pixel of each nucleus, 0 elsewhere."""
    seeds: Sequence[int]
    """One per sample. All noise of a sample comes from its own seed, so that it is the same in any batch."""
    text: TextTokens | None = None
    """One text per sample; None for none at all."""
    guidance: float = 0.0
    """w of `JointPrediction.extrapolated`, for the text alone: the layout always holds."""

    def to(self, device: torch.device | str) -> JointRequest:
        """The same request on a device."""
        text = self.text
        if text is not None:
            text = TextTokens(text.tokens.to(device), text.mask.to(device))
        return replace(self, points=self.points.to(device), text=text)


@torch.no_grad()
def sample_joint(
    process: JointDiffusion,
    network: JointNetwork,
    request: JointRequest,
    sampler: SamplerConfig,
    *,
    device: torch.device | str = "cpu",
    levels: MeanLevels | None = None,
) -> JointUnit:
    """Images with their labels for layouts and texts.

    Parameters
    ----------
    sampler
        ``ddpm`` with all steps of the process as published; ``ddim`` and ``dpm++`` need fewer. Its steps are
        evaluations of the network, at `quadratic_timesteps`; its restart is the timestep to which finished samples
        are noised, to be walked back once more.
    levels
        Mean levels of the training's images, which keep the colours of samples from drifting.

    Returns
    -------
    JointUnit
        On ``device``; image and distance map clamped to [-1, 1].

    Raises
    ------
    ConfigError
        Too many steps, as many seeds as there are layouts are missing, a point's class is none of the process',
        guidance without text, or a restart from a timestep that there is not.
    SynthesisError
        A prediction is no number; names the step and the sample.
    """
    _check_request(process, request, sampler)
    # Descending, since the way back begins in noise.
    timesteps = quadratic_timesteps(process.steps, sampler.steps)[::-1]
    walk = _Walk(process, network, request.to(device), sampler.name, device, levels)
    unit = walk.descend(walk.start(), timesteps)
    if sampler.restart:
        unit = walk.descend(walk.noised(unit, sampler.restart), restart_timesteps(timesteps, sampler.restart))
    return unit


class _Walk:
    """One batch on its way back; it draws its noise from the samples' own generators, step by step."""

    def __init__(
        self,
        process: JointDiffusion,
        network: JointNetwork,
        request: JointRequest,
        sampler: str,
        device: torch.device | str,
        levels: MeanLevels | None,
    ) -> None:
        self.process = process
        self.network = network
        self.request = request
        self.sampler = sampler
        self.device = device
        self.levels = levels
        # on the CPU: generators of a GPU draw other numbers, and samples would depend on the device
        self.generators = [torch.Generator().manual_seed(seed) for seed in request.seeds]

    def draw(self) -> JointNoise:
        """The next noise of each sample."""
        height, width = self.request.points.shape[-2:]
        parts = [JointNoise.draw(self.process.label.classes, (height, width), g) for g in self.generators]
        return JointNoise.stack(parts, self.device)

    def start(self) -> JointUnit:
        """Nothing but noise."""
        noise = self.draw()
        flat = torch.zeros_like(noise.label)  # every class equally likely
        return JointUnit(noise.image, noise.distance, sample_classes(flat, noise.label))

    def noised(self, unit: JointUnit, timestep: int) -> JointUnit:
        """Finished samples at a timestep again."""
        times = torch.full((len(self.generators),), timestep / self.process.steps, dtype=torch.float64)
        return self.process.noise(unit, times, self.draw())

    def descend(self, unit: JointUnit, timesteps: Sequence[int]) -> JointUnit:
        """From the first of some descending timesteps to the clean unit."""
        image = _Gaussian(self.process.image, self.process.steps, self.sampler)
        distance = _Gaussian(self.process.distance, self.process.steps, self.sampler)
        for number, (t, s) in enumerate(zip(timesteps, [*timesteps[1:], -1], strict=True), start=1):
            log_snr = image.log_snr(t)
            predicted = self._predict(unit, log_snr)
            _check_numbers(predicted, number, len(timesteps), self.request.seeds)
            noise = self.draw()
            x0, d0 = self._clean(unit, predicted, t, log_snr)
            unit = JointUnit(
                image.step(unit.image, x0, t, s, noise.image),
                distance.step(unit.distance, d0, t, s, noise.distance),
                self.process.label_step(unit.label, predicted.logits, t, s, noise.label),
            )
        return JointUnit(unit.image.clamp(-1, 1), unit.distance.clamp(-1, 1), unit.label)

    def _predict(self, unit: JointUnit, log_snr: float) -> JointPrediction:
        request = self.request
        levels = torch.full((len(request.seeds),), log_snr, device=self.device)
        return _guided(self.network, unit, levels, request.points, request.text, request.guidance)

    def _clean(self, unit: JointUnit, predicted: JointPrediction, t: int, log_snr: float) -> tuple[Tensor, Tensor]:
        """Image and distance map that a prediction implies, the image with the levels of the training."""
        x0, d0 = self.process.clean_parts(unit, predicted, t)
        if self.levels is None:
            return x0, d0
        return self.levels.corrected(x0, unit.image, scales(log_snr)[0] ** 2).clamp(-1, 1), d0


class _Gaussian:
    """One Gaussian part on its way back, by one of the samplers."""

    def __init__(self, schedule: CosineSchedule, steps: int, sampler: str) -> None:
        self.schedule = schedule
        self.steps = steps
        self.sampler = sampler
        self.before: tuple[float, Tensor] | None = None

    def log_snr(self, t: int) -> float:
        if t < 0:
            return CLEAN
        return float(self.schedule.log_snr(torch.tensor(t / self.steps)))

    def step(self, x: Tensor, x0: Tensor, t: int, s: int, eps: Tensor) -> Tensor:
        now = self.log_snr(t)
        later = self.log_snr(s)
        if self.sampler == "ddpm":
            return ancestral_step(x, x0, now, later, eps)
        if self.sampler == "ddim":
            return ddim_step(x, x0, now, later)
        before = self.before
        self.before = (now, x0)  # what the next step's second order looks back at
        return multistep(x, x0, now, later, *(before or ()))


def _guided(
    network: JointNetwork, unit: JointUnit, log_snr: Tensor, points: Tensor, text: TextTokens | None, guidance: float
) -> JointPrediction:
    """The network's prediction in single precision, away from the one without text where that is asked for."""
    prompted = _single(network(unit, log_snr, points, text))
    if guidance == 0:
        return prompted
    unprompted = _single(network(unit, log_snr, points, None))
    return prompted.extrapolated(unprompted, guidance)


def _single(predicted: JointPrediction) -> JointPrediction:
    """The same in single precision: differences of half-precision numbers would be mostly rounding."""
    return JointPrediction(predicted.image.float(), predicted.distance.float(), predicted.logits.float())


def _check_request(process: JointDiffusion, request: JointRequest, sampler: SamplerConfig) -> None:
    """Raise ConfigError for what the process cannot draw."""
    points = request.points
    text = request.text
    seeds = request.seeds
    if points.ndim != 3 or len(points) != len(seeds) or not len(seeds):
        raise ConfigError(f"layouts are (n, h, w) with one seed each, got {tuple(points.shape)} and {len(seeds)} seeds")
    if int(points.min()) < 0 or int(points.max()) >= process.label.classes:
        raise ConfigError(
            f"the layout has nuclei of class {int(points.max())}, but the network knows classes 1 to "
            f"{process.label.classes - 1}: the layout was made for another set of classes"
        )
    if text is not None and len(text.tokens) != len(seeds):
        raise ConfigError(f"{len(seeds)} samples need as many texts, got {len(text.tokens)}")
    if text is None and request.guidance:
        raise ConfigError(
            f"guidance {request.guidance:g} strengthens the text, and there is none: give a prompt, or guidance 0"
        )
    if sampler.restart >= process.steps:
        raise ConfigError(f"samples can be restarted from timesteps 1 to {process.steps - 1}, got {sampler.restart}")


def _check_numbers(predicted: JointPrediction, step: int, steps: int, seeds: Sequence[int]) -> None:
    """Raise SynthesisError for the first sample whose prediction is no number."""
    parts = (predicted.image, predicted.distance, predicted.logits)
    sound = torch.stack([part.isfinite().flatten(1).all(1) for part in parts]).all(0)
    if not bool(sound.all()):
        k = int((~sound).nonzero()[0])
        raise SynthesisError(
            f"sample {k} (seed {seeds[k]}) is no number any more at step {step} of {steps}; most likely the precision "
            "overflowed or the weights are damaged: try single precision, less guidance or another sampler"
        )
