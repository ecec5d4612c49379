"""What reads the prompts of a training of method C, and which words it must know."""

from __future__ import annotations

from collections.abc import Sequence

from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError
from wsinuc.models.conditioning.template_encoder import TemplateEncoder
from wsinuc.models.conditioning.text import TextEncoder
from wsinuc.models.conditioning.text_encoders import NoText
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.synthesis.prompts import Prompt, Vocabulary
from wsinuc.workflows.generators.cosyn_config import CoSynTrainConfig
from wsinuc.workflows.generators.cosyn_data import JointExamples, check_tissue, tissue_and_stain


def encoder_of(
    images: Sequence[LabelledImage],
    classes: Sequence[NucleusClass],
    config: CoSynTrainConfig,
    text_encoder: TextEncoder | None = None,
) -> TextEncoder:
    """What reads the prompts of a training: the given encoder, else the built-in one; none without text.

    Raises
    ------
    ConfigError
        An encoder is given to a training without text.
    DataError
        There are no images, they lack the column that names their tissue, or all name it and another is given.
    """
    check_tissue(images, config)
    if "text" in config.without:
        if text_encoder is not None:
            raise ConfigError("a training without text reads no prompt: leave out the text encoder, or --without text")
        return NoText()
    check_words(images, classes, config, text_encoder)
    return text_encoder or built_in_encoder(images, classes, config)


def check_words(
    images: Sequence[LabelledImage],
    classes: Sequence[NucleusClass],
    config: CoSynTrainConfig,
    text_encoder: TextEncoder | None,
) -> None:
    """Ask a given encoder for every word of these images, before the training does; raises ConfigError, DataError."""
    if text_encoder is None:
        return
    named = tuple(each.name for each in classes)
    places = {tissue_and_stain(image, config) for image in images}
    text_encoder([Prompt(tissue=tissue, stain=stain, classes=named) for tissue, stain in sorted(places)])


def built_in_encoder(
    images: Sequence[LabelledImage], classes: Sequence[NucleusClass], config: CoSynTrainConfig
) -> TemplateEncoder:
    """The template's encoder with the words of these images.

    Raises
    ------
    DataError
        There are no images, or they lack the column that names their tissue.
    """
    examples = JointExamples.of(images, classes, config)
    tissues, stains = (tuple(sorted(set(words))) for words in zip(*examples.tissues, strict=True))
    return TemplateEncoder(
        Vocabulary(
            tissues=() if tissues == ("",) else tissues,
            stains=() if stains == ("",) else stains,
            classes=tuple(each.name for each in classes),
        )
    )
