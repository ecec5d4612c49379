"""Method A (Alexis et al. 2024, after Baranchuk et al. 2022): pixel classifiers on a denoiser's
features, from few images.

A denoiser that has only ever seen unlabelled images is kept as it is; its features at a few
annotated pixels are collected once (`frozen_features`), the members of an ensemble are fitted to them
side by side (`fit_ensemble`), and both become one checkpoint of kind ``segmenter``. Where the images
are few, models that have not seen each of them say how good it is (`cross_validation`). With
``tuning`` the classifiers' error also runs back into the denoiser (`finetune`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError
from wsinuc.exports.qupath.class_names import check_class_names
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.checkpoints.denoisers import load_denoiser
from wsinuc.models.checkpoints.header import check_readable
from wsinuc.models.checkpoints.inner_denoiser import load_denoiser_checkpoint
from wsinuc.models.devices import on_device, prepare_device
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.networks.unet import UNet
from wsinuc.models.training.loop import FitConfig, Progress
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.ddpm import DdpmConfig, DdpmSegmenter
from wsinuc.segmenters.tiling import MAPS
from wsinuc.separation.settings import WatershedSettings
from wsinuc.workflows.data.training_set import check_annotation
from wsinuc.workflows.train.cross_validation import CrossValidation, cross_validate
from wsinuc.workflows.train.ddpm_config import DdpmTrainConfig, chosen_folds
from wsinuc.workflows.train.finetune import FinetuneConfig, disturbed, finetune
from wsinuc.workflows.train.frozen_features import FrozenFeatures
from wsinuc.workflows.train.held_out_window import with_settings
from wsinuc.workflows.train.threshold import fit_threshold
from wsinuc.workflows.training.run import origin_of

__all__ = ["DdpmTrainConfig", "describe_segmenter", "ensemble_shape", "load_extractor", "train_ddpm"]


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
) -> CrossValidation | None:
    """Train an ensemble on a denoiser's features and write both as one segmenter checkpoint.

    With folds the training is also cross-validated: see `wsinuc.workflows.train.cross_validation`.

    Parameters
    ----------
    images
        Annotated images, each with its own mpp.
    classes
        What a nucleus can be, in the order of the images' class numbers; ``(NUCLEUS,)`` for images without classes.
    denoiser
        File that holds a denoiser, by itself or inside a segmenter of method A; its mpp is the segmenter's.
    weights
        How often each image is drawn in fine-tuning; equal by default.

    Returns
    -------
    CrossValidation or None
        None where nothing was held out: no folds were asked for, the images are many, or fewer than two have nuclei.

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
    where = prepare_device(device)
    checkpoint = load_denoiser_checkpoint(denoiser)
    mpp = float(checkpoint.config["mpp"])
    extractor = load_extractor(checkpoint, config.features, where)
    shape = ensemble_shape(config, extractor, classes)
    described = describe_segmenter(checkpoint, extractor, shape, config, classes)

    def segmenter_of(ensemble: PixelClassifierEnsemble) -> DdpmSegmenter:
        return DdpmSegmenter(described, extractor.unet, ensemble, device=where)

    measured = None
    if config.tuning is not None:
        start = {"init": checkpoint.sha256, "features": asdict(config.features)}
        ensemble = _tune(images, extractor, shape, mpp, config.tuning, out, weights, start, on_event)
    else:
        frozen = FrozenFeatures.collect(images, extractor, mpp, config.pixels, folder=out.parent, on_event=on_event)
        folds = chosen_folds(config, images, mpp)
        if folds:
            measured = cross_validate(
                images,
                lambda chosen: segmenter_of(frozen.ensemble(shape, chosen)),
                folds=folds,
                seed=config.seed,
                on_event=on_event,
            )
        ensemble = frozen.ensemble(shape, on_event=on_event)
    segmenter = _with_fitted_settings(segmenter_of(ensemble), images, config, measured)
    denoiser_origin = {"sha256": checkpoint.sha256, **checkpoint.provenance}
    origin = origin_of(config, images=len(images), denoiser=denoiser_origin) | (provenance or {})
    if measured is not None:
        origin["cross_validation"] = measured.as_json()
    save_checkpoint(segmenter.to_checkpoint(origin), out)
    return measured


def describe_segmenter(
    checkpoint: Checkpoint,
    extractor: FeatureExtractor,
    shape: EnsembleConfig,
    config: DdpmTrainConfig,
    classes: tuple[NucleusClass, ...],
) -> DdpmConfig:
    """What the checkpoint's header will say, but for the settings that are fitted afterwards.

    Raises
    ------
    ConfigError
        A setting is out of the range that a header may have.
    DataError
        The name of a class is one with which `segment` could not write its results.
    """
    check_class_names(each.name for each in classes)
    described = DdpmConfig(
        unet=extractor.unet.config,
        betas=checkpoint.config.get("betas", "linear"),
        features=config.features,
        ensemble=shape,
        watershed=WatershedSettings(mpp=float(checkpoint.config["mpp"])),
        separation=config.separation,
        classes=classes,
        vote=config.vote,
        views=config.views,
    )
    check_readable(described)
    return described


def _with_fitted_settings(
    segmenter: DdpmSegmenter,
    images: Sequence[LabelledImage],
    config: DdpmTrainConfig,
    measured: CrossValidation | None,
) -> DdpmSegmenter:
    """The segmenter with the threshold and what else follows from held-out images, or from its own where none are."""
    if not config.fit_threshold:
        return segmenter
    if measured is not None:
        return with_settings(segmenter, measured.watershed, measured.certainty)
    # On the finished segmenter, because the threshold depends on votes and background correction.
    threshold = fit_threshold(segmenter, images)
    return with_settings(segmenter, replace(segmenter.config.watershed, foreground_threshold=threshold))


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
        # A denoiser may suggest a coarser one than the features that were chosen allow.
        factor=min(config.factor, *extractor.channels),
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
    start: dict[str, Any],
    on_event: Callable[[str], None],
) -> PixelClassifierEnsemble:
    """Fine-tune the denoiser with one classifier, then with the whole ensemble."""
    if shape.classes > 2 or shape.norm != "none":
        raise ConfigError("tuning through the ensemble knows one class and no batch norm; use the method finetune")

    def run(head: PixelClassifierEnsemble, schedule: FitConfig, suffix: str) -> None:
        def report(progress: Progress) -> None:
            on_event(progress.line("fine-tuning", schedule.steps))

        state = out.with_suffix(suffix)
        finetune(
            images,
            extractor,
            head,
            mpp,
            tuning,
            schedule,
            state=state,
            weights=weights,
            start=start,
            on_progress=report,
        )

    torch.manual_seed(tuning.seed)
    single = PixelClassifierEnsemble(replace(shape, members=1)).to(extractor.unet.stem.weight.device)
    # One classifier first: the denoiser moves most in the beginning, when ten would all learn the same.
    run(single, tuning.fit, ".state")
    torch.manual_seed(tuning.seed)
    ensemble = disturbed(single, shape.members, tuning.disturbance)
    run(ensemble, tuning.ensemble_fit, ".ensemble.state")
    return ensemble
