"""What a training of a segmenter will take, found out before it is begun: parameters, operations, memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from wsinuc.datasets.base import LabelledImage
from wsinuc.models.checkpoints.inner_denoiser import load_denoiser_checkpoint
from wsinuc.models.features.ensemble import PixelClassifierEnsemble
from wsinuc.models.features.extractor import FeatureExtractor
from wsinuc.models.networks.by_name import build_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.workflows.data.training_set import NUCLEUS, check_annotation
from wsinuc.workflows.train.ddpm import DdpmTrainConfig, describe_segmenter, ensemble_shape, load_extractor
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc.workflows.train.networks import describe_network, starting_point
from wsinuc.workflows.train.pixel_table import SamplingConfig
from wsinuc.workflows.train.sweep import SweepConfig, ensembles_to_fit, features_to_compute
from wsinuc.workflows.training.cost import TrainingCost, cost_of_steps, estimate_network

_HALF = 2  # bytes of a feature in the table of pixels
_STATE_BYTES = 5 * 4  # per parameter: weight, gradient, two moments, average
_PATCH = 64  # side of the patch whose operations are counted; a denoiser's grow with the area


def network_cost(config: NetworkTrainConfig, classes: tuple[NucleusClass, ...], denoiser: Path | None) -> TrainingCost:
    """The cost of ``train_network``; raises CheckpointError or ConfigError as it does."""
    described = describe_network(config, classes or (NUCLEUS,), starting_point(config, denoiser))
    takes = estimate_network(
        lambda: build_network(config.method, described.network),
        lambda: [torch.zeros(1, 3, config.crop, config.crop)],
        config.batch,
        config.batch,
        bf16=config.fit.bf16,
    )
    text = (
        f"{config.fit.steps} steps of {config.batch} crops of {config.crop} px at "
        f"{described.watershed.mpp:g} um per px, "
        f"learning rate {config.fit.lr:g}"
    )
    return cost_of_steps(takes, config.fit.steps, text)


def ddpm_cost(
    images: Sequence[LabelledImage], config: DdpmTrainConfig, classes: tuple[NucleusClass, ...], denoiser: Path
) -> TrainingCost:
    """The cost of ``train_ddpm``; raises CheckpointError or ConfigError as it does."""
    check_annotation(images, classes)
    checkpoint = load_denoiser_checkpoint(denoiser)
    extractor = load_extractor(checkpoint, config.features, torch.device("cpu"))
    shape = ensemble_shape(config, extractor, classes)
    describe_segmenter(checkpoint, extractor, shape, config, classes)
    mpp = float(checkpoint.config["mpp"])
    pixels = _pixels(images, mpp) * config.sampling.visits
    flops_per_px = feature_flops(extractor)
    parameters = sum(p.numel() for p in PixelClassifierEnsemble(shape).parameters())
    text = (
        f"{shape.width} features (t = {_list(config.features.timesteps)}; blocks {_list(config.features.blocks)}), "
        f"{config.members} classifiers, {config.sampling.visits} views of each image"
    )
    if config.tuning is None:
        return TrainingCost(
            parameters=parameters,
            flops=flops_per_px * pixels,
            memory_bytes=_rows(images, config.sampling, pixels) * shape.width * _HALF,
            text=text,
        )
    tuned = sum(p.numel() for p in extractor.unet.parameters())
    steps = config.tuning.fit.steps + config.tuning.ensemble_fit.steps
    crops = steps * config.tuning.batch * config.tuning.crop**2
    return TrainingCost(
        parameters=parameters + tuned,
        flops=3 * flops_per_px * crops,  # a backward pass costs about two forward passes
        memory_bytes=_STATE_BYTES * (parameters + tuned),
        text=f"{text}; denoiser and classifiers are tuned together for {steps} steps",
    )


def sweep_cost(
    training: Sequence[LabelledImage],
    validation: Iterable[LabelledImage],
    classes: tuple[NucleusClass, ...],
    denoisers: Sequence[Path],
    config: SweepConfig,
) -> TrainingCost:
    """The cost of a sweep without its finalists: features once per denoiser, then an ensemble per choice.

    Raises
    ------
    CheckpointError
        A file is no denoiser.
    ConfigError
        A timestep or block does not exist in a denoiser.
    """
    scored = list(validation)
    check_annotation(training, classes)
    check_annotation(scored, classes)
    parameters = 0
    flops = memory = 0.0
    choices = 0
    for path in denoisers:
        checkpoint = load_denoiser_checkpoint(path)
        union = features_to_compute(checkpoint, config)
        extractor = load_extractor(checkpoint, union, torch.device("cpu"))
        mpp = float(checkpoint.config["mpp"])
        pixels = _pixels(training, mpp) * config.sampling.visits
        flops += feature_flops(extractor) * (pixels + _pixels(scored, mpp))
        rows = _rows(training, config.sampling, pixels) + len(scored) * config.validation_pixels
        # the table of one denoiser is dropped before the next one is made
        memory = max(memory, rows * sum(extractor.channels.values()) * _HALF)
        for shape in ensembles_to_fit(checkpoint, extractor, config, len(classes)):
            parameters += sum(p.numel() for p in PixelClassifierEnsemble(shape).parameters())
            choices += 1
    text = f"{choices} choices of {len(denoisers)} denoisers, {config.members} classifiers for each"
    return TrainingCost(parameters=parameters, flops=flops, memory_bytes=memory, text=text)


def feature_flops(extractor: FeatureExtractor) -> float:
    """Operations per pixel of computing features, counted on a small patch; a denoiser's grow with the area."""
    with FlopCounterMode(display=False) as counter:
        extractor(torch.zeros(1, 3, _PATCH, _PATCH))
    return float(counter.get_total_flops()) / _PATCH**2


def _pixels(images: Sequence[LabelledImage], mpp: float) -> float:
    """Of all images at a resolution."""
    return sum(image.labels.size * (image.mpp / mpp) ** 2 for image in images)


def _rows(images: Sequence[LabelledImage], sampling: SamplingConfig, pixels: float) -> float:
    """Rows of the table of pixels, at most."""
    if sampling.pixels is None:
        return pixels
    return len(images) * sampling.visits * sampling.pixels


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
