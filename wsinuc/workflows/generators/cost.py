"""What a training of a generator takes: size, operations and memory of its network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsinuc.datasets.base import LabelledImage
from wsinuc.models.checkpoints.generators import IMAGE
from wsinuc.models.conditioning.text import TextEncoder, TextTokens
from wsinuc.models.diffusion.joint import JointUnit
from wsinuc.models.networks.cosyn_unet import CoSynUNet
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.workflows.generators.config import CHANNELS, GeneratorConfig
from wsinuc.workflows.generators.cosyn import joint_shape
from wsinuc.workflows.generators.cosyn_config import CoSynTrainConfig
from wsinuc.workflows.generators.cosyn_words import encoder_of
from wsinuc.workflows.generators.report import build_generator
from wsinuc.workflows.generators.text_config import TextTrainConfig
from wsinuc.workflows.generators.text_encoder import Pair, words_of
from wsinuc.workflows.training.cost import NetworkCost, estimate_network, images_at_once, noisy


def estimate_generator(config: GeneratorConfig, processes: int = 1) -> NetworkCost:
    """Size and cost of a training of one of method B's networks."""
    structure = (CHANNELS,) if config.kind == IMAGE else ()
    return estimate_network(
        lambda: build_generator(config),
        noisy(CHANNELS, config.patch, *structure),
        config.batch,
        images_at_once(config, processes),
        bf16=config.fit.bf16,
    )


def estimate_text(
    config: TextTrainConfig, images: Sequence[LabelledImage], classes: tuple[NucleusClass, ...]
) -> NetworkCost:
    """Size and cost of a training of a text encoder; raises DataError when there are no images."""
    width = words_of(images, classes, config).width
    tokens = 2 + len(classes)

    def inputs() -> Sequence[object]:
        text = TextTokens(torch.zeros(1, tokens, width), torch.ones(1, tokens, dtype=torch.bool))
        return torch.zeros(1, 3, config.patch, config.patch), text

    return estimate_network(lambda: Pair(width, config), inputs, config.batch, config.batch, bf16=config.fit.bf16)


def estimate_joint(
    config: CoSynTrainConfig,
    images: Sequence[LabelledImage],
    classes: tuple[NucleusClass, ...],
    processes: int = 1,
    text_encoder: TextEncoder | None = None,
) -> NetworkCost:
    """Size and cost of a training of method C, with the built-in text encoder where none is given.

    Raises
    ------
    ConfigError
        A text encoder is given to a training without text.
    DataError
        There are no images, they lack the column that names their tissue, or all name it and another is given.
    """
    encoder = encoder_of(images, classes, config, text_encoder)
    shape = joint_shape(config, classes, encoder)
    side = config.patch
    tokens = 2 + len(classes)  # tissue, stain, and one for each class

    def inputs() -> Sequence[object]:
        ids = torch.zeros(1, side, side, dtype=torch.long)
        unit = JointUnit(torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side), ids)
        text = TextTokens(torch.zeros(1, tokens, encoder.width), torch.ones(1, tokens, dtype=torch.bool))
        return unit, torch.zeros(1), ids, text

    return estimate_network(
        lambda: CoSynUNet(shape), inputs, config.batch, images_at_once(config, processes), bf16=config.fit.bf16
    )
