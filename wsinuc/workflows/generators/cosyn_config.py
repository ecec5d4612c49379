"""Settings of a training of method C, and the presets that stand for the published ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.cosyn import LEFT_OUT
from wsinuc.models.conditioning.points_encoder import PointsConfig
from wsinuc.models.diffusion.joint import JointWeights
from wsinuc.models.networks.cosyn_unet import CoSynConfig
from wsinuc.models.training.config import named_preset
from wsinuc.models.training.loop import FitConfig, training_identity
from wsinuc.workflows.training.limits import check_model


@dataclass(frozen=True, slots=True, kw_only=True)
class CoSynTrainConfig:
    """Settings of the training of a joint generator of images and labels (method C).

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.CoSynTrainConfig.preset("cpu").lasting(500)
    >>> config.mpp, config.patch, config.fit.steps
    (0.5, 128, 500)
    """

    mpp: float = 0.5
    """um per pixel of the patches."""
    patch: int = 128
    """Side of a patch in pixels."""
    batch: int = 4
    """Patches per step, over all passes and processes."""
    network: CoSynConfig = field(default_factory=CoSynConfig)
    """Its classes and text width follow the data and the text encoder."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=300_000))
    steps: int = 1000
    """T of the diffusion."""
    weights: JointWeights = field(default_factory=JointWeights)
    without: tuple[str, ...] = ()
    """What the generator never learns, of `wsinuc.models.checkpoints.cosyn.LEFT_OUT`: to place nuclei at points, to
    listen to texts, and turned, flipped, zoomed and restained crops."""
    drop_text: float = 0.1
    """Probability that a patch's text is withheld; 0 makes a network that cannot be guided."""
    tissue_column: str = ""
    """Attribute of the images that names their tissue; empty takes ``tissue`` or ``organ``, whichever there is."""
    tissue: str = ""
    """Tissue of images without such an attribute; empty where it is not known."""
    zoom: float = 1.0
    """See `wsinuc.datasets.augmentation.augment.Augmentation`. What is varied in training is varied in synthesis."""
    stain: float = 0.0
    held_out: float = 0.0
    """Share of the images that are not trained on but measure the held-out loss. With 0, or a single image, it is
    measured on other patches of the images that are trained on."""
    validate_every: int = 0
    """Images seen between measurements of the held-out loss; 0 never measures it."""
    sample_every: int = 0
    """Images seen between pages of samples; 0 makes one at the end alone."""
    sample_steps: int = 25
    """Of DPM-Solver++, for these pages."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_model(self.network, self.mpp)
        if self.patch < 1 or self.patch % self.network.stride:
            raise ConfigError(
                f"patches must be a multiple of {self.network.stride} px for this network, got {self.patch}"
            )
        if self.batch < 1 or self.batch % self.fit.accumulate:
            raise ConfigError(f"a batch of {self.batch} patches cannot be shared out to {self.fit.accumulate} passes")
        unknown = [each for each in self.without if each not in LEFT_OUT]
        if unknown or len(set(self.without)) < len(self.without):
            raise ConfigError(
                f"without names each of {', '.join(LEFT_OUT)} at most once, got {', '.join(self.without)}"
            )
        if not 0 <= self.drop_text < 1:
            raise ConfigError(f"the share of dropped texts lies between 0 and 1, got {self.drop_text}")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"the held-out share lies between 0 and 1, got {self.held_out}")
        if not 1 <= self.sample_steps <= self.steps:
            raise ConfigError(f"samples take 1 to {self.steps} steps, got {self.sample_steps}")

    @property
    def images_seen(self) -> int:
        """Patches that the whole training shows."""
        return self.batch * self.fit.steps

    @classmethod
    def preset(cls, name: str) -> CoSynTrainConfig:
        """Settings by the name of a preset, one of `PRESETS`; raises ConfigError for what is none."""
        return named_preset(PRESETS, name)

    def lasting(self, steps: int) -> CoSynTrainConfig:
        """The same training over so many steps."""
        return replace(self, fit=replace(self.fit, steps=steps))

    def identity(self) -> dict[str, Any]:
        """What a continued training must share with its beginning: all but its length, its rate,
        how it is computed and what is drawn of it."""
        # States of older trainings do not name them.
        unused = tuple(name for name in ("held_out", "without") if not getattr(self, name))
        return training_identity(self, apart=("sample_every", "sample_steps", "validate_every", *unused))


_BETAS = (0.9, 0.99)

PRESETS: dict[str, CoSynTrainConfig] = {
    "cpu": CoSynTrainConfig(
        network=CoSynConfig(
            base=32,
            multipliers=(2, 4, 8, 8),
            blocks=(1, 1, 1, 1),
            attends=(False, False, False, False),
            reads=(False, False, False, True),
            middle_attends=False,
            fusion=(8, 16),
            points=PointsConfig(width=16, growth=8, blocks=1, dense=2),
            context=64,
            latents=8,
            resampler_depth=1,
            heads=2,
        ),
        fit=FitConfig(steps=20_000, lr=3e-4, betas=_BETAS, warmup=200, cosine=True, ema=0.999, save_every=200),
    ),
    "small": CoSynTrainConfig(
        mpp=0.25,
        patch=256,
        batch=8,
        network=CoSynConfig(
            base=64,
            multipliers=(2, 4, 6, 8),
            blocks=(1, 2, 3, 3),
            attends=(False, False, True, True),
            reads=(False, False, True, True),
            fusion=(16, 32),
            points=PointsConfig(width=32, growth=16, blocks=2, dense=3),
        ),
        fit=FitConfig(steps=100_000, lr=1e-4, betas=_BETAS, warmup=1000),
    ),
    "paper": CoSynTrainConfig(mpp=0.25, patch=256, fit=FitConfig(steps=300_000, lr=1e-4, betas=_BETAS)),
}
"""``cpu`` is for a few cores; ``paper`` is method C as published (Min, Oh, Jeong 2024: batch 4, 300
000 steps); ``small`` has a sixth of its parameters."""
