"""Fine-tuning the denoiser itself for segmentation before its features are used (method D's second stage).

Purma et al. (2025) pre-train a U-Net to denoise and then train the same weights to segment. Here
the network's own features are what is trained: pixel classifiers read them exactly as they will in
inference, and their error runs back into the denoiser. First a single classifier, which is cheap;
then an ensemble that starts from it, disturbed, each member with crops of its own. What other
segmenters say of unlabelled tissue can be learnt besides (`Taught`). (Fitting the ensemble on tuned
features afterwards, as on frozen ones, scores worse on new patients: the tuned features are surer
of the images they were tuned on than of others.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import Crop, CropSource
from wsinuc.errors import DataError
from wsinuc.models.features.ensemble import PixelClassifierEnsemble
from wsinuc.models.features.extractor import NOISE_PERIOD, FeatureExtractor
from wsinuc.models.networks.dense import DenseOutput
from wsinuc.models.pixels import to_network
from wsinuc.models.training.config import check_one_pass
from wsinuc.models.training.loop import FitConfig, Progress, fit, training_identity
from wsinuc.models.training.state import DATA
from wsinuc.workflows.data.training_set import identity_of
from wsinuc.workflows.train.network_loss import make_targets
from wsinuc.workflows.train.soft_crops import SoftCrop, SoftCropSource, soft_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """Settings of one fine-tuning."""

    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=2000, lr=1e-3, warmup=50, cosine=True, ema=0.99))
    """With a single classifier."""
    ensemble_fit: FitConfig = field(
        default_factory=lambda: FitConfig(steps=800, lr=5e-4, warmup=20, cosine=True, ema=0.99)
    )
    """With all members."""
    ensemble_zoom: float | None = None
    """Zoom with all members; None keeps `Augmentation.zoom`."""
    disturbance: float = 0.3
    """Noise added to each member's start, in units of its layer's standard deviation."""
    share: float = 0.6
    """Probability that a member learns from a crop."""
    crop: int = 128
    """Side of a training crop in pixels of the model's resolution."""
    batch: int = 8
    augmentation: Augmentation = field(default_factory=Augmentation)
    map_weight: float = 2.0
    """Weight of the maps' squared error beside cross-entropy and Dice."""
    contact_weight: float = 0.0
    """How much more pixels between near nuclei count; see `wsinuc.separation.targets.contact_weights`."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_one_pass(self.fit)
        check_one_pass(self.ensemble_fit)

    @classmethod
    def of_steps(cls, steps: int, *, seed: int = 0) -> FinetuneConfig:
        """A tuning of so many steps with a single classifier, and a third of them with all members."""
        single = FitConfig(steps=steps, lr=1e-3, warmup=50, cosine=True, weight_decay=0.01, ema=0.99, save_every=100)
        members = FitConfig(steps=max(1, steps // 3), lr=5e-4, warmup=20, cosine=True, weight_decay=0.01, ema=0.99)
        return cls(fit=single, ensemble_fit=members, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taught:
    """Crops of unlabelled tissue with what a teacher says of them, to learn from beside the annotated ones."""

    source: SoftCropSource
    """Of the model's own resolution, classes and separation."""
    batch: int = 2
    """Crops per step."""
    label_weight: float = 0.5
    """Weight of the annotated crops' loss beside theirs."""

    def crops(self, step: int) -> list[SoftCrop]:
        """Those of a step: of each pair the first."""
        return [self.source.pair(step * self.batch + i)[0] for i in range(self.batch)]


def disturbed(head: PixelClassifierEnsemble, members: int, strength: float) -> PixelClassifierEnsemble:
    """An ensemble whose members start from the one classifier ``head``, each with noise of its own."""
    ensemble = PixelClassifierEnsemble(replace(head.config, members=members)).to(head.first.device)
    for name, value in head.named_parameters():
        if value.numel() > 1:
            spread = value.detach().std()
        else:
            spread = torch.zeros(())
        start = value.detach().expand_as(getattr(ensemble, name)).clone()
        getattr(ensemble, name).data = start + strength * spread * torch.randn_like(start)
    return ensemble


def finetune(
    dataset: Sequence[LabelledImage],
    extractor: FeatureExtractor,
    head: PixelClassifierEnsemble,
    mpp: float,
    config: FinetuneConfig,
    schedule: FitConfig,
    *,
    state: Path,
    weights: Sequence[float] | None = None,
    taught: Taught | None = None,
    start: Mapping[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Train the extractor's denoiser and ``head`` together, in place, in fp32 weights.

    A head of one member learns from every crop, of several from a random share each; so with what is ``taught``.

    Parameters
    ----------
    state
        File of the training state; where it is there, the training goes on from it.
    start
        What names the first weights, JSON types; a training that goes on must have the same.

    Raises
    ------
    CheckpointError
        ``state`` is of another training.
    DataError
        The data set is empty.
    """
    if not dataset:
        raise DataError("no annotated image to fine-tune on: check the data set's filters")
    augmentation = config.augmentation
    if head.config.members > 1 and config.ensemble_zoom is not None:
        augmentation = replace(augmentation, zoom=config.ensemble_zoom)
    source = CropSource(
        images=list(dataset),
        mpp=mpp,
        size=config.crop,
        seed=config.seed,
        # None would draw by area; here each image counts the same.
        weights=weights if weights is not None else [1.0] * len(dataset),
        augmentation=augmentation,
    )
    model = nn.ModuleDict({"denoiser": extractor.unet, "head": head}).train().requires_grad_(True)
    loss = _TuningLoss(extractor, head, source, config, taught)
    settings = training_identity(replace(config, fit=schedule), apart=("ensemble_fit",)) | {
        DATA: identity_of(source.images, source.weights),
        "head": asdict(head.config),
        **(start or {}),
    }
    average = fit(model, loss, schedule, state=state, settings=settings, on_progress=on_progress)
    model.load_state_dict(average)
    extractor.unet.eval().requires_grad_(False)
    head.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True, eq=False)
class _TuningLoss:
    """The loss of step k: that of the classifiers, which the features share."""

    extractor: FeatureExtractor
    head: PixelClassifierEnsemble
    source: CropSource
    config: FinetuneConfig
    taught: Taught | None

    def __call__(self, step: int) -> torch.Tensor:
        config = self.config
        crops = self.source.batch(step, config.batch)
        soft = self.taught.crops(step) if self.taught else []
        # A generator for each step, so that a resumed training draws what an uninterrupted one would.
        rng = np.random.default_rng((config.seed, step, 1))
        maps = self._features([*crops, *soft], rng)
        separation = "hv" if self.head.config.maps == 2 else "distance"
        wanted = make_targets(crops, separation, 0, mpp=self.source.mpp, contact_weight=config.contact_weight)
        wanted = wanted.to(self.head.first.device)
        share = config.share if self.head.config.members > 1 else 1.0
        losses = []
        for raw in self.head.raw(maps):
            mine = _drawn_crops(rng, len(crops), share)
            value = segmentation_loss(
                raw[mine], wanted.nuclei[mine], wanted.maps[mine], config.map_weight, wanted.importance[mine]
            )
            if self.taught:
                chosen = _drawn_crops(rng, len(soft), share)
                output = raw[len(crops) :][chosen].float()
                answer = DenseOutput(output[:, :2], output[:, 2:])
                learnt = soft_loss(answer, [soft[i].target for i in chosen], config.map_weight)
                # The teacher's crops set the scale of the loss; annotated ones are weighed against them.
                value = self.taught.label_weight * value + learnt
            losses.append(value)
        return torch.stack(losses).mean()

    def _features(self, crops: Sequence[Crop | SoftCrop], rng: np.random.Generator) -> dict[int, torch.Tensor]:
        """What the classifiers read of these crops, with the noise shifted at random."""
        device = self.extractor.unet.stem.weight.device
        pixels = torch.from_numpy(np.stack([crop.image for crop in crops])).to(device)
        shift = (int(rng.integers(NOISE_PERIOD)), int(rng.integers(NOISE_PERIOD)))
        return self.extractor.maps(to_network(pixels), shift)


def _drawn_crops(rng: np.random.Generator, count: int, share: float) -> list[int]:
    """Which crops of a batch one member learns from; at least one."""
    drawn = np.flatnonzero(rng.random(count) < share)
    return [int(i) for i in drawn] or [int(rng.integers(count))]


def segmentation_loss(
    raw: torch.Tensor,
    nuclei: torch.Tensor,
    maps: torch.Tensor,
    map_weight: float,
    importance: torch.Tensor,
) -> torch.Tensor:
    """Cross-entropy + (1 - soft Dice) of nucleus against background, plus the maps' squared error.

    Parameters
    ----------
    raw
        ``(n, 2 + maps, h, w)`` raw outputs.
    nuclei
        bool ``(n, h, w)``.
    maps
        ``(n, maps, h, w)``; two maps are H and V, which mean nothing outside nuclei and count inside only.
    importance
        ``(n, h, w)``, how much a pixel's cross-entropy and squared error count; where it is 0 a pixel is ignored.
    """
    raw = raw.float()
    known = importance > 0
    nuclei = nuclei & known
    p = raw[:, :2].softmax(1)[:, 1] * known
    # One pixel is added above and below: a crop without nuclei has a Dice of 1, not 0 / 0.
    dice = (2 * (p * nuclei).sum() + 1) / (p.sum() + nuclei.sum() + 1)
    error = (raw[:, 2:] - maps).square().mean(1)
    if maps.shape[1] == 2:
        # H and V count inside nuclei only; divided by the share inside, as a mean over these pixels.
        error = error * nuclei / nuclei.float().mean().clamp_min(1e-6)
    entropy = F.cross_entropy(raw[:, :2], nuclei.long(), reduction="none")
    return ((entropy + map_weight * error) * importance).sum() / importance.sum() + 1 - dice
