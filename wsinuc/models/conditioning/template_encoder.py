"""Prompts as the words of the template, one by one, without any weights.

A caption of the published template says tissue, stain and classes, so one one-hot token per word
carries all of it, and the first linear layer of the network that listens learns what the words mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from wsinuc.models.conditioning.text import TextTokens
from wsinuc.synthesis.prompts import Prompt, Vocabulary, parse_prompt


class TemplateEncoder:
    """One one-hot token per word of the template, each at a place of its own.

    Tokens are tissue, stain, then one per class of the vocabulary; those of classes that are not named are zero and
    masked. The order in which a prompt lists its classes therefore does not matter.

    Examples
    --------
    >>> encoder = TemplateEncoder(Vocabulary(tissues=("colon",), classes=("plasma", "lymphocyte")))
    >>> encoder(["high-quality histopathology colon tissue image including nuclei types of lymphocyte"]).mask.tolist()
    [[True, True, False, True]]
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._width = sum(map(len, self._words))

    @property
    def width(self) -> int:
        """Number of words: tissues, stains and classes."""
        return self._width

    @property
    def _words(self) -> tuple[tuple[str, ...], ...]:
        return self.vocabulary.known_tissues, self.vocabulary.known_stains, self.vocabulary.classes

    def __call__(self, prompts: Sequence[Prompt | str]) -> TextTokens:
        """Tokens (n, 2 + classes, width) of prompts; raises ConfigError, naming the known words, for others."""
        tissues, stains, classes = self._words
        tokens = torch.zeros(len(prompts), 2 + len(classes), self.width)
        for sample, given in zip(tokens, prompts, strict=True):
            if isinstance(given, str):
                prompt = parse_prompt(given, self.vocabulary)
            else:
                prompt = self.vocabulary.checked(given)
            sample[0, tissues.index(prompt.tissue)] = 1
            sample[1, len(tissues) + stains.index(prompt.stain)] = 1
            for i in map(classes.index, prompt.classes):
                sample[2 + i, len(tissues) + len(stains) + i] = 1
        return TextTokens(tokens, tokens.any(-1))

    def config(self) -> dict[str, Any]:
        """The vocabulary as JSON types."""
        words = self.vocabulary
        return {"kind": "template", "tissues": [*words.tissues], "stains": [*words.stains], "classes": [*words.classes]}
