"""Settings of method A, and how a training on few images is held against images that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.denoisers import DenoiserHeader
from wsinuc.models.checkpoints.file_header import Header
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.features.extractor import FeatureConfig
from wsinuc.segmenters.tiling import check_separation
from wsinuc.workflows.train.ensemble import EnsembleFitConfig
from wsinuc.workflows.train.finetune import FinetuneConfig
from wsinuc.workflows.train.frozen_features import PixelFitConfig
from wsinuc.workflows.train.pixel_table import SamplingConfig
from wsinuc.workflows.training.folds import FEWEST

FOLDS = 4
"""Folds of the cross-validation where nothing else is said; four windows are held out one at a time."""
MOST_PIXELS = 32 * 256**2
"""Pixels at the denoiser's resolution up to which images count as few: 32 windows of 256 px."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DdpmTrainConfig:
    """Settings of pixel classifiers on a denoiser's features. The defaults are quick; `paper` is as published.

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.DdpmTrainConfig(members=3, folds=0)
    >>> config.members, wsinuc.DdpmTrainConfig.paper().members
    (3, 10)
    """

    features: FeatureConfig = field(default_factory=lambda: FeatureConfig(timesteps=(50, 150), blocks=(3, 4, 5, 6)))
    """The default suits the denoisers of the preset ``cpu``."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    fit: EnsembleFitConfig = field(default_factory=EnsembleFitConfig)
    separation: str = "distance"
    """What is regressed beside the classes: ``distance`` or ``hv``."""
    members: int = 5
    hidden: int = 64
    inner: int = 32
    norm: str = "none"
    """``batch`` or ``none``, see `EnsembleConfig`."""
    factor: int = 1
    """Pixels per side of what is classified, see `EnsembleConfig`."""
    vote: str = "mean"
    """``mean`` or ``majority``, see `DdpmConfig`."""
    views: int = 1
    """In how many ways every tile is seen, see `DdpmConfig`."""
    folds: int | None = None
    """Folds of the cross-validation over the images; 0 makes none. None makes `FOLDS` where the images are few, up to
    `MOST_PIXELS`, and none otherwise."""
    correct_background: bool = True
    """Give back to background at inference what sampling took from it: log(1 / share) on its logit."""
    fit_threshold: bool = True
    """Choose the foreground threshold by held-out images, or by the training images where none are held out; False
    leaves it at one half."""
    tuning: FinetuneConfig | None = None
    """Train denoiser and ensemble together instead of fitting the ensemble on frozen features."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_separation(self.separation)
        if self.folds is not None and (self.folds < 0 or self.folds == 1):
            raise ConfigError(f"a cross-validation has 2 folds or more, or 0 for none, got {self.folds}")
        if self.folds and self.tuning is not None:
            raise ConfigError("tuning changes the denoiser for all images at once and is not cross-validated: folds 0")

    def suited(self, denoiser: Header) -> DdpmTrainConfig:
        """These settings with the features and the factor that the denoiser's header says suit it, where it does."""
        described = from_header(DenoiserHeader, denoiser.config, more=True)
        if described.features is None:
            return self
        return replace(self, features=from_header(FeatureConfig, described.features), factor=described.factor)

    @property
    def pixels(self) -> PixelFitConfig:
        """What concerns the fitting of pixel classifiers to frozen features."""
        return PixelFitConfig(
            sampling=self.sampling,
            fit=self.fit,
            separation=self.separation,
            correct_background=self.correct_background,
            seed=self.seed,
        )

    @classmethod
    def paper(cls) -> DdpmTrainConfig:
        """As published: features at t = 50, 150, 250 of blocks 6, 8, 10, 12 (2688 of a U-Net of base 128), 10 members
        of 128 and 32 units with batch normalisation, majority vote.

        The one addition is the map that separates nuclei, which the paper, with semantic output only, does not need.
        """
        return cls(
            features=FeatureConfig(),
            sampling=SamplingConfig.paper(),
            fit=EnsembleFitConfig.paper(),
            members=10,
            hidden=128,
            norm="batch",
            vote="majority",
            correct_background=False,
            fit_threshold=False,
            folds=0,
        )


def chosen_folds(config: DdpmTrainConfig, images: Sequence[LabelledImage], mpp: float) -> int:
    """Folds that a training on these images makes; 0 is none.

    Raises
    ------
    ConfigError
        Folds are asked for, and fewer than two images have nuclei.
    """
    usable = sum(bool(image.labels.any()) for image in images)
    if config.folds and usable < FEWEST:
        raise ConfigError(
            f"cross-validation holds out one image and learns from another, and {usable} has nuclei: annotate a "
            "second one, or leave the folds out"
        )
    if config.folds is not None:
        return config.folds
    pixels = sum(image.labels.size * (image.mpp / mpp) ** 2 for image in images)
    if usable < FEWEST or pixels > MOST_PIXELS or config.tuning is not None:
        return 0
    return FOLDS
