"""Settings of the trainings of method B's two networks, and the presets that stand for the published ones."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.generators import IMAGE, STRUCTURE
from wsinuc.models.diffusion.schedules import SCHEDULES
from wsinuc.models.diffusion.variance import Objective
from wsinuc.models.networks.spade_unet import SpadeUNetConfig
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.models.training.config import named_preset
from wsinuc.models.training.loop import FitConfig, training_identity
from wsinuc.synthesis.structures import SMALLEST_PX
from wsinuc.workflows.training.limits import check_model

CHANNELS = 3
"""Of an image, and of a structure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorConfig:
    """Settings of one training: of images for structures when the network is a SpadeUNet's, else of structures
    (method B).

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.GeneratorConfig.preset("nudiff-image", "cpu").lasting(500)
    >>> config.kind, config.patch, config.fit.steps
    ('nudiff-image', 128, 500)
    """

    network: UNetConfig | SpadeUNetConfig
    mpp: float = 0.25
    """um per pixel of the patches."""
    patch: int = 256
    """Side of a patch in pixels."""
    batch: int = 4
    """Patches per step, over all passes."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=50_000))
    betas: str = "linear"
    """Name of the noise schedule, of 1000 steps."""
    rescale_variance_loss: bool = False
    timestep_power: float = 1.0
    """See :func:`wsinuc.models.diffusion.gaussian.sample_timesteps`."""
    smallest_px: int = SMALLEST_PX
    """Nuclei with fewer pixels in a patch get no H and V."""
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(zoom=1.1, stain=0.05))
    """Mild: what is generated has the colours and sizes that were trained on."""
    drop_rate: float = 0.0
    """Images only: how often the structure is left out in the second phase, for guidance."""
    drop_from: int = 0
    """Step at which the second phase begins; before, no structure is left out. See ``FitConfig.later`` for its rate."""
    held_out: float = 0.0
    """Share of the images that are not trained on but measure the held-out loss. With 0, or a single image, it is
    measured on other patches of the images that are trained on."""
    validate_every: int = 0
    """Images seen between measurements of the held-out loss; 0 never measures it."""
    sample_every: int = 0
    """Images seen between pages of samples; 0 draws only one, at the end."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_model(self.network, self.mpp)
        if self.patch < 1 or self.patch % self.network.stride:
            raise ConfigError(
                f"patches must be a multiple of {self.network.stride} px for this network, got {self.patch}"
            )
        if self.batch < 1 or self.batch % self.fit.accumulate:
            raise ConfigError(f"a batch of {self.batch} patches cannot be shared out to {self.fit.accumulate} passes")
        if self.betas not in SCHEDULES:
            raise ConfigError(f"no noise schedule is called {self.betas!r}; there are: {', '.join(SCHEDULES)}")
        if self.timestep_power <= 0:
            raise ConfigError(f"timestep_power must be positive, got {self.timestep_power}")
        if not 0 <= self.drop_rate < 1 or self.drop_from < 0:
            raise ConfigError(
                f"drop_rate lies in [0, 1) and drop_from is a step, got {self.drop_rate}, {self.drop_from}"
            )
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"the held-out share lies between 0 and 1, got {self.held_out}")
        if self.kind == STRUCTURE and self.drop_rate:
            raise ConfigError("a network of structures has no condition that could be dropped: set drop_rate to 0")
        if self.network.in_channels != CHANNELS or self.network.out_channels not in (CHANNELS, 2 * CHANNELS):
            raise ConfigError("a generator takes 3 channels and puts out 3, or 6 with learned variance")
        if self.kind == IMAGE and getattr(self.network, "condition_channels", CHANNELS) != CHANNELS:
            raise ConfigError("a structure has 3 channels: set condition_channels to 3")

    @property
    def kind(self) -> str:
        """Of the checkpoint that the training makes: ``nudiff-structure`` or ``nudiff-image``."""
        if isinstance(self.network, SpadeUNetConfig):
            return IMAGE
        return STRUCTURE

    @property
    def learned_variance(self) -> bool:
        """Whether the network also predicts the variance of the reverse step."""
        return self.network.out_channels == 2 * CHANNELS

    @property
    def objective(self) -> Objective:
        """The loss."""
        return Objective(learned_variance=self.learned_variance, rescale=self.rescale_variance_loss)

    @property
    def images_seen(self) -> int:
        """Patches that the whole training shows."""
        return self.batch * self.fit.steps

    @classmethod
    def preset(cls, kind: str, name: str) -> GeneratorConfig:
        """Settings by the name of a preset, one of `STRUCTURE_PRESETS` or `IMAGE_PRESETS`.

        Parameters
        ----------
        kind
            ``nudiff-structure`` or ``nudiff-image``.

        Raises
        ------
        ConfigError
            There is no such kind, or no such preset.
        """
        return named_preset(named_preset({STRUCTURE: STRUCTURE_PRESETS, IMAGE: IMAGE_PRESETS}, kind), name)

    def lasting(self, steps: int) -> GeneratorConfig:
        """The same training over so many steps, its phases the same shares of it."""
        # Phases are shares of a training, so that a short one has both of them, too.
        share = steps / self.fit.steps
        later = None
        if self.fit.later:
            later = (round(self.fit.later[0] * share), self.fit.later[1])
        fit = dataclasses.replace(self.fit, steps=steps, later=later)
        return dataclasses.replace(self, fit=fit, drop_from=round(self.drop_from * share))

    def identity(self) -> dict[str, Any]:
        """What a continued training must share with its beginning: all but its length, its rate,
        and how it is computed."""
        # States of older trainings do not name it.
        unused = () if self.held_out else ("held_out",)
        return training_identity(self, apart=("sample_every", "validate_every", *unused))


_NARROW: dict[str, Any] = {
    "base": 32,
    "multipliers": (1, 2, 4, 4),
    "res_blocks": 1,
    "attention_factors": (),
    "middle_attention": False,
}
_HOUR = FitConfig(steps=2000, lr=1e-3, warmup=100, cosine=True, weight_decay=0.01, ema=0.999, save_every=200)
_LONG = FitConfig(steps=50_000, lr=1e-4, warmup=500, weight_decay=0.01, ema=0.9995)

STRUCTURE_PRESETS: dict[str, GeneratorConfig] = {
    "cpu": GeneratorConfig(network=UNetConfig(**_NARROW), mpp=0.5, patch=128, smallest_px=8, fit=_HOUR),
    "small": GeneratorConfig(network=UNetConfig(base=64), batch=16, fit=_LONG),
    "paper": GeneratorConfig(
        network=UNetConfig(base=256, out_channels=6),
        fit=FitConfig(steps=200_000, lr=1e-4, weight_decay=0.05, ema=0.9999),
        augmentation=Augmentation(zoom=1.0, stain=0.0),
    ),
}
"""``paper`` is stage 1 of method B (Yu et al. 2023): 552.8 M parameters. ``small`` has a quarter of
its width; ``cpu`` trains within about an hour on two cores, at half the resolution."""

IMAGE_PRESETS: dict[str, GeneratorConfig] = {
    "cpu": GeneratorConfig(
        network=SpadeUNetConfig(**_NARROW, spade_width=32),
        mpp=0.5,
        patch=128,
        smallest_px=8,
        fit=_HOUR,
        drop_rate=0.2,
        drop_from=1000,
    ),
    "small": GeneratorConfig(
        network=SpadeUNetConfig(base=64),
        batch=16,
        fit=dataclasses.replace(_LONG, later=(25_000, 0.2)),
        drop_rate=0.2,
        drop_from=25_000,
    ),
    "paper": GeneratorConfig(
        network=SpadeUNetConfig(base=256, out_channels=6),
        batch=1,
        fit=FitConfig(steps=300_000, lr=1e-4, later=(150_000, 0.2), weight_decay=0.01, ema=0.9999),
        augmentation=Augmentation(zoom=1.0, stain=0.0),
        drop_rate=0.2,
        drop_from=150_000,
    ),
}
"""``paper`` is stage 2 of method B: 652.1 M parameters, 150 000 steps with every structure at a
rate of 1e-4, then as many at 2e-5 with one in five left out. Those of ``cpu`` fall along one cosine
instead."""
