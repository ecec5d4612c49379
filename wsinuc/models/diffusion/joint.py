"""One diffusion of an image, its distance map and its semantic label together: method C (Min, Oh, Jeong 2024).

The three share their time and one network, but each has its own process: image and distance map are
Gaussian with the cosine log-SNR (`wsinuc.models.diffusion.cosine`), the label is categorical
(`wsinuc.models.diffusion.categorical`). So the reverse step factorises, ``p(u_{t-1} | u_t) =
p_image p_distance p_label``, and what is learned is the sum of three losses.

A process knows nothing of networks: it takes the denoiser as a function of the noisy unit and the log-SNR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wsinuc.errors import ConfigError, SynthesisError
from wsinuc.models.conditioning.text import TextTokens
from wsinuc.models.diffusion.categorical import CategoricalDiffusion, sample_classes
from wsinuc.models.diffusion.cosine import (
    CLEAN,
    CosineSchedule,
    ancestral_step,
    ddim_step,
    estimate_clean,
    multistep,
    scales,
)
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.diffusion.schedules import quadratic_timesteps, restart_timesteps

SAMPLERS = ("ddpm", "ddim", "dpm++")
"""Ways back of the Gaussian parts; the label always takes its posterior between the steps that are kept."""
_LATEST = 0.999  # of the times that a training draws; beyond it there is nothing left to see


@dataclass(frozen=True, slots=True, eq=False)
class JointUnit:
    """A batch of what is generated, clean or noisy."""

    image: Tensor
    """(n, 3, h, w) RGB in [-1, 1]."""
    distance: Tensor
    """(n, 1, h, w) distance map in [-1, 1]: 1 at a nucleus' centroid, -1 at its rim and outside."""
    label: Tensor
    """(n, h, w) int64 class of each pixel, 0 is background."""

    @property
    def distance_map(self) -> Tensor:
        """(n, h, w) the distance map in [0, 1], as `wsinuc.synthesis.distance_map.centroid_distance` writes it."""
        return ((self.distance[:, 0] + 1) / 2).clamp(0, 1)

    def to(self, device: torch.device | str) -> JointUnit:
        """The same unit on a device."""
        return JointUnit(self.image.to(device), self.distance.to(device), self.label.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class JointPrediction:
    """What the network says of a noisy unit."""

    image: Tensor
    """(n, 3, h, w) noise in the image."""
    distance: Tensor
    """(n, 1, h, w) noise in the distance map."""
    logits: Tensor
    """(n, K, h, w) of the clean label's classes."""

    def extrapolated(self, free: JointPrediction, guidance: float) -> JointPrediction:
        """``free + (w + 1) (self - free)``: classifier-free guidance of all three parts.

        The paper writes the weight as s = w + 1, so that its 2.0 is ``guidance`` 1.0; 0 is no guidance.
        """

        def away(ours: Tensor, theirs: Tensor) -> Tensor:
            return theirs + (guidance + 1) * (ours - theirs)

        return JointPrediction(
            away(self.image, free.image), away(self.distance, free.distance), away(self.logits, free.logits)
        )


JointDenoiser = Callable[[JointUnit, Tensor], JointPrediction]
"""From a noisy unit and its log-SNR ``(n,)`` to a prediction; conditions are the caller's."""


@dataclass(frozen=True, slots=True, eq=False)
class JointNoise:
    """All the randomness of one forward or reverse step."""

    image: Tensor
    """(n, 3, h, w) normal."""
    distance: Tensor
    """(n, 1, h, w) normal."""
    label: Tensor
    """(n, K, h, w) uniform in [0, 1)."""

    @classmethod
    def draw(cls, classes: int, size: tuple[int, int], generator: torch.Generator) -> JointNoise:
        """Noise of one sample (n = 1) of ``size`` (h, w), on the CPU."""
        gaussian = torch.randn((1, 4, *size), generator=generator)
        return cls(gaussian[:, :3], gaussian[:, 3:], torch.rand((1, classes, *size), generator=generator))

    @classmethod
    def stack(cls, parts: list[JointNoise], device: torch.device | str) -> JointNoise:
        """Noise of several samples as one batch on a device."""
        fields = zip(*((p.image, p.distance, p.label) for p in parts), strict=True)
        image, distance, label = (torch.cat(column).to(device) for column in fields)
        return cls(image, distance, label)


@dataclass(frozen=True, slots=True, kw_only=True)
class JointWeights:
    """How much each part of the loss counts; the defaults are the paper's."""

    image: float = 9.0
    label: float = 3.0
    distance: float = 1.0
    p2: tuple[float, float] | None = (1.0, 0.5)
    """(k, gamma): all parts are multiplied by (k + SNR)^-gamma (Choi et al. 2022); None weighs all times alike."""

    def __post_init__(self) -> None:
        if min(self.image, self.label, self.distance) < 0 or self.image + self.label + self.distance == 0:
            raise ConfigError(f"weights of a loss are not negative and not all 0, got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class JointLoss:
    """Loss of each sample of a batch, ``(n,)``, and its parts before they are weighted."""

    total: Tensor
    image: Tensor
    distance: Tensor
    label: Tensor


@dataclass(frozen=True, eq=False)
class JointDiffusion:
    """Three processes that share their time; image and distance have schedules of their own, if of the same formula.

    Timestep i of ``steps`` is the time i / steps.
    """

    label: CategoricalDiffusion
    image: CosineSchedule = field(default_factory=CosineSchedule)
    distance: CosineSchedule = field(default_factory=CosineSchedule)

    @classmethod
    def of(cls, classes: int, steps: int = 1000) -> JointDiffusion:
        """The published process of ``classes`` classes, background included."""
        return cls(CategoricalDiffusion(classes, steps, CosineSchedule()))

    @property
    def steps(self) -> int:
        """T."""
        return self.label.steps

    def draw_times(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` times of a training, uniform in [0, 0.999), float64."""
        return torch.rand(n, generator=generator, dtype=torch.float64) * _LATEST

    def noise(self, clean: JointUnit, t: Tensor, noise: JointNoise) -> JointUnit:
        """The unit at times ``t`` ``(n,)`` in [0, 1)."""
        return JointUnit(
            self.image.noise(clean.image, t, noise.image),
            self.distance.noise(clean.distance, t, noise.distance),
            self.label.noise(clean.label, self.timestep(t), noise.label),
        )

    def timestep(self, t: Tensor) -> Tensor:
        """Timesteps of the label at times ``t``: floor(t T)."""
        return (t * self.steps).long().clamp(0, self.steps - 1)

    def loss(
        self, denoiser: JointDenoiser, clean: JointUnit, t: Tensor, noise: JointNoise, weights: JointWeights
    ) -> JointLoss:
        """Weighted sum of the squared errors of both noises and of the label's bound, per sample.

        ``L = p2(SNR) (9 L_image + 3 L_label + L_distance)`` with the paper's weights.
        """
        noisy = self.noise(clean, t, noise)
        log_snr = self.image.log_snr(t.cpu())
        predicted = denoiser(noisy, log_snr.float().to(clean.image.device))
        image = (predicted.image.float() - noise.image).square().flatten(1).mean(1)
        distance = (predicted.distance.float() - noise.distance).square().flatten(1).mean(1)
        label = self.label.loss(predicted.logits, clean.label, noisy.label, self.timestep(t.cpu()))
        total = weights.image * image + weights.label * label + weights.distance * distance
        if weights.p2 is not None:
            k, gamma = weights.p2
            total = total * ((k + log_snr.exp()) ** -gamma).to(total)
        return JointLoss(total, image, distance, label)

    def clean_parts(
        self, unit: JointUnit, predicted: JointPrediction, t: int, percentile: float | None = 0.95
    ) -> tuple[Tensor, Tensor]:
        """Image and distance map that a prediction at timestep ``t`` implies, each thresholded by itself."""
        time = torch.tensor(t / self.steps)
        return (
            estimate_clean(unit.image, predicted.image, float(self.image.log_snr(time)), percentile),
            estimate_clean(unit.distance, predicted.distance, float(self.distance.log_snr(time)), percentile),
        )

    def label_step(self, labels: Tensor, logits: Tensor, t: int, s: int, uniform: Tensor) -> Tensor:
        """One draw of the labels at timestep ``s`` < ``t``; -1 draws the clean ones from the network's own."""
        now, later = (torch.full((len(labels),), v) for v in (t, s))
        return sample_classes(self.label.posterior(logits.log_softmax(1), labels, now, later), uniform)


class _Gaussian:
    """One Gaussian part on its way back, by one of the samplers."""

    def __init__(self, schedule: CosineSchedule, steps: int, sampler: str) -> None:
        self.schedule, self.steps, self.sampler = schedule, steps, sampler
        self.before: tuple[float, Tensor] | None = None

    def log_snr(self, t: int) -> float:
        return CLEAN if t < 0 else float(self.schedule.log_snr(torch.tensor(t / self.steps)))

    def step(self, x: Tensor, x0: Tensor, t: int, s: int, eps: Tensor) -> Tensor:
        now, later = self.log_snr(t), self.log_snr(s)
        if self.sampler == "ddpm":
            return ancestral_step(x, x0, now, later, eps)
        if self.sampler == "ddim":
            return ddim_step(x, x0, now, later)
        before, self.before = self.before, (now, x0)
        return multistep(x, x0, now, later, *(before or ()))


JointNetwork = Callable[[JointUnit, Tensor, Tensor, TextTokens | None], JointPrediction]
"""`wsinuc.models.networks.cosyn_unet.CoSynUNet`, or whatever is called like it: unit, log-SNR, points, text."""


@torch.no_grad()
def sample_joint(
    process: JointDiffusion,
    network: JointNetwork,
    points: Tensor,
    text: TextTokens | None,
    seeds: Sequence[int],
    *,
    sampler: str = "ddpm",
    steps: int | None = None,
    guidance: float = 0.0,
    device: torch.device | str = "cpu",
    percentile: float | None = 0.95,
    levels: MeanLevels | None = None,
    restart: int = 0,
) -> JointUnit:
    """Images with their labels for layouts and texts.

    Parameters
    ----------
    points
        Layouts, int64 ``(n, h, w)``: the class at the pixel of each nucleus, 0 elsewhere.
    text
        One text per sample; None for none at all.
    seeds
        One per sample. All noise of a sample comes from its own seed, so that it is the same in any batch.
    sampler
        One of `SAMPLERS`: ``ddpm`` as published; ``ddim`` and ``dpm++`` need fewer steps.
    steps
        Evaluations of the network, at `quadratic_timesteps`; all of the process' by default.
    guidance
        w of `JointPrediction.extrapolated`, for the text alone: the layout always holds.
    percentile
        Of the dynamic thresholding; None for none.
    levels
        Mean levels of the training's images, which keep the colours of samples from drifting.
    restart
        Timestep to which finished samples are noised, to be walked back once more (see
        `wsinuc.models.diffusion.samplers.Walk.restarted`); 0 is none.

    Returns
    -------
    JointUnit
        On ``device``; image and distance map clamped to [-1, 1].

    Raises
    ------
    ConfigError
        Unknown sampler, too many steps, as many seeds as there are layouts are missing, a point's class is none of the
        process', guidance without text, or a restart from a timestep that there is not.
    SynthesisError
        A prediction is no number; names the step and the sample.
    """
    _check_request(process, points, text, seeds, sampler, guidance)
    if not 0 <= restart < process.steps:
        raise ConfigError(f"samples can be restarted from timesteps 1 to {process.steps - 1}, got {restart}")
    timesteps = quadratic_timesteps(process.steps, steps or process.steps)[::-1]
    size = (points.shape[-2], points.shape[-1])
    points = points.to(device)
    text = None if text is None else TextTokens(text.tokens.to(device), text.mask.to(device))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw() -> JointNoise:
        return JointNoise.stack([JointNoise.draw(process.label.classes, size, g) for g in generators], device)

    def descend(unit: JointUnit, timesteps: Sequence[int]) -> JointUnit:
        image = _Gaussian(process.image, process.steps, sampler)
        distance = _Gaussian(process.distance, process.steps, sampler)
        for number, (t, s) in enumerate(zip(timesteps, [*timesteps[1:], -1], strict=True), start=1):
            log_snr = torch.full((len(seeds),), image.log_snr(t), device=device)
            predicted = _guided(network, unit, log_snr, points, text, guidance)
            _check_numbers(predicted, number, len(timesteps), seeds)
            noise = draw()
            x0, d0 = process.clean_parts(unit, predicted, t, percentile)
            if levels is not None:
                x0 = levels.corrected(x0, unit.image, scales(image.log_snr(t))[0] ** 2)
                x0 = x0 if percentile is None else x0.clamp(-1, 1)
            unit = JointUnit(
                image.step(unit.image, x0, t, s, noise.image),
                distance.step(unit.distance, d0, t, s, noise.distance),
                process.label_step(unit.label, predicted.logits, t, s, noise.label),
            )
        return JointUnit(unit.image.clamp(-1, 1), unit.distance.clamp(-1, 1), unit.label)

    start = draw()
    flat = torch.zeros_like(start.label)  # every class equally likely
    unit = descend(JointUnit(start.image, start.distance, sample_classes(flat, start.label)), timesteps)
    if restart:
        times = torch.full((len(seeds),), restart / process.steps, dtype=torch.float64, device=device)
        unit = descend(process.noise(unit, times, draw()), restart_timesteps(timesteps, restart))
    return unit


def _guided(
    network: JointNetwork, unit: JointUnit, log_snr: Tensor, points: Tensor, text: TextTokens | None, guidance: float
) -> JointPrediction:
    """The network's prediction in single precision, away from the one without text where that is asked for."""
    told = network(unit, log_snr, points, text)
    told = JointPrediction(told.image.float(), told.distance.float(), told.logits.float())
    if guidance == 0:
        return told
    free = network(unit, log_snr, points, None)
    return told.extrapolated(JointPrediction(free.image.float(), free.distance.float(), free.logits.float()), guidance)


def _check_request(
    process: JointDiffusion,
    points: Tensor,
    text: TextTokens | None,
    seeds: Sequence[int],
    sampler: str,
    guidance: float,
) -> None:
    if sampler not in SAMPLERS:
        raise ConfigError(f"no sampler is called {sampler!r}; there are: {', '.join(SAMPLERS)}")
    if points.ndim != 3 or len(points) != len(seeds) or not len(seeds):
        raise ConfigError(f"layouts are (n, h, w) with one seed each, got {tuple(points.shape)} and {len(seeds)} seeds")
    if int(points.min()) < 0 or int(points.max()) >= process.label.classes:
        raise ConfigError(
            f"the layout has nuclei of class {int(points.max())}, but the network knows classes 1 to "
            f"{process.label.classes - 1}: the layout was made for another set of classes"
        )
    if text is not None and len(text.tokens) != len(seeds):
        raise ConfigError(f"{len(seeds)} samples need as many texts, got {len(text.tokens)}")
    if text is None and guidance:
        raise ConfigError(
            f"guidance {guidance:g} strengthens the text, and there is none: give a prompt, or guidance 0"
        )


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
