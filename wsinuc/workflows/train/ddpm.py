"""Method A (Alexis et al. 2024, after Baranchuk et al. 2022): pixel classifiers on a denoiser's
features, from few images.

A denoiser that has only ever seen unlabelled images is kept as it is; its features at a few
annotated pixels are collected once (`pixel_table`), the members of an ensemble are fitted to them
side by side (`fit_ensemble`), and both become one checkpoint of kind ``segmenter``. With ``tuning``
the classifiers' error also runs back into the denoiser (`finetune`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.checkpoints.denoisers import load_denoiser
from wsinuc.models.checkpoints.inner_denoiser import load_denoiser_checkpoint
from wsinuc.models.devices import pick_device, pick_dtype
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.networks.unet import UNet
from wsinuc.models.training.loop import FitConfig, Progress
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.progress_line import ProgressLine
from wsinuc.segmenters.ddpm import DdpmConfig, DdpmSegmenter
from wsinuc.segmenters.tiling import MAPS
from wsinuc.separation.settings import WatershedSettings
from wsinuc.workflows.data.training_set import check_annotation
from wsinuc.workflows.train.ensemble import EnsembleFitConfig, fit_ensemble
from wsinuc.workflows.train.finetune import FinetuneConfig, disturbed, finetune
from wsinuc.workflows.train.pixel_table import SamplingConfig, collect_pixels
from wsinuc.workflows.train.threshold import fit_threshold
from wsinuc.workflows.training.run import on_device, origin_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DdpmTrainConfig:
    """Settings of one training. The defaults are quick; `paper` is as published."""

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
    correct_background: bool = True
    """Give back to background at inference what sampling took from it: log(1 / share) on its logit."""
    fit_threshold: bool = True
    """Choose the foreground threshold by the training images; False leaves it at one half."""
    tuning: FinetuneConfig | None = None
    """Train denoiser and ensemble together instead of fitting the ensemble on frozen features."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.separation not in MAPS:
            raise ConfigError(f"separation must be one of {', '.join(MAPS)}, got {self.separation!r}")

    @classmethod
    def paper(cls, features: FeatureConfig | None = None, *, seed: int = 0) -> DdpmTrainConfig:
        """As published: features at t = 50, 150, 250 of blocks 6, 8, 10, 12 (2688 of a U-Net of base 128), 10 members
        of 128 and 32 units with batch normalisation, majority vote.

        The one addition is the map that separates nuclei, which the paper, with semantic output only, does not need.
        """
        return cls(
            features=features or FeatureConfig(),
            sampling=SamplingConfig.paper(),
            fit=EnsembleFitConfig.paper(),
            members=10,
            hidden=128,
            norm="batch",
            vote="majority",
            correct_background=False,
            fit_threshold=False,
            seed=seed,
        )


def train_ddpm(
    images: Sequence[LabelledImage],
    classes: tuple[NucleusClass, ...],
    denoiser: Path,
    out: Path,
    config: DdpmTrainConfig,
    *,
    device: str = "auto",
    weights: Sequence[float] | None = None,
    provenance: dict[str, Any] | None = None,
    on_event: Callable[[str], None] = lambda message: None,
) -> None:
    """Train an ensemble on a denoiser's features and write both as one segmenter checkpoint.

    Parameters
    ----------
    images
        Annotated images, each with its own mpp.
    classes
        What a nucleus can be, in the order of the images' class numbers; ``(NUCLEUS,)`` for images without classes.
    denoiser
        Checkpoint of kind ``denoiser``; its mpp is the segmenter's.
    weights
        How often each image is drawn in fine-tuning; equal by default.

    Raises
    ------
    CheckpointError
        ``denoiser`` is no denoiser.
    ConfigError
        The features name timesteps or blocks that the denoiser does not have.
    DataError
        There is nothing to learn from, or an image has classes that are not among ``classes``.
    """
    check_annotation(images, classes)
    where = pick_device(device)
    checkpoint = load_denoiser_checkpoint(denoiser)
    mpp = float(checkpoint.config["mpp"])
    extractor = load_extractor(checkpoint, config.features, where)
    shape = ensemble_shape(config, extractor, classes)
    if config.tuning is not None:
        ensemble = _tune(images, extractor, shape, mpp, config.tuning, out, weights, on_event)
    else:
        ensemble = _fit_on_features(images, extractor, shape, mpp, config, out.parent, on_event)
    segmenter = DdpmSegmenter(
        DdpmConfig(
            unet=extractor.unet.config,
            betas=checkpoint.config.get("betas", "linear"),
            features=config.features,
            ensemble=shape,
            watershed=WatershedSettings(mpp=mpp),
            separation=config.separation,
            classes=classes,
            vote=config.vote,
            views=config.views,
        ),
        extractor.unet,
        ensemble,
        device=where,
    )
    # On the finished segmenter, because the threshold depends on votes and background correction.
    if config.fit_threshold:
        watershed = WatershedSettings(mpp=mpp, foreground_threshold=fit_threshold(segmenter, images))
        segmenter.config = replace(segmenter.config, watershed=watershed)
    denoiser_origin = {"sha256": checkpoint.sha256, **checkpoint.provenance}
    origin = origin_of(config, images=len(images), denoiser=denoiser_origin) | (provenance or {})
    save_checkpoint(segmenter.to_checkpoint(origin), out)


def ensemble_shape(
    config: DdpmTrainConfig, extractor: FeatureExtractor, classes: tuple[NucleusClass, ...]
) -> EnsembleConfig:
    """The pixel classifiers that a training fits to these features."""
    return EnsembleConfig(
        channels=tuple(extractor.channels.items()),
        classes=len(classes) + 1,
        maps=MAPS[config.separation],
        members=config.members,
        hidden=config.hidden,
        inner=config.inner,
        norm=config.norm,
        factor=config.factor,
    )


def load_extractor(checkpoint: Checkpoint, features: FeatureConfig, device: torch.device) -> FeatureExtractor:
    """The frozen denoiser of a checkpoint, in fp32, with what is read from it."""
    network, process = load_denoiser(checkpoint)
    if not isinstance(network, UNet):
        raise ConfigError(
            f"pixel classifiers read the decoder blocks of a guided-diffusion U-Net, and this denoiser is a "
            f"{checkpoint.config['network']}; use the method finetune with it, or pretrain with another preset"
        )
    # fp32, because fine-tuning changes these weights; whoever only reads features casts them.
    return FeatureExtractor(on_device(network.float(), device), process, features)


def _tune(
    images: Sequence[LabelledImage],
    extractor: FeatureExtractor,
    shape: EnsembleConfig,
    mpp: float,
    tuning: FinetuneConfig,
    out: Path,
    weights: Sequence[float] | None,
    on_event: Callable[[str], None],
) -> PixelClassifierEnsemble:
    """Fine-tune the denoiser with one classifier, then with the whole ensemble."""
    if shape.classes > 2 or shape.norm != "none":
        raise ConfigError("tuning through the ensemble knows one class and no batch norm; use the method finetune")

    def run(head: PixelClassifierEnsemble, schedule: FitConfig, suffix: str) -> None:
        def report(progress: Progress) -> None:
            on_event(progress.line("fine-tuning", schedule.steps))

        state = out.with_suffix(suffix)
        finetune(images, extractor, head, mpp, tuning, schedule, state=state, weights=weights, on_progress=report)

    torch.manual_seed(tuning.seed)
    single = PixelClassifierEnsemble(replace(shape, members=1)).to(extractor.unet.stem.weight.device)
    # One classifier first: the denoiser moves most in the beginning, when ten would all learn the same.
    run(single, tuning.fit, ".state")
    torch.manual_seed(tuning.seed)
    ensemble = disturbed(single, shape.members, tuning.disturbance)
    run(ensemble, tuning.ensemble_fit, ".ensemble.state")
    return ensemble


def _fit_on_features(
    images: Sequence[LabelledImage],
    extractor: FeatureExtractor,
    shape: EnsembleConfig,
    mpp: float,
    config: DdpmTrainConfig,
    folder: Path,
    on_event: Callable[[str], None],
) -> PixelClassifierEnsemble:
    """The ensemble on features as inference will see them, in the device's own precision."""
    device = extractor.unet.stem.weight.device
    extractor.unet.to(pick_dtype(device))

    def visited(done: int, total: int) -> None:
        # A line per round through the images; one per view would be thousands.
        if done % len(images) == 0:
            text = f"features: {done} of {total} views"
            on_event(ProgressLine(text, stage="features", unit="views", done=done, total=total))

    def fitted(epoch: int, loss: float) -> None:
        text = f"ensemble: epoch {epoch + 1}  loss {loss:.4f}"
        line = ProgressLine(text, stage="ensemble", unit="epochs", done=epoch + 1, total=config.fit.epochs, loss=loss)
        on_event(line)

    table = collect_pixels(
        images,
        extractor,
        mpp,
        config.sampling,
        separation=config.separation,
        seed=config.seed,
        folder=folder,
        on_visit=visited,
    )
    ensemble = fit_ensemble(
        table,
        shape,
        config.fit,
        seed=config.seed,
        device=device,
        on_epoch=fitted,
    )
    if config.correct_background:
        with torch.no_grad():
            # Background was thinned for the training; its logit gets back what that took (log of the share).
            ensemble.third_bias[..., 0] -= math.log(config.sampling.background_share)
    return ensemble
