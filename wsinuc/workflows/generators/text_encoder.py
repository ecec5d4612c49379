"""``wsinuc pretrain --method text-encoder``: what reads prompts, from crops and the prompts that belong to them.

Contrastive, as CLIP (Radford et al. 2021): of the crops and texts of a batch, each crop has to find
its text and each text its crops. Many crops of a batch have the same text, and each of them is
right. The tower that sees the pixels is left behind in the end. Example k depends on the seed and k
alone, so an interrupted training ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError, DataError
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.conditioning.template_encoder import TemplateEncoder
from wsinuc.models.conditioning.text import TextTokens
from wsinuc.models.conditioning.trained_encoder import KIND, TextTower
from wsinuc.models.devices import on_device
from wsinuc.models.pixels import to_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.own_files import check_place
from wsinuc.workflows.data.training_set import check_annotation, check_whole, identity_of
from wsinuc.workflows.generators.cosyn_data import JointExample, JointExamples, check_tissue
from wsinuc.workflows.generators.cosyn_words import built_in_encoder
from wsinuc.workflows.generators.text_config import TextTrainConfig
from wsinuc.workflows.training.held_out import SEED, set_apart
from wsinuc.workflows.training.run import UNATTENDED, Session, Training, origin_of, run_training
from wsinuc.workflows.training.step_loss import StepLoss

_EMBEDDING = 64
"""Width of the space in which crops and texts meet."""
_SHARPNESS = 1 / 0.07
"""First factor of the cosines, as in CLIP."""
_SHARPEST = 100.0
_LOOKED_AT = 64  # crops that must have at least two different prompts


class Pair(nn.Module):
    """Both towers, and how sharply their cosines are told apart."""

    def __init__(self, words: int, config: TextTrainConfig) -> None:
        super().__init__()
        self.tower = TextTower(words, config.network)
        self.text_head = nn.Linear(config.network.base, _EMBEDDING, bias=False)
        widths = [config.image_base * factor for factor in (1, 2, 4, 4)]
        layers: list[nn.Module] = []
        for before, width in zip([3, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(before, width, 5, stride=2, padding=2), nn.GroupNorm(1, width), nn.SiLU()]
        self.image = nn.Sequential(*layers)
        self.image_head = nn.Linear(widths[-1], _EMBEDDING, bias=False)
        self.sharpness = nn.Parameter(torch.tensor(_SHARPNESS).log())

    def forward(self, images: Tensor, text: TextTokens) -> Tensor:
        """``(n, n)`` logits: how well crop i suits text j."""
        pictures = self.image_head(self.image(images).mean((2, 3)))
        states = self.tower(text)
        sentences = self.text_head(states.sum(1) / text.mask.sum(1, keepdim=True).clamp(min=1))
        cosines = F.normalize(pictures.float(), dim=1) @ F.normalize(sentences.float(), dim=1).T
        return cosines * self.sharpness.exp().clamp(max=_SHARPEST)


def contrastive_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Mean cross-entropy of finding the texts of crops, and the crops of texts; all that are ``same`` are right.

    Parameters
    ----------
    logits
        ``(n, n)``, crops by texts.
    same
        bool ``(n, n)``: crop i has text j.

    Examples
    --------
    >>> apart = torch.eye(2, dtype=torch.bool)
    >>> float(contrastive_loss(torch.zeros(2, 2), apart))  # ln 2: nothing is told apart
    0.6931471824645996
    """
    share = same.float() / same.sum(1, keepdim=True)
    rows = -(share * logits.log_softmax(1)).sum(1).mean()
    columns = -(share.T * logits.log_softmax(0)).sum(0).mean()
    return (rows + columns) / 2


def train_text_encoder(
    images: Sequence[LabelledImage],
    classes: tuple[NucleusClass, ...],
    out: Path,
    config: TextTrainConfig,
    *,
    provenance: dict[str, Any] | None = None,
    session: Session = UNATTENDED,
) -> None:
    """Train a text encoder and write its averaged weights to ``out``, a checkpoint of kind ``text-encoder``.

    Beside ``out`` lie the state (``.state``) that lets the same call continue an interrupted
    training, and make a finished one longer, the log (``.jsonl``) and its curve (``.png``).

    Parameters
    ----------
    classes
        What a nucleus can be, in the order of the images' class numbers; ``(NUCLEUS,)`` for images without classes.
    session
        Where the training runs, who hears of it and who may stop it.

    Raises
    ------
    CheckpointError
        The state is of another training.
    ConfigError
        Several processes share the training, or several passes a step.
    DataError
        There are no images, one is annotated in part, or their crops all have the same prompt.
    OutputError
        ``out`` lies in no folder.
    TrainingError
        The loss is no number any more.
    """
    check_place(out)
    if session.processes.count > 1 or config.fit.accumulate > 1:
        raise ConfigError(
            "the patches of a batch are told from one another, so a text encoder is trained in one process and one "
            f"pass, got {session.processes.count} and {config.fit.accumulate}"
        )
    check_annotation(images, classes)
    check_whole(images, "a prompt names every class that a crop shows")
    torch.manual_seed(config.seed)
    encoder = words_of(images, classes, config)
    learned, held_out = set_apart(images, config.held_out, config.seed)
    examples = JointExamples.of([images[i] for i in learned], classes, config.crops)
    _check_prompts(examples)
    network = Pair(encoder.width, config)
    on_device(network, session.device).train()
    origin = {"images": len(images), **(provenance or {})}

    def checkpoint(average: dict[str, Tensor]) -> Checkpoint:
        prefix = "tower."
        tower = {name.removeprefix(prefix): value for name, value in average.items() if name.startswith(prefix)}
        header = {"tower": asdict(config.network), "words": asdict(encoder.vocabulary)}
        return Checkpoint(kind=KIND, config=header, provenance=origin_of(config, **origin), tensors=tower)

    apart = None
    if config.validate_every:
        still = replace(config, seed=config.seed + SEED, zoom=1.0, stain=0.0)
        measured = JointExamples.of([images[i] for i in held_out], classes, still.crops)
        apart = PairLoss(network, measured, encoder, still, session)
    training = Training(
        network=network,
        loss=PairLoss(network, examples, encoder, config, session),
        data=identity_of(images),
        held_out=apart,
        checkpoint=checkpoint,
        curve="contrastive loss",
    )
    run_training(training, out, config, session)


def words_of(
    images: Sequence[LabelledImage], classes: Sequence[NucleusClass], config: TextTrainConfig
) -> TemplateEncoder:
    """The words that the encoder learns: tissues, stains and classes of these images; raises DataError."""
    check_tissue(images, config.crops)
    return built_in_encoder(images, classes, config.crops)


def _check_prompts(examples: JointExamples) -> None:
    """Raise DataError where all crops have one prompt: there would be nothing to tell apart."""
    prompts = {examples.example(number).prompt for number in range(_LOOKED_AT)}
    if len(prompts) < 2:
        raise DataError(
            f"all crops of these images have one prompt, {next(iter(prompts)).text()!r}, so there is nothing to tell "
            "apart: give images of several tissues or classes, or leave the built-in text encoder, which needs no "
            "training"
        )


class PairLoss(StepLoss[list[JointExample]]):
    """The contrastive loss of the examples of part k."""

    def __init__(
        self,
        network: Pair,
        examples: JointExamples,
        encoder: TemplateEncoder,
        config: TextTrainConfig,
        session: Session,
    ) -> None:
        self.network = network
        self.examples = examples
        self.encoder = encoder
        self.config = config
        super().__init__(config, session)

    def cut(self, part: int) -> list[JointExample]:
        """The examples of a part."""
        return [self.examples.example(number) for number in self.numbers(part)]

    def __call__(self, part: int) -> Tensor:
        examples = self.batch(part)
        images = to_network(np.stack([example.image for example in examples]))
        prompts = [example.prompt for example in examples]
        same = torch.tensor([[one == other for other in prompts] for one in prompts])
        return self._loss(images, self.encoder(prompts), same)

    def trial(self, count: int) -> Tensor:
        side = self.config.patch
        tokens = torch.zeros(count, 1, self.encoder.width)
        text = TextTokens(tokens, torch.ones(count, 1, dtype=torch.bool))
        return self._loss(torch.zeros(count, 3, side, side), text, torch.eye(count, dtype=torch.bool))

    def _loss(self, images: Tensor, text: TextTokens, same: Tensor) -> Tensor:
        on = self.device
        moved = TextTokens(text.tokens.to(on), text.mask.to(on))
        return contrastive_loss(self.network(images.to(on), moved), same.to(on))
