"""One diffusion of an image, its distance map and its semantic label together: method C (Min, Oh, Jeong 2024).

The three share their time and one network, but each has its own process: image and distance map are
Gaussian with the cosine log-SNR (`wsinuc.models.diffusion.cosine`), the label is categorical
(`wsinuc.models.diffusion.categorical`). So the reverse step factorises, ``p(u_{t-1} | u_t) =
p_image p_distance p_label``, and what is learned is the sum of three losses.

A process knows nothing of networks: it takes the denoiser as a function of the noisy unit and the log-SNR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wsinuc.errors import ConfigError
from wsinuc.models.diffusion.categorical import CategoricalDiffusion, sample_classes
from wsinuc.models.diffusion.cosine import CosineSchedule, estimate_clean

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
        # Image and distance in one draw, so that a sample's noise is one stretch of its generator.
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
        # The image's log-SNR stands for the time of the whole unit, also where the distance's schedule differs.
        log_snr = self.image.log_snr(t.cpu())
        predicted = denoiser(noisy, log_snr.float().to(clean.image.device))
        # Squares in fp32: bf16 has too few digits for what is left late in a training.
        image = (predicted.image.float() - noise.image).square().flatten(1).mean(1)
        distance = (predicted.distance.float() - noise.distance).square().flatten(1).mean(1)
        label = self.label.loss(predicted.logits, clean.label, noisy.label, self.timestep(t.cpu()))
        total = weights.image * image + weights.label * label + weights.distance * distance
        if weights.p2 is not None:
            k, gamma = weights.p2
            total = total * ((k + log_snr.exp()) ** -gamma).to(total)
        return JointLoss(total, image, distance, label)

    def clean_parts(self, unit: JointUnit, predicted: JointPrediction, t: int) -> tuple[Tensor, Tensor]:
        """Image and distance map that a prediction at timestep ``t`` implies, each thresholded by itself."""
        time = torch.tensor(t / self.steps)
        return (
            estimate_clean(unit.image, predicted.image, float(self.image.log_snr(time))),
            estimate_clean(unit.distance, predicted.distance, float(self.distance.log_snr(time))),
        )

    def label_step(self, labels: Tensor, logits: Tensor, t: int, s: int, uniform: Tensor) -> Tensor:
        """One draw of the labels at timestep ``s`` < ``t``; -1 draws the clean ones from the network's own."""
        now, later = (torch.full((len(labels),), v) for v in (t, s))
        return sample_classes(self.label.posterior(logits.log_softmax(1), labels, now, later), uniform)
