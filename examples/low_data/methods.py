"""What each method of the low-data experiment is trained with; the same whatever the number of patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.models.features.extractor import FeatureConfig
from wsinuc.models.training.loop import FitConfig
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.train.ddpm import DdpmTrainConfig, train_ddpm
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc.workflows.train.networks import train_network
from wsinuc.workflows.train.pixel_table import SamplingConfig

Images = Sequence[LabelledImage]
Method = Callable[[Images, Path, Path, int], None]
AUGMENTATION = Augmentation(zoom=1.3, stain=0.4)
VIEWS = 256  # augmented patches that A's rows come from, whatever N


def fit(steps: int, lr: float = 1e-3) -> FitConfig:
    """Warm-up, cosine decay, averaged weights."""
    return FitConfig(steps=steps, lr=lr, warmup=20, cosine=True, weight_decay=0.01, ema=0.98, save_every=steps)


def ddpm(images: Images, denoiser: Path, out: Path, seed: int) -> None:
    """A: the denoiser stays as it is, five pixel classifiers read its features."""
    config = DdpmTrainConfig(
        features=FeatureConfig(timesteps=(10,), blocks=(1, 2, 3, 4, 5, 6)),
        sampling=SamplingConfig(
            visits=max(1, VIEWS // len(images)), pixels=200, background_share=1.0, zoom=1.4, stain=0.8
        ),
        hidden=128,
        seed=seed,
    )
    train_ddpm(images, (NUCLEUS,), denoiser, out, config, device="cpu")


def network(
    method: str, steps: int, *, crop: int = 64, batch: int = 8, **settings: object
) -> Callable[[Images, Path, Path, int], None]:
    """D and the supervised yardsticks, at 0.5 um per px."""

    def run(images: Images, denoiser: Path, out: Path, seed: int) -> None:
        config = NetworkTrainConfig(
            method=method, crop=crop, batch=batch, fit=fit(steps), augmentation=AUGMENTATION, seed=seed, **settings
        )
        start = denoiser if method == "finetune" else None
        train_network(images, (NUCLEUS,), out, config, denoiser=start, device="cpu")

    return run


METHODS = {
    "ddpm": ddpm,
    "finetune": network("finetune", 200),
    "finetune-scratch": network("finetune", 200, pretrained=False),
    "unet": network("unet", 600),
    "hovernet": network("hovernet", 200, crop=160, batch=3, width=0.25),
}
