"""What a training of a segmenter will take, found out before it is begun: parameters, operations, memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from wsinuc.datasets.base import LabelledImage
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.features.ensemble import PixelClassifierEnsemble
from wsinuc.models.networks.by_name import build_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.workflows.data.training_set import NUCLEUS, check_annotation
from wsinuc.workflows.train.ddpm import DdpmTrainConfig, ensemble_shape, load_extractor
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc.workflows.train.networks import describe_network, starting_point
from wsinuc.workflows.training.cost import TrainingCost, cost_of_steps, estimate_network

_HALF = 2  # bytes of a feature in the table of pixels
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
    """The cost of ``train_ddpm`` without ``tuning``; raises CheckpointError or ConfigError as it does."""
    check_annotation(images, classes)
    checkpoint = load_checkpoint(denoiser, "denoiser")
    extractor = load_extractor(checkpoint, config.features, torch.device("cpu"))
    shape = ensemble_shape(config, extractor, classes)
    mpp = float(checkpoint.config["mpp"])
    pixels = sum(image.labels.size * (image.mpp / mpp) ** 2 for image in images) * config.sampling.visits
    rows = pixels if config.sampling.pixels is None else len(images) * config.sampling.visits * config.sampling.pixels
    with FlopCounterMode(display=False) as counter:
        extractor(torch.zeros(1, 3, _PATCH, _PATCH))
    timesteps = ", ".join(map(str, config.features.timesteps))
    blocks = ", ".join(map(str, config.features.blocks))
    text = (
        f"{shape.width} features (t = {timesteps}; blocks {blocks}), {config.members} classifiers, "
        f"{config.sampling.visits} views of each image"
    )
    return TrainingCost(
        parameters=sum(p.numel() for p in PixelClassifierEnsemble(shape).parameters()),
        flops=counter.get_total_flops() * pixels / _PATCH**2,
        memory_bytes=rows * shape.width * _HALF,
        text=text,
    )
