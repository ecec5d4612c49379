"""Settings of a distillation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.errors import ConfigError
from wsinuc.models.training.loop import FitConfig, training_identity


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """Settings of one distillation.

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.DistillConfig(base=24).lasting(500)
    >>> config.base, config.fit.steps
    (24, 500)
    """

    mpp: float | None = None
    """um per pixel of the student; None is the teacher's."""
    base: int = 16
    """Width of the student's finest level."""
    levels: int = 4
    """Its resolutions."""
    fold: int = 1
    """Side of the squares of pixels that are one pixel of its finest level; see `SupervisedUNetConfig`."""
    patches: int = 1000
    """Patches that the teacher scores, each once. More can be added to a cache later."""
    patch: int = 256
    """Side of such a patch in pixels of the student; it is kept at the finer of the teacher's and
    the student's resolution."""
    zoom: float = 1.2
    """A patch shows between ``1 / zoom`` and ``zoom`` of its nominal field, to teacher and student alike."""
    crop: int = 128
    """Side of a training crop in pixels, cut from the patches at random places."""
    batch: int = 10
    """Crops per step, two of each place; see `wsinuc.workflows.train.soft_crops`."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(steps=4000, lr=1e-3, warmup=50, cosine=True, weight_decay=0.01, ema=0.99)
    )
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(zoom=1.3, stain=0.4, blur=0.3, noise=5.0, light=0.2, jpeg=0.3)
    )
    """What is done to the student's crops after the teacher saw them clean; geometry only to annotated crops."""
    map_weight: float = 2.0
    """Weight of the maps' squared error beside the cross-entropy."""
    label_batch: int = 4
    """Annotated crops per step beside the others, where there are annotated images."""
    label_weight: float = 1.0
    """Weight of their loss."""
    contact_weight: float = 0.0
    """How much more their pixels between near nuclei count; see `wsinuc.separation.targets.contact_weights`."""
    consistency: float = 10.0
    """Weight of `wsinuc.workflows.train.soft_crops.inconsistency`: how much the answer may depend
    on where a crop begins."""
    held_out: float = 0.1
    """Share of the patches that are not trained on; they lie in images of their own where there are several."""
    validate_every: int = 500
    """Steps between measurements of the agreement with the teacher."""
    seed: int = 0

    def __post_init__(self) -> None:
        stride = self.fold * 2 ** (self.levels - 1)
        if self.patch % stride or self.crop % stride:
            raise ConfigError(
                f"patches and crops must be multiples of {stride} px for this network, got {self.patch} and {self.crop}"
            )
        if not 0 < self.crop <= self.patch:
            raise ConfigError(f"crops are cut from patches: {self.crop} px do not fit into {self.patch}")
        if self.zoom < 1:
            raise ConfigError(f"zoom must be at least 1, got {self.zoom:g}")
        if min(self.batch, self.label_batch, self.validate_every) < 1 or min(self._weights) < 0:
            raise ConfigError("batches and validate_every must be at least 1, weights not negative")
        if self.batch % 2:
            raise ConfigError(f"crops come in pairs, so a batch needs an even number of them, got {self.batch}")
        if not 0 < self.held_out <= 0.5:
            raise ConfigError(f"the held-out share lies above 0 and at most at 0.5, got {self.held_out:g}")
        if self.patches <= self.apart_every:
            raise ConfigError(
                f"with {self.held_out:g} of the patches held out there must be more than {self.apart_every}, "
                f"got {self.patches}"
            )

    def lasting(self, steps: int) -> DistillConfig:
        """The same training over so many steps."""
        return replace(self, fit=replace(self.fit, steps=steps))

    @property
    def _weights(self) -> tuple[float, ...]:
        return self.map_weight, self.label_weight, self.contact_weight, self.consistency

    @property
    def apart_every(self) -> int:
        """Every so-manieth patch is held out."""
        return round(1 / self.held_out)

    def is_apart(self, index: int) -> bool:
        """Whether patch number ``index`` is held out."""
        return index % self.apart_every == 0

    def identity(self) -> dict[str, Any]:
        """What a continued training must share with its beginning."""
        return training_identity(self, apart=("validate_every",))

    def patch_identity(self) -> dict[str, Any]:
        """What decides which patch has which number."""
        return {"mpp": self.mpp, "patch": self.patch, "zoom": self.zoom, "held_out": self.held_out, "seed": self.seed}
