"""A small text tower that has seen tissue: what CLIP is to any text, for the words of the template.

`TemplateEncoder` gives each word an axis of its own, so that all words are equally far apart. Here a
small transformer reads these words together. It is trained as CLIP is (Radford et al. 2021): the
text of a crop must be told from the texts of other crops by the crop's pixels, and the pixels from
other crops by the text. So prompts whose tissue looks alike come to lie near one another. PLIP
(Huang et al. 2023), which method C uses, is the same idea with free texts and 200,000 images.

`wsinuc pretrain --method text-encoder` trains it. It is frozen afterwards, and a generator that was
trained with it carries it in its own checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn

from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.checkpoints.weights import load_weights
from wsinuc.models.conditioning.template_encoder import TemplateEncoder
from wsinuc.models.conditioning.text import TextTokens
from wsinuc.synthesis.prompts import Prompt, Vocabulary

KIND = "text-encoder"
"""Kind of the checkpoints of this encoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerConfig:
    """Shape of the text tower."""

    base: Annotated[int, Meta(ge=8, le=4096)] = 64
    """Width of a token."""
    depth: Annotated[int, Meta(ge=1, le=32)] = 2
    """Transformer blocks."""
    heads: Annotated[int, Meta(ge=1, le=64)] = 4
    """Attention heads."""

    def __post_init__(self) -> None:
        if self.base % self.heads:
            raise ConfigError(
                f"the width of a text tower must be a multiple of its {self.heads} heads, got {self.base}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderHeader:
    """What the header of a text encoder says."""

    tower: TowerConfig
    words: Vocabulary


class TextTower(nn.Module):
    """Words of the template as hidden states that know of one another.

    Parameters
    ----------
    words
        Width of a word's one-hot token.
    config
        The shape.
    """

    def __init__(self, words: int, config: TowerConfig) -> None:
        super().__init__()
        self.embedding = nn.Linear(words, config.base, bias=False)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.base, config.heads, 4 * config.base, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.base)

    def forward(self, text: TextTokens) -> Tensor:
        """``(n, length, base)`` hidden states, 0 where there is no token."""
        x = self.embedding(text.tokens)
        for block in self.blocks:
            x = block(x, src_key_padding_mask=~text.mask)
        states: Tensor = self.norm(x)
        return states * text.mask[..., None]


class TrainedEncoder:
    """The frozen tower as an encoder of prompts.

    Parameters
    ----------
    vocabulary
        The words that it was trained with; it refuses others.
    tower
        Its weights.
    """

    def __init__(self, vocabulary: Vocabulary, tower: TextTower, config: TowerConfig) -> None:
        self._template = TemplateEncoder(vocabulary)
        self._tower = tower.eval().requires_grad_(False)
        self._config = config

    @property
    def width(self) -> int:
        """Width of a hidden state."""
        return self._config.base

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that it knows."""
        return self._template.vocabulary

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Prompt | str]) -> TextTokens:
        """Tokens (n, 2 + classes, width) of prompts; raises ConfigError, naming the known words, for others."""
        text = self._template(prompts)
        # One after another, so that other prompts of a batch do not change the last bit.
        states = [self._tower(TextTokens(text.tokens[i : i + 1], text.mask[i : i + 1])) for i in range(len(prompts))]
        return TextTokens(torch.cat(states), text.mask)

    def config(self) -> dict[str, Any]:
        """Words and shape as JSON types; the weights are `tensors`."""
        return {**self._template.config(), "kind": "trained", "tower": asdict(self._config)}

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name."""
        return dict(self._tower.state_dict())


def rebuilt_encoder(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> TrainedEncoder:
    """The encoder whose ``config()`` and ``tensors()`` these are; raises CheckpointError."""
    known = {name: config.get(name) for name in ("tissues", "stains", "classes")}
    header = from_header(TextEncoderHeader, {"tower": config.get("tower"), "words": known})
    width = TemplateEncoder(header.words).width
    tower = load_weights(partial(TextTower, width, header.tower), dict(tensors))
    return TrainedEncoder(header.words, tower, header.tower)


def read_text_encoder(path: Path) -> TrainedEncoder:
    """The encoder of a checkpoint of kind ``text-encoder``; raises CheckpointError."""
    checkpoint = load_checkpoint(path, KIND)
    words = checkpoint.config["words"]
    return rebuilt_encoder({**words, "tower": checkpoint.config["tower"]}, checkpoint.tensors)
