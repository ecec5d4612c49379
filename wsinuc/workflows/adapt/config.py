"""Settings of an adaptation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.errors import ConfigError
from wsinuc.models.training.config import FitConfig, check_one_pass


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptConfig:
    """How far and on what a model's networks are tuned. The defaults take a minute or two on two cores.

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.AdaptConfig(folds=3).lasting(50)
    >>> config.folds, config.fit.steps
    (3, 50)
    """

    fit: FitConfig = field(
        default_factory=lambda: FitConfig(steps=150, lr=5e-4, warmup=10, cosine=True, ema=0.95, save_every=10_000)
    )
    crop: int = 128
    """Side of a training crop in pixels of the model's resolution."""
    labelled: int = 8
    """Annotated crops of a step."""
    taught: int = 6
    """Crops of a step on which the model should stay as it is, where there is tissue without annotation."""
    taught_weight: float = 1.0
    """Weight of these crops' loss beside that of the annotated ones."""
    map_weight: float = 2.0
    """Weight of the maps' squared error beside the losses of the classes."""
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(zoom=1.25, stain=0.25, dyes=0.05, blur=0.15, noise=3.0, light=0.1)
    )
    shares: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Shares of the tuned weights in the mixtures that are tried."""
    denoiser_ease: int = 5
    """A denoiser is tuned in so many times fewer steps, of half the crops: each takes ten times as long as one of a
    small U-Net, and it learns more in it."""
    folds: int = 4
    """Windows are held out in so many groups, or one at a time where there are fewer."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_one_pass(self.fit)
        if min(self.labelled, self.crop) < 1 or min(self.taught, self.taught_weight, self.map_weight) < 0:
            raise ConfigError("crops, their side and their number must be at least 1, weights not negative")
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ConfigError(f"shares of the tuned weights lie above 0 and at most at 1, got {self.shares}")
        if self.denoiser_ease < 1:
            raise ConfigError(f"steps are divided by at least 1, got {self.denoiser_ease}")
        if self.folds < 2:
            raise ConfigError(f"windows are held out in at least 2 groups, got {self.folds}")

    def lasting(self, steps: int) -> AdaptConfig:
        """The same tuning over so many steps."""
        return replace(self, fit=replace(self.fit, steps=steps))

    def of_method(self, method: str) -> AdaptConfig:
        """The settings for a network of this method.

        Examples
        --------
        >>> config = AdaptConfig().of_method("ddpm")
        >>> config.fit.steps, config.labelled, config.taught
        (30, 4, 3)
        """
        if method != "ddpm":
            return self
        steps = max(1, self.fit.steps // self.denoiser_ease)
        fit = replace(self.fit, steps=steps, warmup=self.fit.warmup // self.denoiser_ease)
        return replace(self, fit=fit, labelled=max(1, self.labelled // 2), taught=self.taught // 2)
