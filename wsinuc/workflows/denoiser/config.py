"""Settings of a pre-training, and the presets that stand for the published ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from wsinuc.errors import ConfigError
from wsinuc.models.diffusion.schedules import SCHEDULES
from wsinuc.models.diffusion.variance import Objective
from wsinuc.models.networks.attention_unet import AttentionUNetConfig
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.models.training.config import named_preset
from wsinuc.models.training.loop import FitConfig, training_identity
from wsinuc.workflows.training.limits import check_model


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """Settings of the pre-training of a denoiser, from unlabelled tissue.

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.PretrainConfig.preset("cpu").lasting(500)
    >>> config.mpp, config.patch, config.fit.steps
    (0.5, 64, 500)
    """

    mpp: float = 0.5
    """um per pixel of the patches."""
    patch: int = 64
    """Side of a patch in pixels."""
    batch: int = 16
    """Patches per step, over all passes and processes."""
    unet: UNetConfig | AttentionUNetConfig = field(default_factory=UNetConfig)
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=50_000))
    betas: str = "linear"
    """Name of the noise schedule, of 1000 steps."""
    p2: tuple[float, float] | None = None
    """(k, gamma) of the P2 weights; see :class:`wsinuc.models.diffusion.variance.Objective`."""
    rescale_variance_loss: bool = False
    timestep_power: float = 1.0
    """See :func:`wsinuc.models.diffusion.gaussian.sample_timesteps`."""
    zoom: float = 1.3
    stain: float = 0.25
    held_out: float = 0.0
    """Share of the images that are not trained on but measure the held-out loss. With 0, or a single image, it is
    measured on other patches of the images that are trained on."""
    validate_every: int = 0
    """Images seen between measurements of the held-out loss; 0 never measures it."""
    validation_patches: int = 64
    sample_every: int = 0
    """Images seen between sample grids; 0 draws none."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_model(self.unet, self.mpp)
        if self.patch < 1 or self.patch % self.unet.stride:
            raise ConfigError(f"patches must be a multiple of {self.unet.stride} px for this network, got {self.patch}")
        if self.batch < 1 or self.batch % self.fit.accumulate:
            raise ConfigError(f"a batch of {self.batch} patches cannot be shared out to {self.fit.accumulate} passes")
        if self.betas not in SCHEDULES:
            raise ConfigError(f"no noise schedule is called {self.betas!r}; there are: {', '.join(SCHEDULES)}")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"the held-out share lies between 0 and 1, got {self.held_out}")
        if self.unet.out_channels not in (self.unet.in_channels, 2 * self.unet.in_channels):
            raise ConfigError(
                "a denoiser puts out as many channels as it takes, or twice as many with learned variance"
            )

    @property
    def learned_variance(self) -> bool:
        """Whether the network also predicts the variance of the reverse step."""
        return self.unet.out_channels == 2 * self.unet.in_channels

    @property
    def objective(self) -> Objective:
        """What the network is trained to do."""
        return Objective(p2=self.p2, learned_variance=self.learned_variance, rescale=self.rescale_variance_loss)

    @property
    def images_seen(self) -> int:
        """Patches that the whole training shows."""
        return self.batch * self.fit.steps

    @classmethod
    def preset(cls, name: str) -> PretrainConfig:
        """Settings by the name of a preset, one of `PRESETS`; raises ConfigError for what is none."""
        return named_preset(PRESETS, name)

    def lasting(self, steps: int) -> PretrainConfig:
        """The same training over so many steps."""
        return replace(self, fit=replace(self.fit, steps=steps))

    def identity(self) -> dict[str, Any]:
        """What a continued training must share with its beginning: all but its length, its rate,
        and how it is computed."""
        return training_identity(self, apart=("sample_every", "validate_every", "validation_patches"))


_LONG = FitConfig(steps=50_000, lr=1e-4, ema=0.9999)

PRESETS: dict[str, PretrainConfig] = {
    "cpu": PretrainConfig(
        unet=UNetConfig(base=32, multipliers=(1, 2, 4, 4), res_blocks=1, attention_factors=(), middle_attention=False),
        fit=FitConfig(steps=2000, lr=1e-3, warmup=100, cosine=True, weight_decay=0.01, ema=0.999, save_every=200),
        timestep_power=2.0,
    ),
    "small": PretrainConfig(
        mpp=0.25, patch=256, unet=UNetConfig(base=64), fit=_LONG, held_out=0.1, validate_every=50_000
    ),
    "paper": PretrainConfig(
        mpp=0.25, patch=256, unet=UNetConfig(base=128), fit=_LONG, held_out=0.1, validate_every=50_000
    ),
    "genselfdiff": PretrainConfig(
        mpp=0.25,
        patch=256,
        batch=8,
        unet=AttentionUNetConfig(),
        fit=_LONG,
        betas="quadratic",
        p2=(1.0, 1.0),
        zoom=1.0,
        stain=0.0,
        held_out=0.1,
        validate_every=50_000,
    ),
}
"""``cpu`` trains within an hour on two cores; ``paper`` is method A (Alexis et al. 2024) with the
256 px flags, 2688 features wide; ``small`` the same at half the width; ``genselfdiff`` is method D
(Purma et al. 2025)."""
