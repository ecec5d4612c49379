"""Settings of the networks that segment in one pass, and what their authors chose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.errors import ConfigError
from wsinuc.models.networks.by_name import NETWORKS, UNETS
from wsinuc.models.networks.hovernet import LOST, STRIDE
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.models.training.config import FitConfig, part_size
from wsinuc.models.training.losses import SIMILARITY_FORMS
from wsinuc.models.training.processes import ALONE
from wsinuc.segmenters.tiling import check_separation


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTrainConfig:
    """Settings of a network that segments in one pass: HoVer-Net, U-Nets, a fine-tuned denoiser.

    `quick` is what trains within minutes on two cores, `paper` what the authors have published; ``dataclasses.replace``
    changes single settings of either.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import wsinuc
    >>> config = replace(wsinuc.NetworkTrainConfig.quick("unet"), mpp=0.5)
    >>> config.method, config.mpp, config.fit.steps
    ('unet', 0.5, 2000)
    >>> config.lasting(500).fit.steps
    500
    """

    method: str
    """``finetune``, ``hovernet``, ``unet`` or ``attention-unet``."""
    mpp: float | None = None
    """um per pixel to train at; None is the denoiser's, or 0.5 without one."""
    crop: int = 128
    """Side of a training crop in pixels of that resolution."""
    batch: int = 8
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=2000, lr=1e-3, warmup=50, cosine=True, ema=0.99))
    augmentation: Augmentation = field(default_factory=Augmentation)
    separation: str | None = None
    """``distance`` or ``hv``; None is what the method was published with, or ``distance``."""
    map_weight: float = 2.0
    """Weight of the maps' squared error beside the losses of the classes."""
    similarity: str = "pixel"
    """Form of method D's structural-similarity loss: ``pixel`` as defined, ``scalar`` as released."""
    base: int = 32
    """Width of a U-Net's finest level."""
    levels: int = 4
    """Resolutions of a U-Net."""
    width: float = 1.0
    """HoVer-Net's channels relative to the published ones."""
    pretrained: bool = True
    """False takes only the shape from the denoiser's checkpoint: how much does pre-training help?"""
    denoiser: UNetConfig | None = None
    """The network that ``finetune`` starts from scratch when it is given no pre-trained one."""
    validate_every: int = 200
    """Steps between measurements on the validation images, where there are any."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in NETWORKS:
            raise ConfigError(f"method must be one of {', '.join(NETWORKS)}, got {self.method!r}")
        if self.separation is not None:
            check_separation(self.separation)
        if self.method == "hovernet" and self.separation == "distance":
            raise ConfigError("HoVer-Net separates by its H and V maps; leave separation out or say hv")
        if self.similarity not in SIMILARITY_FORMS:
            raise ConfigError(f"similarity must be one of {', '.join(SIMILARITY_FORMS)}, got {self.similarity!r}")
        if self.method in UNETS:
            check_crop(self.crop, 2 ** (self.levels - 1))
        if self.method == "hovernet":
            check_crop(self.crop, STRIDE, rim=LOST)
        if self.batch < 1:
            raise ConfigError(f"a batch needs at least one crop, got {self.batch}")
        part_size(self.batch, self.fit, ALONE)
        if self.validate_every < 1:
            raise ConfigError(f"validate_every must be at least 1, got {self.validate_every}")

    @classmethod
    def quick(cls, method: str) -> NetworkTrainConfig:
        """What trains within minutes on two cores; HoVer-Net's crops are larger, because it loses their rims."""
        fit = FitConfig(steps=2000, lr=1e-3, warmup=50, cosine=True, weight_decay=0.01, ema=0.99)
        return cls(method=method, crop=256 if method == "hovernet" else 128, fit=fit)

    @classmethod
    def paper(cls, method: str) -> NetworkTrainConfig:
        """As published, as far as it is known: crop, batch, rate and augmentation of the method's authors.

        ``finetune`` (Purma et al. 2025): Adam 1e-4 with moments (0.5, 0.999), 8 crops of 256 px,
        blur and colour jitter. ``hovernet`` (Graham et al. 2019): Adam 1e-4, 4 crops of 256 px at
        0.25 um per px, blur, noise and colour jitter; random weights where the authors start from
        ImageNet's. The U-Nets were published for other images and take HoVer-Net's.

        What is added to the papers: crops zoomed by up to 1.2 and stains jittered by 0.2, because a few
        images of one laboratory are all that a user of this preset often has. The authors count epochs of their own
        data sets; a step here is one batch.
        """
        settings: dict[str, Any] = {"mpp": 0.25, "crop": 256, "batch": 4}
        betas = (0.9, 0.999)
        noise = 5.0
        if method == "finetune":
            # The resolution is the denoiser's.
            settings |= {"mpp": None, "batch": 8}
            betas = (0.5, 0.999)
            noise = 0.0
        settings |= {
            "fit": FitConfig(steps=20_000, lr=1e-4, ema=0.999, betas=betas),
            "augmentation": Augmentation(zoom=1.2, stain=0.2, blur=0.3, light=0.3, noise=noise),
        }
        return cls(method=method, **settings)

    def lasting(self, steps: int) -> NetworkTrainConfig:
        """The same training over so many steps."""
        return replace(self, fit=replace(self.fit, steps=steps))

    @property
    def resolution(self) -> float:
        """um per pixel of a network that starts without a denoiser."""
        if self.mpp is None:
            return 0.5
        return self.mpp

    @property
    def way(self) -> str:
        """How instances are separated: ``distance`` or ``hv``."""
        return self.separation or ("hv" if self.method == "hovernet" else "distance")


def check_crop(crop: int, stride: int, *, rim: int = 0) -> None:
    """Raise ConfigError for crops that a network cannot take.

    Parameters
    ----------
    stride
        Sides must be multiples of it.
    rim
        Pixels that the network loses at each edge.
    """
    if crop > 2 * rim and crop % stride == 0:
        return
    least = stride * (2 * rim // stride + 1)
    raise ConfigError(f"this network takes crops whose side is a multiple of {stride} px, from {least} on, got {crop}")
