"""Settings of a training of a text encoder, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from wsinuc.errors import ConfigError
from wsinuc.models.conditioning.trained_encoder import TowerConfig
from wsinuc.models.training.config import named_preset
from wsinuc.models.training.loop import FitConfig, training_identity
from wsinuc.workflows.generators.cosyn_config import PRESETS as JOINT_PRESETS
from wsinuc.workflows.generators.cosyn_config import CoSynTrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTrainConfig:
    """Settings of the training of what reads the prompts of a joint generator.

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.TextTrainConfig.preset("cpu").lasting(500)
    >>> config.batch, config.fit.steps
    (32, 500)
    """

    mpp: float = 0.5
    """um per pixel of the patches."""
    patch: int = 128
    """Side of a patch in pixels."""
    batch: int = 32
    """Patches per step, each of which has to be told from the others."""
    network: TowerConfig = field(default_factory=TowerConfig)
    """The text tower."""
    image_base: int = 32
    """Width of the finest level of the network that sees the pixels."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=2000, lr=1e-3, warmup=100, cosine=True, ema=0.999))
    tissue: str = ""
    """Tissue of images that name none."""
    zoom: float = 1.1
    """See `wsinuc.datasets.augmentation.augment.Augmentation`."""
    stain: float = 0.1
    held_out: float = 0.0
    """Share of the images that measure the held-out loss and are not trained on."""
    validate_every: int = 0
    """Images seen between measurements of the held-out loss; 0 never measures it."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise ConfigError(f"a patch has to be told from others: a batch has at least 2 patches, got {self.batch}")
        # Checks the side of patches, the share of what is held out, and the rest.
        _ = self.crops

    @property
    def sample_every(self) -> int:
        """A text encoder draws nothing."""
        return 0

    @property
    def images_seen(self) -> int:
        """Patches that the whole training shows."""
        return self.batch * self.fit.steps

    @property
    def crops(self) -> CoSynTrainConfig:
        """The settings by which crops and prompts are made: those of the joint generator."""
        return replace(
            JOINT_PRESETS["cpu"],
            mpp=self.mpp,
            patch=self.patch,
            tissue=self.tissue,
            zoom=self.zoom,
            stain=self.stain,
            held_out=self.held_out,
            seed=self.seed,
        )

    @classmethod
    def preset(cls, name: str) -> TextTrainConfig:
        """Settings by the name of a preset, one of `PRESETS`; raises ConfigError for what is none."""
        return named_preset(PRESETS, name)

    def lasting(self, steps: int) -> TextTrainConfig:
        """The same training over so many steps."""
        return replace(self, fit=replace(self.fit, steps=steps))

    def identity(self) -> dict[str, Any]:
        """What a continued training must share with its beginning: all but its length, its rate and
        how it is computed."""
        return training_identity(self, apart=("validate_every",))


PRESETS: dict[str, TextTrainConfig] = {
    "cpu": TextTrainConfig(),
    "small": TextTrainConfig(
        mpp=0.25,
        patch=256,
        batch=64,
        network=TowerConfig(base=128, depth=4),
        fit=FitConfig(steps=20_000, lr=5e-4, warmup=500, cosine=True),
    ),
}
"""``cpu`` is for a few cores. The paper trains no text encoder, it takes PLIP's: there is no preset ``paper``."""
